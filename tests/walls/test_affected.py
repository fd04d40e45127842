"""``make test AFFECTED=…`` chooses exactly the tests that a change can reach."""

from functools import cache
from pathlib import Path

import pytest

from tests.affected import ROOT, Chosen, choose

NOTIFIER = "services/notifier/tests/test_notifier_handlers.py"
SYNC = "services/scheduler-sync/tests/test_appointment_link.py"
CODEC = "libs/hl7v2/tests/test_hl7v2_properties.py"
FLOW = "services/scheduler-sync/tests/test_restore_rehearsal.py"


@cache
def chosen(*changed: str) -> Chosen:
    return choose(ROOT, [Path(path) for path in changed])


@pytest.mark.parametrize(
    ("changed", "reached", "not_reached"),
    [
        ("services/notifier/src/notifier/handlers.py", {NOTIFIER, FLOW}, {SYNC, CODEC}),
        ("libs/chassis/src/chassis/loops.py", {NOTIFIER, SYNC, FLOW}, set()),
        ("libs/hl7v2/src/hl7v2/ack.py", {NOTIFIER, SYNC, CODEC, FLOW}, set()),
        (
            "services/scheduler-sync/tests/sync_samples.py",
            {"services/scheduler-sync/tests/test_site_file.py"},
            {NOTIFIER},
        ),
        ("services/scheduler-sync/tests/field_cases/new.hl7", {SYNC}, {NOTIFIER}),
        ("services/notifier/service.toml", {NOTIFIER}, {SYNC, CODEC}),
        ("tests/chaos/faults.py", {"tests/chaos/test_chaos_short.py"}, {NOTIFIER, SYNC, CODEC}),
        ("docs/operations/recovery.md", set(), {NOTIFIER, SYNC, CODEC}),
    ],
)
def test_a_change_reaches_whose_text_or_imports_lead_to_it(
    changed: str, reached: set[str], not_reached: set[str]
) -> None:
    found = {str(path.relative_to(ROOT)) for path in chosen(changed).why}
    assert reached <= found
    assert not not_reached & found
    assert "tests/walls/test_import_walls.py" in found or changed.endswith(".md"), "walls look at everything"


@pytest.mark.parametrize(
    "changed", ["requirements.lock", "Makefile", "conftest.py", "deploy/images/requirements_of.py"]
)
def test_what_belongs_to_no_member_reaches_everything(changed: str) -> None:
    assert (
        chosen("services/notifier/src/notifier/handlers.py", changed).all_because == f"{changed} belongs to no member"
    )
