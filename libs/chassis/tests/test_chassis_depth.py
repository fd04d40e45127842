"""How deep the suite looks: chosen in one place, never by a slip, and with time for it."""

import json
import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from chassis.testing import depth

ROOT = Path(__file__).resolve().parents[3]


def test_without_a_word_it_is_what_each_change_gets() -> None:
    assert depth.chosen({}) is depth.chosen({"SUITE_DEPTH": ""}) is depth.DEPTHS["ci"]


def test_a_slip_is_refused() -> None:
    with pytest.raises(ValueError, match="SUITE_DEPTH=ful: known are ci, full"):
        depth.chosen({"SUITE_DEPTH": "ful"})


def test_full_looks_deeper_in_every_way() -> None:
    ci, full = depth.DEPTHS["ci"], depth.DEPTHS["full"]
    for one in fields(depth.Depth):
        if one.name != "name":
            assert getattr(full, one.name) > getattr(ci, one.name), one.name


def run_inner(folder: Path, modules: dict[str, str], *options: str) -> subprocess.CompletedProcess[str]:
    """The suite's own conftest on test modules of these texts, in full depth."""
    for name, text in modules.items():
        (folder / f"test_{name}.py").write_text(text)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml"),
         f"--rootdir={ROOT}", f"--confcutdir={ROOT}", "-p", "conftest", str(folder), *options],
        cwd=ROOT, env={**os.environ, "SUITE_DEPTH": "full"}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_deep_chooses_what_the_depth_changes(tmp_path: Path) -> None:
    modules = {
        "usual": "def test_usual(): pass\n",
        "number": "from chassis.testing.depth import DEPTH\ndef test_number(): pass\n",
        "deaths": "from chassis.testing import Deaths\ndef test_deaths(): pass\n",
        "tries": "from hypothesis import given, strategies\n@given(strategies.none())\ndef test_tries(_): pass\n",
    }
    done = run_inner(tmp_path, modules, "--deep", "--collect-only")
    chosen = {line.rpartition("::")[2] for line in done.stdout.splitlines() if "::" in line}
    assert chosen == {"test_number", "test_deaths", "test_tries"}, done.stdout + done.stderr


def test_a_full_run_has_longer_limits_and_leaves_a_report(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    done = run_inner(
        tmp_path,
        {
            "inner": "import pytest, time\n"
            "def test_usual(request): assert request.node.get_closest_marker('timeout').args == (3600,)\n"
            "@pytest.mark.timeout(300)\n"
            "def test_its_own(request):\n"
            "    assert request.node.get_closest_marker('timeout').args == (6000,)\n"
            "    print('from seed 7')\n"
            "    print('Roe^Jane')\n"
            "    time.sleep(1)\n"
            "def test_fails(): assert False\n"
        },
        f"--depth-report={report}",
    )
    assert report.exists(), done.stdout + done.stderr
    found = json.loads(report.read_text())
    assert found["tests"] == {"passed": 2, "failed": 1}, done.stdout
    assert found["depth"]["deaths_at_each_point"] == depth.DEPTHS["full"].deaths_at_each_point
    assert [name.rpartition("::")[2] for name in found["failed"]] == ["test_fails"]
    assert found["exit_status"] == 1
    (said,) = found["said"]
    assert (said["test"].rpartition("::")[2], said["last_lines"]) == ("test_its_own", ["from seed 7"])
