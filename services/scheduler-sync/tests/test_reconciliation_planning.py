"""Which days a run reads and when it asks; and the comparison with the worklist, in the store."""

import hashlib
from dataclasses import replace
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reconciliation_samples import Row, compared, row, stage, write

from scheduler_sync.domain.appointment import State, WorkflowStep
from scheduler_sync.domain.reconciliation import Horizon, Seen, Side, asks

TODAY = date(2026, 12, 1)


horizons = st.builds(
    Horizon, back=st.integers(0, 10), near=st.integers(1, 40), ahead=st.integers(1, 400),
    night_begins=st.integers(0, 23), night_ends=st.integers(0, 23),
)  # fmt: skip


@given(horizon=horizons, interval=st.integers(300, 7200))
def test_a_night_gets_through_all_days_and_every_run_by_day_reads_the_near_ones(
    horizon: Horizon, interval: int
) -> None:
    whole, close = set(horizon.all_days(TODAY)), set(horizon.near_days(TODAY))
    read: set[date] = set()
    until: date | None = None
    for number in range(24 * 3600 // interval):
        hour = (horizon.night_begins + number * interval // 3600) % 24
        days = horizon.days(TODAY, hour, read_until=until, interval_seconds=interval)
        assert set(days) <= whole
        if horizon.is_night(hour):
            read |= set(days)
            until = days.end
        else:
            assert set(days) == close
    assert read == whole


@pytest.mark.parametrize(
    ("to_heal", "compared_", "expected"),
    [(9, 10, False), (10, 1_000, False), (10, 999, True), (1_000, 100_000, False), (1_001, 100_000, True)],
)
def test_a_run_asks_above_one_percent_and_from_ten_on(to_heal: int, compared_: int, *, expected: bool) -> None:
    assert asks(to_heal=to_heal, compared=compared_, share=0.01, fewest=10) is expected


def on_worklist(link: Row, **changes: object) -> Seen:
    patient = hashlib.sha256(f"MRN{link.patient}".encode()).hexdigest()
    agreed = Seen(
        key=link.placer, version="1", link_id=None, placer=link.placer, status="listed", starts=link.starts, ends=None,
        resource=link.resource[1], patient=patient, accession=link.accession,
    )  # fmt: skip
    return replace(agreed, **changes)


@pytest.mark.stack
async def test_the_worklist_is_compared_by_order_number_start_station_and_patient(harness) -> None:
    confirmed = {"state": State.CONFIRMED, "step": WorkflowStep.CONFIRMED, "powerserver_step": WorkflowStep.CONFIRMED}
    cancelled = {"state": State.CANCELLED, "step": WorkflowStep.CANCELLED, "powerserver_step": WorkflowStep.CANCELLED}
    arrived = {"state": State.ARRIVED, "step": WorkflowStep.ARRIVED, "powerserver_step": WorkflowStep.ARRIVED}
    rows = [
        row(0), row(1, **confirmed), row(2), row(3), row(4), row(5), row(6, **cancelled), row(7, **cancelled),
        row(8, **arrived), row(9), row(10),
    ]  # fmt: skip
    await write(harness.store, rows)
    await harness.store.pool.execute(
        "INSERT INTO patient_identifiers (site, issuer, value, patient_id, position) "
        "SELECT 'northside', 'NORTHSIDE', 'MRN1', id, 0 FROM patients"
    )
    seen = [
        on_worklist(rows[0]),
        on_worklist(rows[1]),
        on_worklist(rows[3], starts=rows[3].starts + timedelta(minutes=15)),
        on_worklist(rows[4], resource="BLUME MR"),
        on_worklist(rows[5], patient=hashlib.sha256(b"MRN9").hexdigest()),
        on_worklist(rows[6]),
        on_worklist(rows[9], placer=None, key="ACC9"),
        on_worklist(rows[10], resource=None, patient=None),
        on_worklist(rows[0], key="P777", placer="P777", accession="ACC777"),
    ]
    await stage(harness.store, Side.WORKLIST, seen)
    _, found = await compared(harness.store, Side.WORKLIST)
    names = {one.id: one.placer for one in rows}
    shown = {(one["kind"], names.get(one["link_id"], one["key"]), tuple(one["fields"])) for one in found}
    assert shown == {
        ("missing", "P2", ()), ("differs", "P3", ("starts",)), ("differs", "P4", ("resource",)),
        ("differs", "P5", ("patient",)), ("differs", "P6", ("status",)), ("unknown", "P777", ()),
    }  # fmt: skip
    assert not any("MRN" in str(one) for one in found)
