"""A docker command with answers from the test, so that every faulty machine can be tested without an engine."""

import json
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

_FAKE = """#!{python}
import json, pathlib, sys
answers = json.loads(pathlib.Path({answers!r}).read_text())
asked = " ".join(sys.argv[1:])
for beginning, (code, out, err) in answers.items():
    if asked.startswith(beginning):
        sys.stdout.write(out)
        sys.stderr.write(err)
        sys.exit(code)
sys.stderr.write("unknown command: " + asked)
sys.exit(1)
"""

Answers = dict[str, tuple[int, str, str]]
ENGINE = {"version": (0, json.dumps({"Version": "28.0", "Arch": "amd64"}), "")}


@pytest.fixture
def fake_command(tmp_path) -> Callable[[str, Answers], dict[str, str]]:
    """``fake_command("docker", answers)`` puts such a command on its own path and returns that environment.

    ``answers`` maps the beginning of a command line to exit code, output and error output; the first match wins.
    """
    folder = tmp_path / "fake-bin"

    def make(name: str, answers: Answers) -> dict[str, str]:
        folder.mkdir(exist_ok=True)
        path = folder / f"{name}.json"
        path.write_text(json.dumps(answers))
        command = folder / name
        command.write_text(_FAKE.format(python=sys.executable, answers=str(path)))
        command.chmod(command.stat().st_mode | stat.S_IXUSR)
        return {"PATH": str(folder)}

    return make


@pytest.fixture
def empty_path(tmp_path) -> dict[str, str]:
    folder: Path = tmp_path / "nothing"
    folder.mkdir()
    return {"PATH": str(folder)}
