"""HL7 over MLLP into the whole listener: what is answered, what is kept, and what a store that is away means."""

import asyncio
from dataclasses import dataclass, field
from urllib.parse import urlsplit, urlunsplit

import pytest
from sync_harness import listening, send
from sync_samples import directory, orm, siu

from chassis.errors import StoreUnavailable
from chassis.testing.talks import talking
from hl7v2 import parse_ack
from scheduler_sync import bootstrap

pytestmark = pytest.mark.stack


@dataclass
class Proxy:
    """A way to Postgres that a test can cut."""

    target: tuple[str, int]
    is_open: bool = True
    writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.is_open:
            return
        there, back = await asyncio.open_connection(*self.target)
        self.writers |= {writer, back}
        await asyncio.gather(self._pipe(reader, back), self._pipe(there, writer), return_exceptions=True)

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()
            self.writers.discard(writer)

    def cut(self) -> None:
        self.is_open = False
        for writer in list(self.writers):
            writer.transport.abort()


async def test_each_kind_of_message_is_answered_and_kept_as_the_wires_say(migrated_url: str):
    async with listening(migrated_url) as (core, client):
        assert (await send(client, siu())).code == "AA"
        assert (await send(client, orm())).code == "AA"
        assert (await send(client, siu())).code == "AA"
        malformed = await send(client, siu(placer="", control_id="C1"))
        assert (malformed.code, malformed.errors[0].location, malformed.errors[0].code) == ("AR", "SCH-1", "101")
        ghost = await send(client, siu(placer="P2", resource="GHOST CT", control_id="C2"))
        assert ghost.code == "AE"
        assert "GHOST CT" in (ghost.text or "")
        unread = parse_ack(await core.listener.accept(b"hello"))
        assert unread.code == "AR"
        rows = await core.store.pool.fetch("SELECT state, repeats, setting FROM hl7_journal ORDER BY received_at")
        assert [(row["state"], row["repeats"]) for row in rows] == [
            ("accepted", 1), ("accepted", 0), ("rejected", 0), ("needs_setup", 0), ("rejected", 0),
        ]  # fmt: skip
        assert "Healthcare" in rows[3]["setting"]
        assert await core.store.pool.fetchval("SELECT count(*) FROM appointment_links") == 1
        assert await core.store.pool.fetchval("SELECT count(*) FROM outbox") == 3  # the ORM adds details


@pytest.mark.parametrize(
    ("old", "new", "code", "location"),
    [
        (b"|M1|", b"|M\x001|", "102", "MSH"),
        (b"|M1|", b"|M\\X00\\1|", "102", ""),
        (b"|M1|", b"|" + b"M" * 200 + b"|", "104", "MSH-10"),
        (b"RAMSOFT|FAC01", b"RAM\x00SOFT|FAC01", "102", "MSH"),
        (b"RAMSOFT|FAC01", b"R" * 500 + b"|FAC01", "104", "MSH-3"),
        (b"Roe^", b"Ro\x00e^", "102", "PID"),
        (b"Roe^", b"Ro\\X4100\\e^", "102", ""),
        (b"SCH|P1", b"SCH|" + b"P" * 428, "104", "SCH-1"),
    ],
)
async def test_what_the_store_cannot_take_is_refused_and_costs_its_neighbours_nothing(
    migrated_url: str, old: bytes, new: bytes, code: str, location: str
):
    raw = siu(placer="P1", control_id="M1")
    assert old in raw
    async with listening(migrated_url) as (core, _):
        listener = core.listener
        answers = await asyncio.gather(
            listener.accept(siu(placer="P2", control_id="M2")),
            listener.accept(raw.replace(old, new)),
            listener.accept(siu(placer="P3", control_id="M3")),
        )
        before, refused, after = map(parse_ack, answers)
        assert (before.code, refused.code, after.code) == ("AA", "AR", "AA")
        assert [(error.code, error.location) for error in refused.errors] == [(code, location)]
        states = await core.store.pool.fetch("SELECT state, reason FROM hl7_journal ORDER BY state")
        assert [row["state"] for row in states] == ["accepted", "accepted", "rejected"]
        assert "Roe" not in states[-1]["reason"]


async def test_what_needed_set_up_is_processed_when_its_sender_comes_again_after_the_fix(migrated_url: str):
    async with listening(migrated_url) as (core, client):
        raw = siu(resource="LAKE CT")
        assert (await send(client, raw)).code == "AE"
        lake = directory().named("FAC02", "LAKE CT")
        core.directory.fill([lake.__class__(lake.id, "FAC01", "LAKE CT", "CT", "hs-9")])
        assert (await send(client, raw)).code == "AA"
        assert await core.store.pool.fetchval("SELECT state FROM hl7_journal") == "replayed"
        assert await core.store.pool.fetchval("SELECT count(*) FROM appointment_links") == 1


async def test_a_store_that_is_away_is_an_ae_and_the_repeat_has_one_effect(migrated_url: str):
    parts = urlsplit(migrated_url)
    proxy = Proxy((parts.hostname or "", parts.port or 0))
    user = parts.netloc.rpartition("@")[0]
    async with (
        talking(proxy.handle) as port,
        listening(urlunsplit(parts._replace(netloc=f"{user}@127.0.0.1:{port}"))) as (core, client),
    ):
        proxy.cut()
        answer = await send(client, siu())
        assert answer.code == "AE"
        with pytest.raises(StoreUnavailable):
            await core.store.ping()
        proxy.is_open = True
        assert (await send(client, siu())).code == "AA"
        assert await core.store.pool.fetchval("SELECT count(*) FROM hl7_journal") == 1
        assert await core.store.pool.fetchval("SELECT count(*) FROM appointment_links") == 1
        assert await core.store.pool.fetchval("SELECT count(*) FROM outbox") == 2


async def test_many_connections_at_once_leave_one_effect_each(migrated_url: str):
    async with listening(migrated_url) as (core, _):
        raws = [siu(placer=f"P{n}", control_id=f"C{n}") for n in range(60)]
        answers = await asyncio.gather(*(core.listener.accept(raw) for raw in raws + raws))
        assert {parse_ack(answer).code for answer in answers} == {"AA"}
        assert await core.store.pool.fetchval("SELECT count(*) FROM appointment_links") == 60
        assert await core.store.pool.fetchval("SELECT count(*) FROM patients") == 1
        topics = await core.store.pool.fetch("SELECT topic, count(*) AS n FROM outbox GROUP BY topic ORDER BY topic")
        assert [tuple(row) for row in topics] == [("appointment.scheduled", 60), ("patient.registered", 1)]


DAY = [
    siu("S12", control_id="C1", made="20261125093000-0500"),
    siu("S13", control_id="C2", made="20261125093001-0500", start="20261202143000-0500", end="20261202150000-0500"),
    siu("S14", control_id="C3", made="20261125093002-0500", status="50^CONFIRMED^99PS", start="20261202143000-0500",
        end="20261202150000-0500"),
    siu("S15", control_id="C4", made="20261125093003-0500", status="80^CANCELLED^99PS", start="20261202143000-0500",
        end="20261202150000-0500"),
]  # fmt: skip
"""A booking, its move, its confirmation, its cancellation."""


async def test_every_input_twice_and_again_after_a_restart_has_one_effect(migrated_url: str):
    """R4. What a message did stands in the link's history, by the journal's id of the message."""

    async def effects(core: bootstrap.Core) -> tuple[list[str], list[int], list[str]]:
        history = await core.store.pool.fetch("SELECT message FROM link_history ORDER BY id")
        events = await core.store.pool.fetch("SELECT revision FROM outbox WHERE topic LIKE 'appointment.%' ORDER BY id")
        deliveries = await core.store.pool.fetch("SELECT kind FROM deliveries ORDER BY sequence")
        return [row[0] for row in history], [row[0] for row in events], [row[0] for row in deliveries]

    once = (
        ["SIU^S12", "SIU^S13", "SIU^S14", "SIU^S15"],
        [1, 2, 3, 4],
        ["patient.upsert", *["appointment.upsert"] * 4],
    )
    async with listening(migrated_url) as (core, client):
        for raw in DAY:
            assert [(await send(client, raw)).code for _ in range(2)] == ["AA", "AA"]
        assert await effects(core) == once
    async with listening(migrated_url) as (core, client):
        for raw in [*DAY, *reversed(DAY)]:
            assert (await send(client, raw)).code == "AA"
        assert await effects(core) == once
        other = siu("S14", control_id="C4", made="20261125093004-0500", status="85^NO SHOW^99PS")
        assert (await send(client, other)).code == "AA"
        assert core.metrics.value("hl7_repeats_total", kind="other-content") == 1
        assert len((await effects(core))[0]) == 5
        repeats = await core.store.pool.fetch("SELECT repeats FROM hl7_journal WHERE control_id <> 'C4'")
        assert {row["repeats"] for row in repeats} == {3}
