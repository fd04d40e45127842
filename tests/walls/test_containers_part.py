"""CI skips the container tests only when it knows that none of their files has changed."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


class Repository:
    """A repository with one commit on ``main`` and a checked-out branch."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.git("init", "-q", "-b", "main")
        self.commit("services/notifier/src/notifier/handlers.py")
        self.git("checkout", "-q", "-b", "change")

    def git(self, *words: str) -> None:
        identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
        subprocess.run(["git", *identity, *words], cwd=self.folder, check=True, capture_output=True)

    def commit(self, path: str) -> None:
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(target.read_text() + "x" if target.exists() else "x")
        self.git("add", "-A")
        self.git("commit", "-q", "-m", path)

    def part(self, **environment: str) -> str:
        done = subprocess.run(
            [str(ROOT / ".ci/containers-part")],
            env={"PATH": os.environ["PATH"], "CI_ROOT": str(self.folder), **environment},
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path)


def test_where_nothing_tells_what_changed_it_is_whole(repository: Repository) -> None:
    repository.commit("services/notifier/src/notifier/handlers.py")
    assert repository.part() == "whole: nothing says what to compare with (CI_BASE)"
    assert repository.part(CI_BASE="nowhere") == "whole: nowhere is not known here"


def test_main_itself_is_whole(repository: Repository) -> None:
    assert repository.part(CI_BASE="main") == "whole: this is main itself"


def test_a_change_of_code_alone_is_short(repository: Repository) -> None:
    repository.commit("services/notifier/src/notifier/handlers.py")
    assert repository.part(CI_BASE="main") == "short: nothing of deploy, images or the lock changed"


@pytest.mark.parametrize(
    "path",
    [
        "deploy/local/src/local_stack/cli.py", "requirements.lock", "docker-compose.yml",
        "services/notifier/compose.yaml", "services/notifier/pyproject.toml", "simulators/kit/pyproject.toml",
        "services/notifier/Dockerfile", ".ci/run", ".dockerignore", "services/notifier/service.toml",
    ],
)  # fmt: skip
def test_what_containers_are_made_of_is_whole_and_named(repository: Repository, path: str) -> None:
    repository.commit("services/notifier/src/notifier/handlers.py")
    repository.commit(path)
    repository.commit("README.md")
    assert repository.part(CI_BASE="main") == f"whole: {path} changed"
