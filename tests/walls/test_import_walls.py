"""Each wall refuses forbidden imports, shown on an empty copy of the workspace with one such import per case.

One run of the linter proves all cases: each is in its own module, and its wall has to name this module and the import.
"""

import configparser
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from roster import roster

ROOT = Path(__file__).parents[2]
CONFIGURATION = ROOT / ".importlinter"
LINT_IMPORTS = Path(sys.executable).with_name("lint-imports")

settings = configparser.ConfigParser()
settings.read(CONFIGURATION, encoding="utf-8")
PACKAGES = settings["importlinter"]["root_packages"].split()
_LAYERS = settings["importlinter:contract:rooms"]["layers"]
ROOMS = [room.strip() for layer in _LAYERS.split() for room in re.split(r"[|:]", layer) if room.strip()]
WITH_MODULES = {"store", "messaging", "hl7", "deliveries", "timers"}
FEATURES = [
    (settings[section]["containers"].strip(), feature)
    for section in settings.sections()
    if section.startswith("importlinter:contract:features-of-")
    for feature in settings[section]["layers"].replace("|", " ").split()
]
SERVICES = tuple(service.package for service in roster().services)

REFUSED = {
    # what: (module, its text, the wall). Every module except the handlers' gets a number behind its name.
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
    "a domain takes the chassis": ("notifier/domain/extra", "from chassis.store import extra", "domain"),
    "a domain takes its service's store": ("notifier/domain/extra", "from notifier import store", "domain"),
    "a domain takes a type only": (
        "notifier/domain/extra",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import sqlalchemy",
        "domain",
    ),
    "the chassis takes a service": ("chassis/store/extra", "import notifier", "libraries"),
    "the chassis takes the local stack": ("chassis/store/extra", "import local_stack", "libraries"),
    "a partner's library takes a service": ("omegaai/extra", "import scheduler_sync.domain", "libraries"),
    "the chassis takes a partner's library": ("chassis/store/extra", "import omegaai.extra", "floors"),
    "the site file takes the chassis": ("site_file/extra", "import chassis.store.extra", "floors"),
    "a room takes one above it": ("chassis/store/extra", "import chassis.messaging.extra", "rooms"),
    "a room takes one beside it": ("chassis/hl7/extra", "import chassis.deliveries.extra", "rooms"),
    "timers take deliveries": ("chassis/timers/extra", "import chassis.deliveries.extra", "rooms"),
    "a service takes another": ("notifier/extra", "from scheduler_sync import domain", "services"),
    "the other takes the one": ("scheduler_sync/extra", "import notifier.domain", "services"),
    "a service takes a simulator": ("scheduler_sync/extra", "import omegaai_sim", "services-outside"),
    "a simulator takes the chassis": ("powerserver_sim/extra", "import chassis", "simulators"),
    "a simulator takes the contracts": ("mailsink/extra", "import contracts", "simulators"),
    "a simulator takes a service's mapping": ("omegaai_sim/extra", "from scheduler_sync import domain", "simulators"),
    "a service takes the simulators' kit": ("notifier/extra", "import simulator_kit", "services-outside"),
    "the chassis takes the simulators' kit": ("chassis/store/extra", "import simulator_kit", "libraries"),
    "the simulators' kit takes the chassis": ("simulator_kit/extra", "import chassis", "simulators"),
    "the simulators' kit takes the contracts": ("simulator_kit/extra", "import contracts", "simulators"),
    "the simulators' kit takes a simulator": ("simulator_kit/extra", "import mailsink", "simulator-kit"),
    "the simulators' kit takes the codec": ("simulator_kit/extra", "import hl7v2", "simulator-kit"),
    "a simulator takes another": ("omegaai_sim/extra", "import powerserver_sim", "simulators-each"),
    "OmegaAI's FHIR calls a feature": (
        "omegaai_sim/fhir/extra",
        "import omegaai_sim.blume.extra",
        "features-of-omegaai",
    ),
    "PowerServer's orders call HL7": (
        "powerserver_sim/worklist/extra",
        "import powerserver_sim.hl7.extra",
        "features-of-powerserver",
    ),
    "a handler takes the bus": ("notifier/handlers", "from faststream.kafka import KafkaBroker", "handlers"),
    "a handler takes a session": ("scheduler_sync/handlers", "from sqlmodel import Session", "handlers"),
    "a handler takes an adapter": ("notifier/handlers", "from notifier import adapters", "handlers"),
}

ACCEPTED = {
    "the standard library anywhere": ("hl7v2/extra", "import asyncio, ssl\nfrom datetime import datetime"),
    "pydantic in the contracts": ("contracts/extra", "from pydantic_core import core_schema\nimport pydantic"),
    "the domain in itself": ("notifier/domain/extra", "from notifier.domain import other\nimport zoneinfo"),
    "libraries in the chassis": ("chassis/store/extra", "import contracts, hl7v2, sqlalchemy"),
    "libraries in a service": ("scheduler_sync/extra", "import chassis, contracts, hl7v2, omegaai, site_file, aiohttp"),
    "the chassis in a partner's library": ("omegaai/extra", "import chassis.store.extra"),
    "a feature on FHIR": ("omegaai_sim/blume/extra", "import omegaai_sim.fhir.extra"),
    "HL7 on the scheduler": ("powerserver_sim/hl7/extra", "import powerserver_sim.scheduler.extra"),
    "the codec in a simulator": ("powerserver_sim/extra", "import hl7v2, starlette"),
    "the kit in a simulator": ("omegaai_sim/extra", "import simulator_kit, starlette"),
    "libraries in the simulators' kit": ("simulator_kit/extra", "import starlette, jinja2"),
    "the chassis in a handler": (
        "notifier/handlers",
        "from chassis.messaging import extra\nfrom notifier import ports",
    ),
}


def write(workspace: Path, module: str, text: str) -> None:
    path = workspace / f"{module}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{text}\n")


def make(workspace: Path) -> Path:
    """An empty copy of every package, in which all walls hold."""
    for package in PACKAGES:
        write(workspace, f"{package}/__init__", "")
        write(workspace, f"{package}/extra", "")
    for simulator, feature in FEATURES:
        write(workspace, f"{simulator}/{feature}/__init__", "")
        write(workspace, f"{simulator}/{feature}/extra", "")
    for service in SERVICES:
        for module in ("domain/__init__", "domain/other", "handlers", "ports", "store/__init__", "adapters/__init__"):
            write(workspace, f"{service}/{module}", "")
    (workspace / "chassis/extra.py").unlink()  # every module of the chassis is in its room
    for room in ROOMS:
        write(workspace, f"chassis/{room}/__init__" if room in WITH_MODULES else f"chassis/{room}", "")
    for room in WITH_MODULES:
        write(workspace, f"chassis/{room}/extra", "import faststream, sqlmodel")
    return workspace


def lint(directory: Path) -> tuple[int, dict[str, str]]:
    """The linter's exit code, and its findings for each broken wall."""
    done = subprocess.run(
        [str(LINT_IMPORTS), "--config", str(CONFIGURATION), "--no-cache", "--no-logo"],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": f"{directory}{os.pathsep}{ROOT}", "NO_COLOR": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    titles = {settings[section]["name"]: section for section in settings.sections() if section != "importlinter"}
    _, _, details = done.stdout.partition("Broken contracts")
    parts = re.split(rf"^({'|'.join(map(re.escape, titles))})\n-+\n", details, flags=re.MULTILINE)
    walls = [titles[name].removeprefix("importlinter:contract:") for name in parts[1::2]]
    return done.returncode, dict(zip(walls, parts[2::2], strict=True))


def place(number: int, module: str) -> str:
    return module if module.endswith("handlers") else f"{module}_{number}"


def target(text: str) -> str:
    """The last import of a case, as the linter names it: of external packages the outermost name."""
    name = text.splitlines()[-1].split()[1]
    package = name.partition(".")[0]
    return name if package in PACKAGES else package


@pytest.fixture(scope="module")
def broken(tmp_path_factory) -> dict[str, str]:
    """The linter's findings for each wall when all forbidden imports are present."""
    workspace = make(tmp_path_factory.mktemp("refused"))
    for number, (module, text, _) in enumerate(REFUSED.values()):
        write(workspace, place(number, module), text)
    write(workspace, "contracts/there", "import contracts.back")
    write(workspace, "contracts/back", "import contracts.there")
    write(workspace, "omegaai_sim/there", "import omegaai_sim.back")
    write(workspace, "omegaai_sim/back", "import omegaai_sim.there")
    code, said = lint(workspace)
    assert code == 1
    return said


@pytest.mark.parametrize("what", REFUSED)
def test_a_wall_refuses(broken, what):
    module, text, wall = REFUSED[what]
    where = place(list(REFUSED).index(what), module).replace("/", ".")
    assert re.search(rf"{re.escape(where)} (imports|->) {re.escape(target(text))}\b", broken.get(wall, "")), broken


@pytest.mark.parametrize("package", ["contracts", "omegaai_sim"])
def test_a_circle_is_refused(broken, package):
    assert f"No cycles are allowed in {package}." in broken["circles"]


def test_a_wall_lets_through_what_it_should(tmp_path):
    workspace = make(tmp_path)
    assert lint(workspace) == (0, {})
    for module, text in ACCEPTED.values():
        write(workspace, module, text)
    assert lint(workspace) == (0, {})


def test_every_wall_is_tried():
    walls = {name.removeprefix("importlinter:contract:") for name in settings.sections() if name != "importlinter"}
    assert walls == {wall for _, _, wall in REFUSED.values()} | {"circles"}


def test_every_member_stands_behind_the_walls():
    members = []
    for project in sorted(ROOT.glob("*/*/pyproject.toml")):
        targets = tomllib.loads(project.read_text(encoding="utf-8"))["tool"]["hatch"]["build"]["targets"]
        members += [Path(package).name for package in targets["wheel"]["packages"]]
    assert sorted(members) == sorted(PACKAGES)
