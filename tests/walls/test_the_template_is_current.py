"""The template of a new service fits the present chassis: its modules are imported and linted.

``tests/workspace`` makes a whole service from it, which takes longer.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from local_stack.settings import ROOT
from roster import new_service, roster


@pytest.mark.parametrize("name", ["example", "x" * new_service.LONGEST_NAME, "a-b"])
def test_the_template_gives_modules_that_import_and_lines_that_fit(tmp_path: Path, name: str) -> None:
    given = new_service.words(roster(), name)
    for place, text in new_service.rendered(given).items():
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_text(text, encoding="utf-8")
    new_service._tidy(ROOT, tmp_path)
    source = tmp_path / "src"
    modules = [".".join(path.relative_to(source).with_suffix("").parts) for path in sorted(source.rglob("*.py"))]
    assert f"{given['package']}.bootstrap" in modules
    lines = "\n".join(f"import {module}" for module in modules if not module.endswith("__"))
    imported = subprocess.run(
        [sys.executable, "-c", lines + f"\nimport {given['package']}.__main__"],
        env={**os.environ, "PYTHONPATH": str(source)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert imported.returncode == 0, imported.stderr
    ruff = [str(Path(sys.executable).with_name("ruff")), "check", "--config", str(ROOT / "pyproject.toml")]
    ignored = ["--ignore", "INP001,N999,S608,S101,S311,ANN,SLF001,ARG,PLR2004"]  # folders that tmp_path does not have
    linted = subprocess.run(
        [*ruff, *ignored, "--output-format", "concise", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert linted.returncode == 0, linted.stdout
