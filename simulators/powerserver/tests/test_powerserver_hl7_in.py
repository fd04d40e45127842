"""What comes from the suite: status changes, repeats, refusals, and that the answer follows the disk."""

import asyncio

import pytest

from hl7v2 import Message
from hl7v2.mllp import AckMismatch, AckTimeout, Client, ConnectionLost
from powerserver_sim.rules import Refused
from powerserver_sim.scheduler import appointments

HEADER = (
    "MSH|^~\\&|{application}|NORTHSIDE|RAMSOFT|FAC01|20261125093000-0500||{type}|{control_id}|P|2.3.1||||||"
    "UNICODE UTF-8"
)


def confirmation(placer: str, control_id: str = "SUITE-1", **more: str) -> bytes:
    given = {"application": "SUITE", "type": "SIU^S14", "status": "50^CONFIRMED^99PS", "start": "", "pid": "", **more}
    lines = [
        HEADER.format(control_id=control_id, **given),
        f"SCH|{placer}^RAMSOFT|A{placer[1:]}^RAMSOFT|||||||||^^30^{given['start']}||||||||||||||{given['status']}",
        f"PID|1||{given['pid'] or '4711^^^NORTHSIDE'}",
    ]
    return "\r".join(lines).encode() + b"\r"


async def test_a_confirmation_sets_the_status_and_is_echoed(bench) -> None:
    placer = await bench.book()
    ack = await bench.hl7(confirmation(placer), "SUITE-1")
    assert (ack.code, ack.control_id) == ("AA", "SUITE-1")
    assert await bench.status(placer) == 50
    await bench.partner.has(2)
    assert (bench.partner.received[1].trigger, bench.partner.received[1].get("SCH-25")) == ("S14", "50")
    [row] = await bench.ledger("appointment.status")
    assert row["subject"] == placer
    assert row["detail"]["by"] == "hl7"
    assert (row["detail"]["from"], row["detail"]["to"]) == ("SCHEDULED", "CONFIRMED")
    assert row["detail"]["control_id"] == "SUITE-1"


async def test_a_repeat_is_acknowledged_again_without_a_second_effect(bench) -> None:
    placer = await bench.book()
    for _ in range(3):
        assert (await bench.hl7(confirmation(placer), "SUITE-1")).code == "AA"
    assert len(await bench.ledger("appointment.status")) == 1
    assert [row["detail"]["repeat"] for row in await bench.ledger("hl7.received")] == [False, True, True]
    assert [row["detail"]["placer_number"] for row in await bench.ledger("hl7.received")] == [placer] * 3


async def test_the_same_control_id_with_other_content_is_another_message(bench) -> None:
    placer = await bench.book()
    await bench.hl7(confirmation(placer), "SUITE-1")
    assert (await bench.hl7(confirmation(placer, status="30^SCHEDULED^99PS"), "SUITE-1")).code == "AA"
    assert await bench.status(placer) == 30
    assert (await bench.ledger("hl7.received"))[1]["detail"]["control_id_used_before"] is True


async def test_after_ae_the_same_message_is_tried_anew(bench) -> None:
    assert (await bench.hl7(confirmation("P100008"), "SUITE-1")).code == "AE"
    placer = await bench.book()
    assert placer == "P100008"
    assert (await bench.hl7(confirmation(placer), "SUITE-1")).code == "AA"
    assert await bench.status(placer) == 50


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"placer": "P999999"}, "AE"),
        ({"placer": "X1"}, "AE"),
        ({"placer": "P100001"}, "AE"),
        ({"placer": ""}, "AR"),
        ({"status": "55^WHATEVER^99PS"}, "AE"),
        ({"status": "^WHATEVER^99PS"}, "AE"),
        ({"status": ""}, "AR"),
        ({"pid": "9999^^^NORTHSIDE"}, "AE"),
        ({"type": "SIU^S17"}, "AR"),
        ({"type": "ADT^A08"}, "AR"),
        ({"application": ""}, "AR"),
        ({"type": "SIU^S13"}, "AR"),
    ],
)
async def test_bad_messages_are_refused_without_an_effect(bench, change, code) -> None:
    placer = await bench.book()
    message = confirmation(change.get("placer", placer), **{k: v for k, v in change.items() if k != "placer"})
    assert (await bench.hl7(message, "SUITE-1")).code == code
    assert await bench.ledger("appointment.status") == []
    assert [row["detail"]["ack_code"] for row in await bench.ledger("hl7.received")] == [code]


async def test_what_is_not_hl7_is_answered_ar(bench) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", bench.simulator.mllp_port)
    writer.write(b"\x0bGET / HTTP/1.1\r\x1c\r")
    answer = Message.parse((await reader.readuntil(b"\x1c\r"))[1:-2])
    assert answer.get("MSA-1") == "AR"
    writer.close()
    await writer.wait_closed()


async def test_a_name_alone_finds_the_status_even_after_renaming(bench) -> None:
    placer = await bench.book()
    await bench.simulator.services.store.write(
        lambda work: work.run("UPDATE status SET name = 'BESTÄTIGT' WHERE value = 50")
    )
    assert (await bench.hl7(confirmation(placer, status="^BESTÄTIGT^99PS"), "SUITE-1")).code == "AA"
    assert await bench.status(placer) == 50
    await bench.partner.has(2)
    assert bench.partner.received[1].get("SCH-25.2") == "BESTÄTIGT"


async def test_a_reschedule_moves_the_appointment_and_goes_back_to_scheduled(bench) -> None:
    placer = await bench.book()
    await bench.act(placer, "confirmed")
    message = confirmation(placer, type="SIU^S13", status="30^SCHEDULED^99PS", start="20261202100000-0500")
    assert (await bench.hl7(message, "SUITE-1")).code == "AA"
    shown = (await bench.api.get(f"/api/appointments/{placer}")).json()
    assert (shown["status_value"], shown["start"]) == (30, "2026-12-02T10:00:00-05:00")
    await bench.partner.has(4)
    assert [m.trigger for m in bench.partner.received] == ["S12", "S14", "S13", "S14"]


async def test_a_reschedule_onto_a_taken_slot_changes_nothing(bench) -> None:
    placer = await bench.book()
    await bench.book(start="2026-12-02T10:00:00-05:00")
    message = confirmation(placer, type="SIU^S13", status="30^SCHEDULED^99PS", start="20261202100000-0500")
    ack = await bench.hl7(message, "SUITE-1")
    assert (ack.code, ack.errors[0].location) == ("AE", "SCH-11")
    assert (await bench.api.get(f"/api/appointments/{placer}")).json()["start"] == "2026-12-01T14:30:00-05:00"


async def test_a_message_that_fails_half_way_leaves_nothing_behind(bench, monkeypatch) -> None:
    placer = await bench.book()

    def refuse(*_: object, **__: object) -> bool:
        raise Refused("status", "not now")

    monkeypatch.setattr(appointments, "set_status", refuse)
    message = confirmation(placer, type="SIU^S13", start="20261202100000-0500")
    assert (await bench.hl7(message, "SUITE-1")).code == "AE"
    assert (await bench.api.get(f"/api/appointments/{placer}")).json()["start"] == "2026-12-01T14:30:00-05:00"
    assert await bench.ledger("appointment.moved") == []


async def test_a_late_confirmation_does_not_reopen_a_cancelled_appointment(bench) -> None:
    placer = await bench.book()
    await bench.act(placer, "cancelled-with-notice")
    assert (await bench.hl7(confirmation(placer), "SUITE-1")).code == "AA"
    assert await bench.status(placer) == 80
    await bench.partner.has(3)
    assert [m.trigger for m in bench.partner.received] == ["S12", "S15", "S15"]


async def test_a_cancellation_brings_its_reason(bench) -> None:
    placer = await bench.book()
    message = confirmation(placer, type="SIU^S15", status="").replace(b"|||||||||^^30^", b"||||^I am ill|||||^^30^")
    assert (await bench.hl7(message, "SUITE-1")).code == "AA"
    [row] = await bench.ledger("appointment.status")
    assert (row["detail"]["to"], row["detail"]["reason"]) == ("CANCELLED", "I am ill")
    await bench.partner.has(2)
    assert bench.partner.received[1].trigger == "S15"


async def test_orm_brings_a_status_too(bench) -> None:
    placer = await bench.book()
    lines = [
        HEADER.format(application="SUITE", type="ORM^O01", control_id="SUITE-2"),
        "PID|1||4711^^^NORTHSIDE",
        f"ORC|SC|{placer}^RAMSOFT|ACC{placer[1:]}^RAMSOFT|||||||||||||50^CONFIRMED^99PS",
    ]
    assert (await bench.hl7("\r".join(lines).encode(), "SUITE-2")).code == "AA"
    assert await bench.status(placer) == 50


async def test_receiving_misbehaves_on_request(bench) -> None:
    placer = await bench.book()

    async def spoiled(mode: str, **more: object) -> None:
        body = {"target": "mllp-in", "mode": mode, "count": 1, **more}
        assert (await bench.api.post("/control/misbehave", json=body)).status_code == 201

    await spoiled("status", status="AR")
    assert (await bench.hl7(confirmation(placer), "SUITE-1")).code == "AR"
    await spoiled("wrong-ack")
    with pytest.raises(AckMismatch):
        await bench.hl7(confirmation(placer), "SUITE-1")
    await spoiled("accept-then-cut")
    with pytest.raises(ConnectionLost):
        await bench.hl7(confirmation(placer), "SUITE-1")
    await spoiled("cut")
    with pytest.raises(ConnectionLost):
        await bench.hl7(confirmation(placer), "SUITE-1")
    await spoiled("no-ack")
    async with Client("127.0.0.1", bench.simulator.mllp_port, ack_timeout_seconds=0.2) as client:
        with pytest.raises(AckTimeout):
            await client.send(confirmation(placer), control_id="SUITE-1")
    assert (await bench.hl7(confirmation(placer), "SUITE-1")).code == "AA"
    assert len(await bench.ledger("appointment.status")) == 1
    assert [row["detail"]["repeat"] for row in await bench.ledger("hl7.received")] == [False, False, True, True, True]


async def test_a_fault_hits_one_message_or_all_until_cleared(bench) -> None:
    placer = await bench.book()
    for count, answers in (({}, ["AE", "AA", "AA"]), ({"count": 2}, ["AE", "AE", "AA"]), ({"count": None}, ["AE"] * 3)):
        await bench.api.post("/control/misbehave", json={"target": "mllp-in", "mode": "status", **count})
        assert [(await bench.hl7(confirmation(placer), "SUITE-1")).code for _ in range(3)] == answers
    assert (await bench.api.delete("/control/misbehave")).status_code == 204
    assert (await bench.hl7(confirmation(placer), "SUITE-1")).code == "AA"


async def test_unknown_faults_are_refused(bench) -> None:
    for body in (
        {"target": "x"},
        {"target": "mllp-in", "mode": "drop"},
        {"target": "mllp-in", "mode": "status", "count": 0},
    ):
        assert (await bench.api.post("/control/misbehave", json=body)).status_code == 422
