"""Alarms mean something: each rule names metrics that exist, says what is wrong and where to look."""

import importlib
import re
from pathlib import Path

import pytest
import yaml

from chassis.observe import declared_in, meters

ROOT = Path(__file__).resolve().parents[3]
FILES = [ROOT / "libs/chassis/alarms.yaml", *sorted(ROOT.glob("services/*/alarms.yaml"))]
WORDS = {"max", "min", "sum", "rate", "increase", "absent", "by", "up", "and", "or", "unless", "abs"}
LABELS = {"job", "consumer", "destination", "kind", "use", "instance", "reason", "loop", "partner", "side"}


def declared(path: Path) -> set[str]:
    """The chassis' metrics, and those that the file's own service declares."""
    own = [importlib.import_module(f"{one.parent.name}.metrics") for one in path.parent.glob("src/*/metrics.py")]
    return {one.name for module in (meters, *own) for one in declared_in(module)}


def rules() -> list:
    found = [
        (path, rule)
        for path in FILES
        for group in yaml.safe_load(path.read_text())["groups"]
        for rule in group["rules"]
    ]
    return [pytest.param(path, rule, id=rule["alert"]) for path, rule in found]


def test_every_service_has_alarms() -> None:
    assert {path.parent.name for path in FILES[1:]} == {
        path.parent.name for path in ROOT.glob("services/*/pyproject.toml")
    }


@pytest.mark.parametrize(("path", "rule"), rules())
def test_an_alarm_stands_on_metrics_that_exist_and_says_what_to_do(path: Path, rule: dict) -> None:
    expression = re.sub(r'"[^"]*"|\[[^\]]*\]', "", rule["expr"])
    named = set(re.findall(r"[a-z_][a-z0-9_]+", re.sub(r"\{[^}]*\}", "", expression))) - WORDS - LABELS
    assert named <= declared(path), f"{path.name}: {named - declared(path)} is not declared"
    assert named or "up{" in rule["expr"]
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["runbook"]
