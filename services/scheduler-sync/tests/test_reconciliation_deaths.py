"""R3: deaths between the second look and the correction, and behind it: each difference is corrected once."""

from collections import Counter
from contextlib import suppress

import pytest
from test_reconciliation_runs import World, filled, later, world

from chassis import failpoints
from scheduler_sync.failpoints import RECONCILE_AFTER_CORRECTION, RECONCILE_BEFORE_CORRECTION
from scheduler_sync.reconciliation import correcting

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]
__all__ = ["world"]


async def test_deaths_between_look_and_correction(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run dies at each point of each lot, and goes on where it was."""
    await filled(world, 6)
    monkeypatch.setattr(correcting, "AT_ONCE", 2)
    for number in (0, 1):
        world.plant(number, start=later(world.appointment(number)["start"], 15))
    for number in (2, 3):
        world.plant(number, status="booked")
    deaths: Counter[str] = Counter()

    def hit(name: str) -> None:
        if name in {RECONCILE_BEFORE_CORRECTION, RECONCILE_AFTER_CORRECTION} and deaths[name] < 2:
            deaths[name] += 1
            raise failpoints.FailPoint(name)

    number = await world.runs().wish("test")
    with monkeypatch.context() as dying:
        dying.setattr(failpoints, "hit", hit)
        for _ in range(4):
            with suppress(failpoints.FailPoint):
                await world.go_on(number)
    assert deaths == {RECONCILE_BEFORE_CORRECTION: 2, RECONCILE_AFTER_CORRECTION: 2}
    assert (await world.go_on(number))["state"] == "done"
    told = await world.harness.rows(
        "SELECT subject, count(*) AS number FROM deliveries WHERE state = 'pending' AND destination = 'omegaai' "
        "GROUP BY subject"
    )
    assert [row["number"] for row in told] == [1, 1]
    assert len(await world.harness.rows("SELECT 1 FROM outbox WHERE topic = 'appointment.confirmed'")) == 2
    await world.settle()
    assert (await world.run())["differences"] == 0
