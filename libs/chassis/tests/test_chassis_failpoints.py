"""R3's table: every fail point in the sources, and the test that dies there at least a hundred times."""

import re
from pathlib import Path
from typing import Final, get_args

import pytest

from chassis import failpoints

ROOT: Final = Path(__file__).parents[3]
_DEATHS = "libs/chassis/tests/test_chassis_deaths.py::test_deaths_of_the_"
_SMTP = "services/notifier/tests/test_notifier_deaths.py::test_deaths_of_the_smtp_hand_over"
A_HUNDRED_DEATHS: Final[dict[failpoints.Name, str]] = {
    "batch.before-commit": "libs/chassis/tests/test_chassis_batch.py::test_a_death_around_the_commit_loses_and_doubles_nothing",  # noqa: E501 (a path)
    "batch.after-commit": "libs/chassis/tests/test_chassis_batch.py::test_a_death_around_the_commit_loses_and_doubles_nothing",  # noqa: E501 (a path)
    "inbound.before-commit": _DEATHS + "listener",
    "inbound.after-commit-before-ack": _DEATHS + "listener",
    "relay.before-send": _DEATHS + "relay",
    "relay.after-send-before-mark": _DEATHS + "relay",
    "consumer.after-commit-before-offsets": _DEATHS + "consumer",
    "delivery.after-claim-before-send": _DEATHS + "deliveries",
    "delivery.after-send-before-mark": _DEATHS + "deliveries",
    "timer.after-due-before-claim": _DEATHS + "timers",
    "timer.after-claim-before-effect": _DEATHS + "timers",
    "timer.after-effect-before-mark": _DEATHS + "timers",
    "timer.after-commit": _DEATHS + "timers",
    "smtp.after-count-before-hand-over": _SMTP,
    "smtp.after-hand-over-before-receipt": _SMTP,
    "smtp.after-refusal-before-note": _SMTP,
    "tasks.after-commit-before-complete": "services/scheduler-sync/tests/test_omegaai_task_deaths.py"
    "::test_deaths_between_the_commit_and_the_tasks_completion",
}


def in_the_sources() -> set[str]:
    """The names at every ``failpoints.hit``; a name that is no literal would be found as the empty one."""
    found = set()
    for member in ("libs", "services"):
        for path in (ROOT / member).glob("*/src/**/*.py"):
            found |= set(re.findall(r'failpoints\.hit\(\s*"?([^")]*)', path.read_text()))
    return found


def test_every_fail_point_of_the_sources_is_declared_and_has_its_hundred_deaths() -> None:
    assert in_the_sources() == set(get_args(failpoints.Name)) == set(A_HUNDRED_DEATHS)


@pytest.mark.parametrize(("point", "test"), A_HUNDRED_DEATHS.items())
def test_the_test_of_a_fail_point_is_there_and_dies_at_it(point: str, test: str) -> None:
    path, _, name = test.partition("::")
    text = (ROOT / path).read_text()
    start = r"(?:@pytest\.mark\.parametrize[^\n]*\n)?async def "
    body = re.search(rf"{start}{name}\(.*?(?=\n(?:@|async def |def )|\Z)", text, re.DOTALL)
    assert body is not None, f"{path} has no {name}"
    assert f'"{point}"' in body[0]
    assert "DEATHS_AT_EACH_POINT" in text
