"""R3's table: every fail point that a member declares is hit in its sources, and a test dies there a hundred times."""

import importlib
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from chassis import failpoints

ROOT: Final = Path(__file__).parents[3]
DECLARING: Final = [
    path for member in ("libs", "services") for path in sorted((ROOT / member).glob("*/src/*/failpoints.py"))
]
POINTS: Final = [
    pytest.param(path.parents[2], constant, name, id=name)
    for path in DECLARING
    for constant, name in re.findall(r'^(\w+): Final = declare\("([^"]+)"\)$', path.read_text(), re.MULTILINE)
]
_TEST: Final = re.compile(
    r"(?:^@pytest\.mark\.parametrize[^\n]*\n)?^async def test_\w+\(.*?(?=\n(?:@|async def |def )|\Z)",
    re.MULTILINE | re.DOTALL,
)


def test_the_members_with_gaps_of_their_own_declare_them() -> None:
    assert {path.parents[2].name for path in DECLARING} >= {"chassis", "notifier", "omegaai"}
    modules = [importlib.import_module(f"{path.parent.name}.failpoints") for path in DECLARING]
    assert [one.id for one in POINTS] == [name for module in modules for name in failpoints.names_in(module)]


@pytest.mark.parametrize(("member", "constant", "name"), POINTS)
def test_a_declared_point_is_hit_and_has_its_hundred_deaths(member: Path, constant: str, name: str) -> None:
    sources = "".join(path.read_text() for path in (member / "src").rglob("*.py"))
    assert re.search(rf"failpoints\.hit\((?:failpoints\.)?{constant}\)", sources), f"nothing comes to {constant}"
    dying = [
        found[0]
        for path in (member / "tests").glob("test_*.py")
        if "DEATHS_AT_EACH_POINT" in (text := path.read_text())
        for found in _TEST.finditer(text)
        if f'"{name}"' in found[0] and re.search(r"Deaths\(|die_and_go_on\(|DEATHS_AT_EACH_POINT", found[0])
    ]
    assert dying, f"no test of {member.name} dies a hundred times at {name}"


def test_a_point_is_declared_once() -> None:
    with pytest.raises(ValueError, match="declared twice"):
        failpoints.declare("batch.before-commit")


@pytest.mark.parametrize(
    ("armed", "words"),
    [
        ("smtp.after-count-before-hand-over=raise", ""),
        ("batch.before-comit=raise", "FAILPOINTS names 'batch.before-comit'; known are: batch.before-commit, "),
        ("batch.before-commit=explode", "FAILPOINTS asks 'explode' of batch.before-commit; known are kill and raise"),
    ],
)
def test_the_environment_is_checked_once_the_members_have_declared(armed: str, words: str) -> None:
    """In a process of its own: the environment is read when the chassis is imported, before a service's points are."""
    code = "from chassis import failpoints\nimport notifier.failpoints\nfailpoints.check()"
    done = subprocess.run(
        [sys.executable, "-c", code], env={"FAILPOINTS": armed}, capture_output=True, text=True, check=False
    )
    assert done.returncode == bool(words), done.stderr
    assert words in done.stderr
