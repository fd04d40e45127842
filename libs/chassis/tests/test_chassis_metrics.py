"""Metrics: declared as objects by the member that counts, shown with their meaning from the start on."""

import importlib
import re
from pathlib import Path
from types import ModuleType

import pytest
from prometheus_client import generate_latest

from chassis.observe import Counter, Declared, Gauge, Histogram, Metrics, declared_in, meters

ROOT = Path(__file__).resolve().parents[3]
MEMBERS = {
    "chassis": (ROOT / "libs/chassis/src", meters),
    **{
        path.parent.name: (path.parents[1], importlib.import_module(f"{path.parent.name}.metrics"))
        for path in ROOT.glob("services/*/src/*/metrics.py")
    },
}


@pytest.mark.parametrize(("sources", "module"), MEMBERS.values(), ids=MEMBERS)
def test_a_declared_metric_is_counted_by_the_member_that_declares_it(sources: Path, module: ModuleType) -> None:
    text = "".join(path.read_text() for path in sources.rglob("*.py"))
    for constant, one in vars(module).items():
        if isinstance(one, Declared):
            uses = re.findall(rf"\b{constant}\b", text)
            assert len(uses) > 1, f"{module.__name__}.{constant} is declared and never counted"


@pytest.mark.parametrize("module", [module for _, module in MEMBERS.values()], ids=MEMBERS)
def test_names_follow_the_kind_and_everything_has_a_meaning(module: ModuleType) -> None:
    for one in declared_in(module):
        assert one.name.endswith("_total") is isinstance(one, Counter), one.name
        assert len(one.meaning.split()) >= 3, one.name


def test_metrics_show_what_members_declare_from_the_start_on() -> None:
    own = ModuleType("own")
    own.__dict__.update(OPEN=Gauge("own_open", "Things of its own that are open"), NAME="no declaration")
    shown = generate_latest(Metrics(own).registry).decode()
    assert "# HELP own_open Things of its own that are open\n" in shown
    assert "own_open 0.0" in shown
    assert "outbox_unsent 0.0" in shown


def test_a_declaration_that_nobody_handed_in_is_counted_all_the_same() -> None:
    metrics = Metrics()
    counter, gauge = Counter("own_total", "Own things, counted"), Gauge("own_height", "The height of it", "of")
    histogram = Histogram("own_seconds", "How long own things take")
    metrics.count(counter, 2)
    metrics.set(gauge, 3, of="it")
    metrics.observe(histogram, 1.5)
    assert (metrics.value(counter), metrics.value(gauge, of="it")) == (2, 3)
    assert metrics.value("own_seconds_count") == 1


def test_two_declarations_of_one_name_are_refused() -> None:
    own = ModuleType("own")
    own.__dict__.update(UNSENT=Gauge("outbox_unsent", "Another one of the same name"))
    with pytest.raises(ValueError, match="outbox_unsent"):
        Metrics(own)
