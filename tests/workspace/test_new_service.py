"""A service is one folder: in a copy of the workspace it is made, checked, tested, started, viewed and removed."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from local_stack.fixtures import Stack
from local_stack.settings import ROOT

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]
NAME = "example"


class Copy:
    """A copy of the workspace's files, run by this session's Python with the copy's packages before all others."""

    def __init__(self, root: Path, servers: Stack) -> None:
        self.root = root
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "MAKE"))},
            "POSTGRES_ADMIN_URL": servers.postgres_admin_url,
            "KAFKA_BOOTSTRAP_SERVERS": servers.kafka_bootstrap,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "NO_COLOR": "1",
        }
        listed = subprocess.run(
            ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
        )
        for name in listed.stdout.splitlines():
            if (ROOT / name).is_file():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, root / name)
        if (ROOT / ".mypy_cache").is_dir():  # caches of unchanged files
            shutil.copytree(ROOT / ".mypy_cache", root / ".mypy_cache")

    def run(self, *command: str) -> str:
        """Runs a command that must succeed. Returns its output."""
        source = os.pathsep.join(str(path) for path in sorted(self.root.glob("*/*/src")))
        done = subprocess.run(
            command, cwd=self.root, env={**self.environment, "PYTHONPATH": f"{source}{os.pathsep}{self.root}"},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout}"
        return done.stdout

    def python(self, *arguments: str) -> str:
        return self.run(sys.executable, *arguments)

    def tool(self, name: str, *arguments: str) -> str:
        return self.run(str(Path(sys.executable).with_name(name)), *arguments)

    def contents(self) -> dict[str, bytes]:
        """Every file outside caches."""
        return {
            str(path.relative_to(self.root)): path.read_bytes()
            for path in self.root.rglob("*")
            if path.is_file() and not {"__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis",
                                       ".import_linter_cache"} & set(path.parts)
        }  # fmt: skip


EVERYWHERE = {
    "docker-compose.yml": f"- services/{NAME}/compose.yaml",
    "deploy/observability/prometheus.yml": f"job_name: {NAME}",
    "deploy/k8s/kafka/users.yaml": f"  name: {NAME}",
    "deploy/k8s/local/jobs.yaml": f"name: {NAME}-store",
    "deploy/k8s/local/kustomization.yaml": f"services/{NAME}/k8s/local",
    "deploy/k8s/production/kustomization.yaml": f"suite/{NAME}",
    ".importlinter": f"    {NAME}",
    "pyproject.toml": f'"services/{NAME}/src"',
}
CHAOS = f"""
from tests.chaos.faults import _FAIL_POINTS, _VICTIMS
from tests.chaos.stack import SERVICES
assert "{NAME}" in SERVICES
assert "{NAME}" in _VICTIMS
assert "consumer.after-commit-before-offsets" in _FAIL_POINTS["{NAME}"]
"""


def test_a_service_is_made_checked_tested_started_and_removed(stack: Stack, tmp_path: Path) -> None:
    copy = Copy(tmp_path / "workspace", stack)
    before = copy.contents()

    copy.run("make", "-s", "new-service", f"NAME={NAME}", "SETUP=@true", f"PY={sys.executable}")
    copy.python("-m", "roster", "generate")  # set-up, which makes the package importable, was left out above
    copy.python("-m", "roster", "generate", "--check")
    copy.tool("ruff", "check", f"services/{NAME}")
    copy.tool("ruff", "format", "--check", f"services/{NAME}")
    copy.tool("mypy", f"services/{NAME}/src")
    copy.tool("lint-imports", "--no-logo")
    copy.run("make", "-s", "dependencies", "SETUP=@true", f"MEMBERS=services/{NAME}")
    copy.python("-m", "pytest", "-q", "-x", f"services/{NAME}", "tests/walls/test_roster_is_current.py",
                "tests/walls/test_production_demands.py", "deploy/local/tests/test_image_files.py")  # fmt: skip
    if shutil.which("kubectl") or shutil.which("kustomize"):
        copy.python("-m", "k8s_deploy", "check")
    for name, words in EVERYWHERE.items():
        assert words in (copy.root / name).read_text(), name
    copy.python("-c", CHAOS)

    (tmp_path / "stack").mkdir()
    said = copy.python("tests/workspace/start_service.py", NAME, str(tmp_path / "stack"))
    answers = json.loads(said.splitlines()[-1])
    assert answers["/readyz"][0] == 200
    assert "No appointment yet." in answers["/appointments"][1]
    assert "scheduler-sync" in answers["/console"][1], "the way to the others' consoles"

    shutil.rmtree(copy.root / "services" / NAME)
    copy.python("-m", "roster", "generate")
    after = copy.contents()
    assert sorted(after) == sorted(before)
    assert [name for name in after if after[name] != before[name]] == []
