"""HL7 in over real MLLP: acknowledged after the commit, refused with the reason, repeated without a second effect."""

import asyncio
import gc
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid5

import pytest
import structlog
from chassis_bench_domain import SPACE, Desk, applied, siu

from chassis.errors import Malformed, NeedsSetup, Permanent, Transient
from chassis.hl7 import Hl7Listener, InboundHl7, list_journal, replay_message
from chassis.hl7 import inbound as hl7_inbound
from chassis.hl7.journal import LARGE_BYTES
from chassis.messaging import PROCESSED, ReplayOutcome
from chassis.observe import Metrics
from chassis.testing import eventually
from hl7v2 import Ack, parse_ack
from hl7v2.mllp import Client, Event, Peer, frame

pytestmark = pytest.mark.stack


@dataclass
class Bench:
    store: Any
    listener: Hl7Listener
    desk: Desk
    metrics: Metrics

    async def send(self, message: bytes, control_id: str) -> Ack:
        client = Client("127.0.0.1", self.listener.port)
        try:
            return await client.send(message, control_id=control_id)
        finally:
            await client.close()

    async def effects(self) -> dict[UUID, list[int]]:
        return await applied(self.store)

    async def journal(self) -> list[tuple[str, str | None, str | None]]:
        rows = await self.store.pool.fetch("SELECT state, reason, setting FROM hl7_journal ORDER BY received_at")
        return [tuple(row) for row in rows]


@pytest.fixture
async def bench(store) -> AsyncIterator[Bench]:
    desk, metrics = Desk(), Metrics()
    listener = Hl7Listener(
        store, host="127.0.0.1", port=0, open_work=desk.open_work, prefetch=desk.prefetch, handle=desk.handle,
        metrics=metrics,
    )  # fmt: skip
    running = asyncio.create_task(listener.run())

    async def listens() -> bool:
        return listener.port != 0

    await eventually(listens, what="a listening port")
    yield Bench(store, listener, desk, metrics)
    await listener.stop()
    await asyncio.wait_for(running, 60)


async def test_aa_means_committed_and_a_repeat_has_no_second_effect(bench) -> None:
    for _ in range(3):
        ack = await bench.send(siu("C1", "P1"), "C1")
        assert (ack.code, ack.control_id) == ("AA", "C1")
    assert await bench.effects() == {uuid5(SPACE, "P1"): [1]}
    assert await bench.store.pool.fetchval("SELECT repeats FROM hl7_journal") == 2
    assert bench.metrics.value("hl7_repeats_total", kind="same-content") == 2


async def test_the_same_control_id_with_other_content_is_processed_and_counted(bench) -> None:
    await bench.send(siu("C1", "P1"), "C1")
    assert (await bench.send(siu("C1", "P1", "other"), "C1")).code == "AA"
    assert await bench.effects() == {uuid5(SPACE, "P1"): [1, 2]}
    assert bench.metrics.value("hl7_repeats_total", kind="other-content") == 1


async def test_malformed_gets_ar_with_err_and_a_line_in_the_journal(bench) -> None:
    broken = b"MSH|^~\\&|RAMSOFT|FAC01|SUITE|N|20261125||SIU^S12||P|2.3.1\r"
    client = Client("127.0.0.1", bench.listener.port)
    reader, writer = await asyncio.open_connection("127.0.0.1", bench.listener.port)
    writer.write(frame(broken) + frame(b"hello") + frame(siu("C2", "P2")))
    async with asyncio.timeout(60):
        answers = [await reader.readuntil(b"\x1c\r") for _ in range(3)]
    writer.close()
    await client.close()
    acks = [parse_ack(answer.strip(b"\x0b\x1c\r")) for answer in answers]
    assert [ack.code for ack in acks] == ["AR", "AR", "AA"]
    assert acks[0].errors[0].location.startswith("MSH")
    assert [state for state, _, _ in await bench.journal()] == ["rejected", "rejected", "accepted"]

    bench.desk.raises["P3"] = Malformed("is missing", location="PID-3", code="101")
    ack = await bench.send(siu("C3", "P3"), "C3")
    assert (ack.code, ack.errors[0].code) == ("AR", "101")
    assert ack.errors[0].location.startswith("PID")
    assert uuid5(SPACE, "P3") not in await bench.effects()


async def test_needs_setup_gets_ae_is_kept_and_goes_through_after_the_fix(bench) -> None:
    bench.desk.raises["P1"] = NeedsSetup("facility FAC09 is not mapped", setting="facilities.FAC09")
    ack = await bench.send(siu("C1", "P1"), "C1")
    assert ack.code == "AE"
    assert "facilities.FAC09" in (ack.text or "")
    assert await bench.journal() == [("needs_setup", "facility FAC09 is not mapped", "facilities.FAC09")]
    assert await bench.effects() == {}
    (waiting,) = await list_journal(bench.store, states=["needs_setup"], limit=10)
    again = await replay_message(bench.store, bench.listener.executor, waiting.id, actor="tester")
    assert again.outcome is ReplayOutcome.FAILED
    bench.desk.raises.clear()
    assert await replay_message(bench.store, bench.listener.executor, waiting.id, actor="tester") == PROCESSED
    assert await bench.effects() == {uuid5(SPACE, "P1"): [1]}
    with pytest.raises(KeyError):
        await replay_message(bench.store, bench.listener.executor, waiting.id, actor="tester")
    assert (await bench.send(siu("C1", "P1"), "C1")).code == "AA", "the sender's own repeat comes too late"
    assert await bench.effects() == {uuid5(SPACE, "P1"): [1]}


async def test_a_sender_that_repeats_after_the_fix_needs_no_operator(bench) -> None:
    bench.desk.raises["P1"] = NeedsSetup("told so", setting="x")
    assert (await bench.send(siu("C1", "P1"), "C1")).code == "AE"
    bench.desk.raises.clear()
    assert (await bench.send(siu("C1", "P1"), "C1")).code == "AA"
    assert await bench.effects() == {uuid5(SPACE, "P1"): [1]}


@pytest.mark.parametrize(
    ("error", "code", "states"),
    [
        (Transient("not now"), "AE", []),
        (Permanent("another patient's"), "AR", ["failed"]),
        (ZeroDivisionError("Roe^Jane"), "AE", ["failed"]),
    ],
)
async def test_other_failures(bench, error, code, states) -> None:
    bench.desk.raises["P1"] = error
    ack = await bench.send(siu("C1", "P1"), "C1")
    assert ack.code == code
    assert "Roe" not in (ack.text or "")
    assert [state for state, _, _ in await bench.journal()] == states
    assert await bench.effects() == {}


async def test_with_the_store_away_the_answer_is_ae_and_nothing_is_kept(bench) -> None:
    url = bench.store.pool
    bench.listener.executor._store = type("Gone", (), {"pool": _Gone()})()
    assert (await bench.send(siu("C1", "P1"), "C1")).code == "AE"
    bench.listener.executor._store = bench.store
    assert url is bench.store.pool
    assert await bench.journal() == []
    assert (await bench.send(siu("C1", "P1"), "C1")).code == "AA"
    assert await bench.effects() == {uuid5(SPACE, "P1"): [1]}


class _Gone:
    def acquire(self) -> Any:
        raise ConnectionRefusedError


async def test_a_hundred_messages_in_one_write_are_each_answered_in_order(bench) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", bench.listener.port)
    writer.write(b"".join(frame(siu(f"C{n}", f"P{n % 7}")) for n in range(100)))
    async with asyncio.timeout(60):
        answers = [parse_ack((await reader.readuntil(b"\x1c\r")).strip(b"\x0b\x1c\r")) for _ in range(100)]
    writer.close()
    assert [ack.control_id for ack in answers] == [f"C{n}" for n in range(100)]
    assert {ack.code for ack in answers} == {"AA"}
    assert sorted(len(revisions) for revisions in (await bench.effects()).values()) == [14, 14, 14, 14, 14, 15, 15]


async def test_many_connections_share_commits_and_copies_have_one_effect(bench) -> None:
    async def one(number: int) -> str:
        return (await bench.send(siu(f"C{number % 30}", f"P{number % 30}"), f"C{number % 30}")).code

    assert set(await asyncio.gather(*(one(number) for number in range(60)))) == {"AA"}
    assert await bench.effects() == {uuid5(SPACE, f"P{n}"): [1] for n in range(30)}


# ---- large messages and refusals -----------------------------------------------------------------------------------


def large_siu(control_id: str, placer: str, size: int) -> bytes:
    return siu(control_id, placer) + b"ZDS|1|" + b"\xc3\xa9\\X0D\\AB" * (size // 9) + b"\r"


@pytest.mark.parametrize("size", [LARGE_BYTES - 5000, LARGE_BYTES + 1, 7_000_001])
async def test_a_large_message_is_kept_to_the_byte_and_a_repeat_has_no_second_effect(bench, size: int) -> None:
    raw = large_siu("C1", "P1", size)
    for _ in range(2):
        assert (await bench.send(raw, "C1")).code == "AA"
    assert await bench.effects() == {uuid5(SPACE, "P1"): [1]}
    row = await bench.store.pool.fetchrow("SELECT raw, state, repeats FROM hl7_journal")
    assert (bytes(row["raw"]) == raw, row["state"], row["repeats"]) == (True, "accepted", 1)
    assert await bench.store.pool.fetchval("SELECT count(*) FROM pg_largeobject_metadata") == 0


async def test_a_large_message_that_is_refused_is_kept_to_the_byte(bench) -> None:
    raw = large_siu("C1", "P1", 3_000_000).replace(b"|C1|", b"||")
    reader, writer = await asyncio.open_connection("127.0.0.1", bench.listener.port)
    for _ in range(2):
        writer.write(frame(raw))
        async with asyncio.timeout(60):
            answer = parse_ack((await reader.readuntil(b"\x1c\r")).strip(b"\x0b\x1c\r"))
        assert answer.code == "AR"
    writer.close()
    row = await bench.store.pool.fetchrow("SELECT raw, state, repeats FROM hl7_journal")
    assert (bytes(row["raw"]) == raw, row["state"], row["repeats"]) == (True, "rejected", 1)


async def test_a_large_message_that_waits_for_a_setting_goes_through_after_the_fix(bench) -> None:
    raw = large_siu("C1", "P1", 3_000_000)
    bench.desk.raises["P1"] = NeedsSetup("told so", setting="x")
    assert (await bench.send(raw, "C1")).code == "AE"
    bench.desk.raises.clear()
    journal_id = await bench.store.pool.fetchval("SELECT id FROM hl7_journal")
    assert await replay_message(bench.store, bench.listener.executor, journal_id, actor="tester") == PROCESSED
    assert await bench.effects() == {uuid5(SPACE, "P1"): [1]}
    assert bytes(await bench.store.pool.fetchval("SELECT raw FROM hl7_journal")) == raw


async def test_a_group_is_bounded_by_its_bytes(bench, monkeypatch) -> None:
    sizes: list[int] = []
    run = bench.listener.executor.run

    async def measured(items: Any) -> Any:
        sizes.append(sum(len(item.raw) for item in items))
        await asyncio.sleep(0.05)
        return await run(items)

    monkeypatch.setattr(bench.listener.executor, "run", measured)
    monkeypatch.setattr(hl7_inbound, "LARGEST_BATCH_BYTES", 300_000)
    raws = [large_siu(f"C{number}", f"P{number}", 100_000) for number in range(20)]
    acks = await asyncio.gather(*(bench.send(raw, f"C{number}") for number, raw in enumerate(raws)))
    assert {ack.code for ack in acks} == {"AA"}
    assert 100_000 < max(sizes) <= 300_000


async def test_a_committed_message_is_let_go_at_once(bench) -> None:
    assert (await bench.send(siu("LET-GO", "P1"), "LET-GO")).code == "AA"
    gc.collect()
    held = [one for one in gc.get_objects() if isinstance(one, InboundHl7) and one.control_id == "LET-GO"]
    assert held == []


async def test_a_run_of_digits_after_an_escape_holds_nobody_up(bench) -> None:
    raw = siu("C1", "P1") + b"NTE|1||\\X" + b"00" * 500_000 + b"\r"
    sending = asyncio.create_task(bench.send(raw, "C1"))
    async with asyncio.timeout(60):
        assert (await bench.send(siu("C2", "P2"), "C2")).code == "AA"
    assert (await sending).code == "AA"


async def test_what_the_server_refuses_is_counted_and_logged_once_a_second(bench) -> None:
    peer = Peer("10.0.0.1", 4711, 1)
    with structlog.testing.capture_logs() as logs:
        for name in ("busy", "frame-too-large", "connection-refused", "frame-too-slow", "connected"):
            for _ in range(5):
                bench.listener._refuse(Event(name, peer, size=7))
    for reason in ("busy", "too-large", "connection", "too-slow"):
        assert bench.metrics.value("mllp_refused_total", reason=reason) == 5
    assert bench.metrics.value("hl7_received_total", code="AE") == 5
    assert bench.metrics.value("hl7_received_total", code="AR") == 5
    assert [line["why"] for line in logs] == ["busy", "too-large", "connection", "too-slow"]


@pytest.mark.parametrize(
    "make",
    [
        lambda long: siu(long, "P1"),
        lambda long: siu("C1", "P1").replace(b"SIU^S12", b"SIU^" + long.encode()),
        lambda long: siu("C1", "P1").replace(b"RAMSOFT", long.encode()),
        lambda long: siu("C1", "P1").replace(b"|P|2.3.1", b"|P|2.3." + long.encode()),
    ],
    ids=["MSH-10", "MSH-9", "MSH-3", "MSH-12"],
)
@pytest.mark.parametrize("length", [1000, 60_000, 1_000_000])
async def test_no_answer_and_no_row_repeats_a_megabyte(bench, make: Any, length: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", bench.listener.port, limit=2**22)
    writer.write(frame(make("7" * length)))
    async with asyncio.timeout(60):
        answer = await reader.readuntil(b"\x1c\r")
    writer.close()
    assert len(answer) < 2000
    rows = await bench.store.pool.fetch("SELECT sender, control_id, type, reason, setting FROM hl7_journal")
    assert all(len(str(value)) <= 500 for row in rows for value in row.values())
