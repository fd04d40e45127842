"""The search of messages finds every kind by number, time and outcome, pages both ways, and reads by index."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from uuid import UUID, uuid4

import pytest
from sqlalchemy.dialects.postgresql import asyncpg as dialect
from sync_harness import listening, send
from sync_samples import PID, orm, siu

import contracts
from chassis.store import Store
from scheduler_sync.commands import cause_of_task
from scheduler_sync.store.messages import Messages, Place, Wanted, time_of

pytestmark = pytest.mark.stack
SITE = "northside"
AT = datetime(2026, 11, 30, 12, tzinfo=UTC)
LINK, PATIENT = uuid4(), uuid4()


def id_at(at: datetime, number: int = 0) -> UUID:
    return UUID(int=int(at.timestamp() * 1000) << 80 | 0x7 << 76 | number)


APPOINTMENT = f"""
INSERT INTO patients (id, site, family, given, sex, language, organization, heard_at, revision)
VALUES ('{PATIENT}', '{SITE}', 'Roe', 'Jane', 'F', 'en', 'O', now(), 1);
INSERT INTO patient_identifiers (site, issuer, value, patient_id, position)
VALUES ('{SITE}', 'NORTHSIDE', '4711', '{PATIENT}', 0), ('{SITE}', 'OTHER', '9', '{PATIENT}', 1);
INSERT INTO appointment_links (id, site, placer_number, patient_id, facility, resource, studies, study_details, state,
    step, who_acts_next, accession_numbers, revision, omegaai_id)
VALUES ('{LINK}', '{SITE}', 'P-1', '{PATIENT}', 'FAC01', 'CT 1', '[]', '[]', 'staff-booked', 'SCHEDULED', 'patient',
    '{{}}', 1, 'appt-1');
"""


@pytest.fixture
async def store(migrated_url: str):
    opened = await Store.open(SimpleNamespace(url=migrated_url, pool_size=2))
    await opened.pool.execute(APPOINTMENT)
    yield opened
    await opened.close()


async def received(
    store: Store, at: datetime, *, state: str = "accepted", control_id: str = "C", number: int = 0
) -> UUID:
    message_id = id_at(at, number)
    await store.pool.execute(
        "INSERT INTO hl7_journal (id, sender, control_id, digest, type, raw, state, received_at)"
        " VALUES ($1, $2, $3, $4, 'SIU^S12', 'MSH', $5, $6)",
        message_id, f"S{number % 3}|", control_id, message_id.bytes, state, at,
    )  # fmt: skip
    return message_id


async def history(store: Store, cause: UUID, at: datetime, source: str = "powerserver", deliveries=()) -> None:
    await store.pool.execute(
        "INSERT INTO link_history (link_id, at, source, message, cause_id, outcome, state_before, state_after,"
        " revision, changed, delivery_ids) VALUES ($1, $2, $3, 'm', $4, 'applied', 'new', 'staff-booked', 1, '{}', $5)",
        LINK, at, source, cause, list(deliveries),
    )  # fmt: skip


async def sent(store: Store, at: datetime, destination: str, *, key: UUID = LINK, subject: UUID | None = None,
               state: str = "done", number: int = 0) -> UUID:  # fmt: skip
    delivery_id = id_at(at, 1000 + number)
    await store.pool.execute(
        "INSERT INTO deliveries (id, destination, key, kind, payload, idempotency_key, state, subject, done_at)"
        " VALUES ($1, $2, $3, 'kind', '', $4, $5, $6, CASE WHEN $5 = 'pending' THEN NULL ELSE now() END)",
        delivery_id, destination, key, f"K{delivery_id}", state, subject,
    )  # fmt: skip
    return delivery_id


async def ids(store: Store, wanted: Wanted) -> list[tuple[str, str]]:
    return [(row.kind, row.id) for row in (await Messages(store, SITE).search(wanted)).rows]


async def test_each_kind_is_found_by_its_numbers_time_and_outcome(store: Store):
    first = await received(store, AT, control_id="PS1")
    out = await sent(store, AT + timedelta(seconds=1), "powerserver")
    fhir = await sent(store, AT + timedelta(seconds=2), "omegaai", key=PATIENT, subject=LINK, state="dead")
    await history(store, first, AT, deliveries=[out, fhir])
    await history(store, cause_of_task("t-1"), AT + timedelta(seconds=3), "omegaai")
    await store.pool.execute(
        "INSERT INTO parked_tasks (task_id, focus, reason, parked_at) VALUES ('t-2', 'Appointment/appt-1', 'r', $1)",
        AT + timedelta(seconds=4),
    )
    other = await received(store, AT + timedelta(seconds=5), control_id="PS2", state="rejected", number=1)
    strange = await sent(store, AT + timedelta(seconds=6), "omegaai", key=uuid4(), state="pending")

    (task,) = await store.pool.fetch("SELECT id FROM link_history WHERE source = 'omegaai'")
    of_order = [
        ("parked-task", "t-2"), ("task", str(task["id"])), ("fhir", str(fhir)), ("hl7-out", str(out)),
        ("hl7-in", str(first)),
    ]  # fmt: skip
    everything = [("fhir", str(strange)), ("hl7-in", str(other)), *of_order]
    assert await ids(store, Wanted()) == everything
    for wanted in (
        Wanted(order="P-1"),
        Wanted(order="appt-1"),
        Wanted(patient="4711"),
        Wanted(order="P-1", patient="9"),
    ):
        assert await ids(store, wanted) == of_order, wanted
    assert await ids(store, Wanted(order="P-2")) == []
    assert await ids(store, Wanted(order="P-1", patient="9999")) == []
    assert await ids(store, Wanted(control_id="PS1")) == of_order[4:]
    assert await ids(store, Wanted(control_id=f"K{out}")) == [("hl7-out", str(out))]
    assert await ids(store, Wanted(control_id=str(fhir))) == [("fhir", str(fhir))]
    assert await ids(store, Wanted(control_id="t-1")) == [of_order[1]]
    assert await ids(store, Wanted(control_id="t-2")) == [of_order[0]]
    assert await ids(store, Wanted(outcome="waits")) == [("fhir", str(strange)), of_order[0]]
    assert await ids(store, Wanted(outcome="refused")) == [("hl7-in", str(other)), ("fhir", str(fhir))]
    assert await ids(store, Wanted(outcome="done")) == [of_order[1], *of_order[3:]]
    assert await ids(store, Wanted(outcome="dropped")) == []
    assert await ids(store, Wanted(kind="task")) == of_order[:2]
    between = Wanted(since=AT + timedelta(seconds=1), until=AT + timedelta(seconds=3))
    assert await ids(store, between) == of_order[2:4]

    shown = {row.id: row for row in (await Messages(store, SITE).search(Wanted())).rows}
    assert [shown[one].link_id for one in (str(first), str(out), str(fhir), str(task["id"]))] == [LINK] * 4
    assert shown[str(strange)].link_id is None


async def test_pages_go_on_without_end_in_both_directions_and_leave_nothing_out(store: Store):
    for number in range(130):  # many at one time, of all kinds
        at = AT + timedelta(milliseconds=number // 10, microseconds=500 * (number % 2))
        await received(store, at, control_id=f"C{number}", number=number)
        if number % 2 == 0:
            await sent(store, at, "powerserver" if number % 4 else "omegaai", number=number)
        if number % 3 == 0:
            await history(store, uuid4(), at, "omegaai")
        if number % 7 == 0:
            await store.pool.execute(
                "INSERT INTO parked_tasks (task_id, focus, reason, parked_at) VALUES ($1, 'x', 'r', $2)",
                f"t{number:03}",
                at,
            )
    messages = Messages(store, SITE)
    down = [await messages.search(Wanted())]
    assert not down[0].has_newer
    while down[-1].has_older:
        down.append(await messages.search(Wanted(), down[-1].rows[-1].place))
        assert down[-1].has_newer
    seen = [row.place for page in down for row in page.rows]
    assert len(seen) == len(set(seen)) == 130 + 65 + 44 + 19
    assert [place.at for place in seen] == sorted((place.at for place in seen), reverse=True)

    page, up = down[-1], list(reversed(down[-1].rows))
    while page.has_newer:
        page = await messages.search(Wanted(), page.rows[0].place, newer=True)
        up += reversed(page.rows)
    assert [row.place for row in reversed(up)] == seen
    assert [row.place for row in page.rows] == seen[:50]


MANY = 100_000
FILLED = f"""
INSERT INTO hl7_journal (id, sender, control_id, digest, type, raw, state, received_at, terms)
SELECT (lpad(to_hex(1.8e12::bigint + n), 12, '0') || '7000' || lpad(to_hex(n), 16, '0'))::uuid, 'S' || n % 3, 'C' || n,
    int4send(n), 'SIU^S12', 'MSH', (ARRAY['accepted', 'accepted', 'accepted', 'rejected', 'needs_setup'])[1 + n % 5],
    'epoch'::timestamptz + (1.8e12 + n) * interval '1 millisecond',
    CASE n % 5 WHEN 4 THEN ARRAY['order P-' || n, 'patient ' || n] END
FROM generate_series(1, {MANY}) n;
INSERT INTO deliveries (id, destination, key, kind, payload, idempotency_key, state, done_at)
SELECT (lpad(to_hex(1.8e12::bigint + n), 12, '0') || '7001' || lpad(to_hex(n), 16, '0'))::uuid,
    (ARRAY['omegaai', 'powerserver'])[1 + n % 2], gen_random_uuid(), 'kind', '', 'K' || n,
    CASE n % 1000 WHEN 0 THEN 'dead' WHEN 1 THEN 'pending' WHEN 2 THEN 'dropped' ELSE 'done' END,
    CASE WHEN n % 1000 <> 1 THEN now() END
FROM generate_series(1, {MANY}) n;
INSERT INTO link_history (link_id, at, source, message, cause_id, outcome, state_before, state_after, revision,
    changed, delivery_ids)
SELECT gen_random_uuid(), 'epoch'::timestamptz + (1.8e12 + n) * interval '1 millisecond',
    (ARRAY['powerserver', 'omegaai'])[1 + n % 2], 'm', gen_random_uuid(), 'applied', 'new', 'staff-booked', 1, '{{}}',
    '{{}}'
FROM generate_series(1, {MANY}) n;
INSERT INTO parked_tasks (task_id, focus, reason, parked_at, replayed_at)
SELECT 't' || n, 'x', 'r', 'epoch'::timestamptz + (1.8e12 + n) * interval '1 millisecond',
    CASE WHEN n % 100 <> 0 THEN now() END
FROM generate_series(1, {MANY} / 10) n;
ANALYZE hl7_journal, deliveries, link_history, parked_tasks, appointment_links, patient_identifiers;
"""
MIDDLE = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=1.8e12 + MANY / 2)
SEARCHES = [
    Wanted(),
    Wanted(order="P-1"),
    Wanted(patient="4711"),
    Wanted(order="P-1", patient="4711"),
    Wanted(control_id="C77"),
    Wanted(control_id=str(contracts.uuid7())),
    Wanted(since=MIDDLE, until=MIDDLE + timedelta(minutes=1)),
    *(Wanted(outcome=outcome) for outcome in ("done", "waits", "refused", "dropped")),
    Wanted(outcome="waits", since=MIDDLE),
    Wanted(outcome="refused", patient="4711"),
]


async def test_no_search_reads_a_table_from_end_to_end(store: Store):
    await store.pool.execute(FILLED, timeout=120)
    messages = Messages(store, SITE)
    await messages.search(Wanted(patient="4711"))
    sequential: list[str] = []
    async with store.session() as session:
        connection = await session.connection()

        async def explained(statement) -> str:
            compiled = statement.compile(dialect=dialect.dialect(), compile_kwargs={"render_postcompile": True})
            values = tuple(compiled.params[name] for name in compiled.positiontup or ())
            plan = await connection.exec_driver_sql(f"EXPLAIN {compiled}", values)
            return "\n".join(line for (line,) in plan)

        for place in (None, Place(MIDDLE, "hl7-in", str(id_at(MIDDLE))), Place(MIDDLE, "task", "5")):
            for wanted in SEARCHES:
                for newer in (False, True) if place else (False,):
                    for kind, statement in await messages.statements(session, wanted, place, newer=newer):
                        plan = await explained(statement)
                        if "Seq Scan on" in plan:
                            sequential.append(f"{kind} {wanted} {place} {newer}\n{plan}")
    assert not sequential, f"{len(sequential)} plans, such as:\n{sequential[0]}"


async def test_a_message_without_an_effect_is_found_by_what_it_says(migrated_url: str):
    async with listening(migrated_url) as (core, client):
        assert (await send(client, siu())).code == "AA"
        assert (await send(client, orm(placer="P7", control_id="O7", resource="GHOST CT"))).code == "AE"
        assert (
            await send(client, siu(placer="P8", control_id="S8", pid=PID.replace("4711", "815 \\T\\ x")))
        ).code == "AA"
        assert (await send(client, siu(placer="", control_id="S9"))).code == "AR"
        await core.listener.accept(siu(placer="P10", control_id="").replace(b"|P|", b"|P|"))
        messages = Messages(core.store, core.site.file.site)

        async def numbers(wanted: Wanted) -> list[str]:
            return [row.number for row in (await messages.search(wanted)).rows if row.kind == "hl7-in"]

        assert await numbers(Wanted(order="P7")) == ["O7"]
        assert await numbers(Wanted(order="P100045")) == ["PS0000000123"]
        assert await numbers(Wanted(patient="815 & x")) == ["S8"]
        assert len(await numbers(Wanted(order="P10"))) == 1  # refused: it has no control id
        assert set(await numbers(Wanted(patient="4711"))) >= {"O7", "PS0000000123", "S9"}
        kept = await core.store.pool.fetch("SELECT control_id FROM hl7_journal WHERE terms IS NOT NULL")
        assert "PS0000000123" not in {row["control_id"] for row in kept}  # its appointment's history leads to it


def test_the_time_of_an_id_of_another_kind_is_no_error():
    assert time_of(UUID(int=2**128 - 1)).year == 9999
    assert time_of(id_at(AT)) == AT
