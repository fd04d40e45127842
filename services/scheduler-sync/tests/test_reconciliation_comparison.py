"""The comparison of whole sides in Postgres: planted differences, a naive oracle, what is moving or cut."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reconciliation_samples import DAYS, FIRST, SERVICES, Row, compared, row, stage, there, write

from chassis.store import Store
from chassis.testing.depth import DEPTH
from scheduler_sync.domain.appointment import State, WorkflowStep
from scheduler_sync.domain.reconciliation import Kind, Seen, Settled, Side, differing

pytestmark = pytest.mark.stack
CANCELLED = {"cancelled", "entered-in-error", "noshow"}


def planted(links: int) -> tuple[list[Row], list[Seen], dict[str, set[str]]]:
    """Links, what OmegaAI shows, and the order numbers or ids that differ, by kind."""
    rows = [row(number, starts=datetime(2026, 12, 1, 8, tzinfo=UTC) + timedelta(minutes=2 * number))
            for number in range(links)]  # fmt: skip
    seen = [there(one) for one in rows]
    twentieth = links // 20
    wrong: dict[str, set[str]] = {kind: set() for kind in ("missing", "unknown", "moved", "status")}
    for one in rows[:twentieth]:
        wrong["missing"].add(str(one.id))
    for index in range(twentieth, 2 * twentieth):
        seen[index] = there(rows[index], starts=rows[index].starts + timedelta(minutes=15))
        wrong["moved"].add(str(rows[index].id))
    for index in range(2 * twentieth, 3 * twentieth):
        seen[index] = there(rows[index], status="booked")
        wrong["status"].add(str(rows[index].id))
    strangers = [
        Seen(f"stranger-{number}", "1", None, None, "booked", rows[number].starts, rows[number].ends, "hs-1", None)
        for number in range(twentieth)
    ]
    wrong["unknown"] = {one.key for one in strangers}
    return rows, seen[twentieth:] + strangers, wrong


async def test_planted_differences_are_found_exactly_and_again(harness) -> None:
    store: Store = harness.store
    rows, seen, wrong = planted(2_000)
    lagging = rows[-150:]
    await write(store, rows)
    await store.pool.execute(
        "UPDATE appointment_links SET state = 'confirmed', step = 'confirmed' WHERE id = ANY($1::uuid[])",
        [one.id for one in lagging],
    )
    seen = [
        one if one.link_id not in {late.id for late in lagging} else there(
            next(late for late in lagging if late.id == one.link_id), status="booked"
        )
        for one in seen
    ]  # fmt: skip
    await stage(store, Side.OMEGAAI, seen)
    for _ in range(2):
        _, found = await compared(store, Side.OMEGAAI)
        assert {str(one["link_id"]) for one in found if one["kind"] == "missing"} == wrong["missing"]
        assert {one["key"] for one in found if one["kind"] == "unknown"} == wrong["unknown"]
        moved = {str(one["link_id"]) for one in found if one["fields"] == ["starts"]}
        assert moved == wrong["moved"]
        assert {str(one["link_id"]) for one in found if one["fields"] == ["status"]} == wrong["status"]
        assert len(found) == sum(map(len, wrong.values()))
        _, found = await compared(store, Side.POWERSERVER)
        assert {one["link_id"] for one in found} == {one.id for one in lagging}
        assert {(one["kind"], *one["fields"]) for one in found} == {("differs", "status")}
        assert {one["settled"] for one in found} == {"found"}


STEPS = [
    (State.STAFF_BOOKED, WorkflowStep.SCHEDULED), (State.CONFIRMED, WorkflowStep.CONFIRMED),
    (State.MOVE_REQUESTED, WorkflowStep.REQUESTED), (State.CANCELLED, WorkflowStep.CANCELLED),
    (State.UNSCHEDULED, WorkflowStep.ORDERED), (State.DONE, WorkflowStep.COMPLETED),
]  # fmt: skip
a_time = st.integers(-3, 13).map(lambda days: datetime(2026, 12, 1, 12, tzinfo=UTC) + timedelta(days=days))


@st.composite
def sides(draw) -> tuple[list[Row], list[Seen]]:
    """Links, and Appointments some of which are theirs, with any fact changed."""
    links = []
    for number in range(draw(st.integers(0, 6))):
        state, step = draw(st.sampled_from(STEPS))
        links.append(
            row(
                number, starts=draw(a_time), state=state, step=step, resource=draw(st.sampled_from(list(SERVICES))),
                powerserver_step=draw(st.sampled_from([None, *WorkflowStep])),
                fhir_id=draw(st.sampled_from([None, f"appointment-{number}"])),
            )
        )  # fmt: skip
    seen = []
    for number in range(draw(st.integers(0, 7))):
        base = there(draw(st.sampled_from(links))) if links and draw(st.booleans()) else None
        one = base or Seen(f"other-{number}", "1", None, None, "booked", draw(a_time), None, "hs-1", None)
        changes = {}
        if draw(st.booleans()):
            changes["status"] = draw(st.sampled_from(["pending", "booked", "cancelled", "proposed", "fulfilled"]))
        if draw(st.booleans()):
            changes["starts"] = draw(a_time)
        if draw(st.booleans()):
            changes |= {"resource": draw(st.sampled_from([None, "hs-1", "hs-9"])), "patient": "patient-9"}
        if draw(st.booleans()):
            changes |= {"key": f"copy-{number}"}
        seen.append(Seen(**{name: changes.get(name, getattr(one, name)) for name in Seen.__slots__}))
    return links, seen


def naive(links: list[Row], seen: list[Seen]) -> list[tuple]:  # noqa: C901 - naive on purpose
    """The same comparison, one appointment at a time."""
    last: dict[str, Seen] = {}
    order: dict[str, int] = {}
    # The newest row of a key counts; days are staged in their order.
    staged = sorted(range(len(seen)), key=lambda i: (_day(seen[i]), i))
    for place, index in enumerate(staged):
        last[seen[index].key] = seen[index]
        order[seen[index].key] = place
    owners: dict[str, Row | None] = {}
    for key, one in last.items():
        by_key = next((link for link in links if link.fhir_id == key), None)
        by_id = next((link for link in links if link.id == one.link_id), None)
        by_placer = next((link for link in links if link.placer == one.placer), None)
        owners[key] = by_key or by_id or by_placer
    expected = []
    firsts: dict[uuid.UUID, str] = {}
    for key in sorted(last, key=lambda key: (not any(link.fhir_id == key for link in links), order[key])):
        owner = owners[key]
        if owner is None:
            if last[key].status not in CANCELLED:
                expected.append(("unknown", None, key, ()))
        elif owner.id in firsts:
            if last[key].status not in CANCELLED:
                expected.append(("double", owner.id, key, ()))
        else:
            firsts[owner.id] = key
    for link in links:
        ours = there(link)
        if link.id in firsts:
            theirs = last[firsts[link.id]]
            fields = differing(ours.shown, theirs.shown)
            if fields and not (ours.status in CANCELLED and theirs.status in CANCELLED):
                expected.append(("differs", link.id, theirs.key, fields))
        elif DAYS.first <= link.starts.date() < DAYS.end and link.state not in {State.CANCELLED, State.UNSCHEDULED}:
            expected.append(("missing", link.id, None, ()))
    return sorted(expected, key=str)


def _day(one: Seen) -> object:
    day = one.starts.date() if one.starts is not None else FIRST
    return day if FIRST - timedelta(days=1) <= day < FIRST + timedelta(days=11) else FIRST


@settings(max_examples=DEPTH.examples(40), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(both=sides())
async def test_the_statement_finds_what_the_naive_comparison_finds(harness, both) -> None:
    links, seen = both
    store: Store = harness.store
    await store.pool.execute("TRUNCATE appointment_links, reconcile_seen, reconcile_days CASCADE")
    await write(store, links)
    await stage(store, Side.OMEGAAI, seen)
    _, found = await compared(store, Side.OMEGAAI)
    shown = sorted(((one["kind"], one["link_id"], one["key"], tuple(one["fields"])) for one in found), key=str)
    assert shown == naive(links, seen)


async def test_what_is_moving_is_left_out_and_said(harness) -> None:
    store: Store = harness.store
    rows = [row(number) for number in range(4)]
    await write(store, rows)
    await stage(store, Side.OMEGAAI, [])
    await store.pool.execute(
        "UPDATE appointment_links SET updated_at = now() + interval '1 hour' WHERE id = $1", rows[0].id
    )
    for number, (destination, state, subject) in enumerate(
        [("omegaai", "pending", rows[1].id), ("omegaai", "done", rows[2].id), ("powerserver", "pending", rows[3].id)]
    ):
        await store.pool.execute(
            "INSERT INTO deliveries (id, destination, key, kind, payload, headers, idempotency_key, subject, state) "
            "VALUES (gen_random_uuid(), $1, gen_random_uuid(), 'appointment.upsert', '', '{}', $2, $3, $4)",
            destination, str(number), subject, state,
        )  # fmt: skip
    _, found = await compared(store, Side.OMEGAAI)
    settled = {one["link_id"]: one["settled"] for one in found}
    assert settled == {
        rows[0].id: Settled.MOVING, rows[1].id: Settled.MOVING, rows[2].id: Settled.FOUND, rows[3].id: Settled.FOUND,
    }  # fmt: skip


async def test_an_absence_from_a_day_that_was_cut_says_nothing(harness) -> None:
    store: Store = harness.store
    rows = [row(number, starts=datetime(2026, 12, 1 + number, 12, tzinfo=UTC)) for number in range(6)]
    await write(store, rows)
    await stage(store, Side.OMEGAAI, [there(rows[2], status="booked")])
    _, found = await compared(store, Side.OMEGAAI, cut=frozenset({rows[2].starts.date()}))
    assert {one["link_id"] for one in found if one["kind"] == Kind.MISSING} == {rows[0].id, rows[4].id, rows[5].id}
    assert [one["link_id"] for one in found if one["kind"] == Kind.DIFFERS] == [rows[2].id]


async def test_of_an_appointment_that_stands_on_two_days_the_later_reading_counts(harness) -> None:
    store: Store = harness.store
    one = row(1)
    await write(store, [one])
    moved = there(one, starts=one.starts + timedelta(days=1))
    await stage(store, Side.OMEGAAI, [there(one), moved])
    _, found = await compared(store, Side.OMEGAAI)
    assert [(difference["kind"], difference["fields"]) for difference in found] == [("differs", ["starts"])]
