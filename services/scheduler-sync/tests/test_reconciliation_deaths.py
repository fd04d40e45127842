"""R3: deaths between the second look and the correction, and behind it: each difference is corrected once."""

from collections import Counter
from contextlib import suppress

import pytest
from test_reconciliation_runs import World, filled, world

from chassis import failpoints
from chassis.testing import DEATHS_AT_EACH_POINT
from scheduler_sync.reconciliation import correcting

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]
__all__ = ["world"]


async def test_deaths_between_look_and_correction(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run dies at both points of each lot of one appointment, and goes on where it was."""
    look, correction = "reconcile.after-look-before-correction", "reconcile.after-correction-before-next"
    await filled(world, DEATHS_AT_EACH_POINT)
    monkeypatch.setattr(correcting, "AT_ONCE", 1)
    world.settings = world.settings.model_copy(update={"ask_above_share": 1.0})
    for number in range(DEATHS_AT_EACH_POINT):
        world.plant(number, status="booked")
    deaths: Counter[str] = Counter()

    def hit(name: str) -> None:
        if name not in {look, correction}:
            return
        if (name == look) == (deaths[look] == deaths[correction]) and deaths[name] < DEATHS_AT_EACH_POINT:
            deaths[name] += 1
            raise failpoints.FailPoint(name)

    number = await world.runs().wish("test")
    with monkeypatch.context() as dying:
        dying.setattr(failpoints, "hit", hit)
        for _ in range(2 * DEATHS_AT_EACH_POINT):
            with suppress(failpoints.FailPoint):
                await world.go_on(number)
    assert deaths == dict.fromkeys((look, correction), DEATHS_AT_EACH_POINT)
    assert (await world.go_on(number))["state"] == "done"
    confirmed = await world.harness.rows(
        "SELECT count(*) AS number FROM outbox WHERE topic = 'appointment.confirmed' GROUP BY aggregate_id"
    )
    assert [row["number"] for row in confirmed] == [1] * DEATHS_AT_EACH_POINT
    await world.settle()
    assert (await world.run())["differences"] == 0
