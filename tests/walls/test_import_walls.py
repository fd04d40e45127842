"""Each wall refuses what it is there to refuse, shown on a copy of the workspace that holds nothing but one import."""

import configparser
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONFIGURATION = ROOT / ".importlinter"
LINT_IMPORTS = Path(sys.executable).with_name("lint-imports")

settings = configparser.ConfigParser()
settings.read(CONFIGURATION, encoding="utf-8")
PACKAGES = settings["importlinter"]["root_packages"].split()
SERVICES = ("scheduler_sync", "notifier")

REFUSED = {
    # what: (module, its text, the wall)
    "the codec takes a library": ("hl7v2/extra", "import pydantic", "hl7v2"),
    "the codec takes the contracts": ("hl7v2/extra", "import contracts", "hl7v2"),
    "the contracts take a bus": ("contracts/extra", "import aiokafka", "contracts"),
    "the contracts take the codec": ("contracts/extra", "import hl7v2", "contracts"),
    "the contracts take another library inside a function": (
        "contracts/extra",
        "def later():\n    import orjson",
        "contracts",
    ),
    "a domain takes a framework": ("notifier/domain/extra", "import sqlmodel", "domain"),
    "a domain takes pydantic": ("scheduler_sync/domain/extra", "from pydantic import BaseModel", "domain"),
    "a domain takes the contracts": ("scheduler_sync/domain/extra", "import contracts", "domain"),
    "a domain takes the chassis": ("notifier/domain/extra", "from chassis import extra", "domain"),
    "a domain takes its service's store": ("notifier/domain/extra", "from notifier import store", "domain"),
    "a domain takes a type only": (
        "notifier/domain/extra",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import sqlalchemy",
        "domain",
    ),
    "the chassis takes a service": ("chassis/extra", "import notifier", "libraries"),
    "the chassis takes the local stack": ("chassis/extra", "import local_stack", "libraries"),
    "a service takes another": ("notifier/extra", "from scheduler_sync import domain", "services"),
    "the other takes the one": ("scheduler_sync/extra", "import notifier.domain", "services"),
    "a service takes a simulator": ("scheduler_sync/extra", "import omegaai_sim", "services-outside"),
    "a simulator takes the chassis": ("powerserver_sim/extra", "import chassis", "simulators"),
    "a simulator takes the contracts": ("mailsink/extra", "import contracts", "simulators"),
    "a simulator takes a service's mapping": ("omegaai_sim/extra", "from scheduler_sync import domain", "simulators"),
    "a simulator takes another": ("omegaai_sim/extra", "import powerserver_sim", "simulators-each"),
    "a handler takes the bus": ("notifier/handlers", "from faststream.kafka import KafkaBroker", "handlers"),
    "a handler takes a session": ("scheduler_sync/handlers", "from sqlmodel import Session", "handlers"),
    "a handler takes an adapter": ("notifier/handlers", "from notifier import adapters", "handlers"),
}

ACCEPTED = {
    "the standard library anywhere": ("hl7v2/extra", "import asyncio, ssl\nfrom datetime import datetime"),
    "pydantic in the contracts": ("contracts/extra", "from pydantic_core import core_schema\nimport pydantic"),
    "the domain in itself": ("notifier/domain/extra", "from notifier.domain import other\nimport zoneinfo"),
    "libraries in the chassis": ("chassis/extra", "import contracts, hl7v2, sqlalchemy"),
    "libraries in a service": ("scheduler_sync/extra", "import chassis, contracts, hl7v2, aiohttp"),
    "the codec in a simulator": ("powerserver_sim/extra", "import hl7v2, starlette"),
    "the chassis in a handler": ("notifier/handlers", "from chassis import extra\nfrom notifier import ports"),
}


@pytest.fixture
def workspace(tmp_path) -> Path:
    for package in PACKAGES:
        write(tmp_path, f"{package}/__init__", "")
        write(tmp_path, f"{package}/extra", "")
    for service in SERVICES:
        for module in ("domain/__init__", "domain/other", "handlers", "ports", "store/__init__", "adapters/__init__"):
            write(tmp_path, f"{service}/{module}", "")
    write(tmp_path, "chassis/extra", "import faststream, sqlmodel")
    return tmp_path


def write(workspace: Path, module: str, text: str) -> None:
    path = workspace / f"{module}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\n")


def lint(directory: Path) -> tuple[int, set[str], str]:
    """Exit code, identifiers of the broken walls, and what was said."""
    done = subprocess.run(
        [str(LINT_IMPORTS), "--config", str(CONFIGURATION), "--no-cache", "--no-logo"],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": f"{directory}{os.pathsep}{ROOT}", "NO_COLOR": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    said = done.stdout + done.stderr
    broken = {
        section.removeprefix("importlinter:contract:")
        for section in settings.sections()
        if section != "importlinter" and re.search(re.escape(settings[section]["name"]) + r"\s+BROKEN", said)
    }
    return done.returncode, broken, said


@pytest.mark.parametrize("what", REFUSED)
def test_a_wall_refuses(workspace, what):
    module, text, wall = REFUSED[what]
    write(workspace, module, text)
    code, broken, said = lint(workspace)
    assert code == 1, said
    assert wall in broken, said
    assert module.replace("/", ".") in said


def test_a_wall_lets_through_what_it_should(workspace):
    code, broken, said = lint(workspace)
    assert (code, broken) == (0, set()), said
    for module, text in ACCEPTED.values():
        write(workspace, module, text)
    code, broken, said = lint(workspace)
    assert (code, broken) == (0, set()), said


def test_every_wall_is_tried():
    walls = {name.removeprefix("importlinter:contract:") for name in settings.sections() if name != "importlinter"}
    assert walls == {wall for _, _, wall in REFUSED.values()}


def test_every_member_stands_behind_the_walls():
    members = []
    for project in sorted(ROOT.glob("*/*/pyproject.toml")):
        targets = tomllib.loads(project.read_text(encoding="utf-8"))["tool"]["hatch"]["build"]["targets"]
        members += [Path(package).name for package in targets["wheel"]["packages"]]
    assert sorted(members) == sorted(PACKAGES)
