"""What goes over the wire to the suite: exact segments, order, and the same control id until acknowledged."""

import asyncio
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from hl7v2 import Message
from powerserver_sim.settings import reservations

SCH = (
    "SCH|P100008^RAMSOFT|A100008^RAMSOFT|||||CT-HEAD^CT Head^99STUDYTYPE||30|min^minutes^ISO+|"
    "^^30^20261201143000-0500^20261201150000-0500||||||||||||||30^SCHEDULED^99PS"
)
PID = (
    "PID|1|4711^^^NORTHSIDE|4711^^^NORTHSIDE||Roe^Jane^A||19800229|F|||12 Elm St^^Toronto^ON^M5V1A1^CA||"
    "(416)555-0100^PRN^PH^jane.roe@example.org|||||ACC4711"
)
PV1 = "PV1|1|O|RADIOLOGY^CT1^^FAC01|||||1001^Miller^Ann|||||||||||V100008"


def segments_of(message: Message) -> list[str]:
    return message.to_bytes().decode().rstrip("\r").split("\r")


async def test_a_booking_is_an_s12_byte_for_byte(bench) -> None:
    await bench.book()
    await bench.partner.has(1)
    header, *rest = segments_of(bench.partner.received[0])
    fields = header.split("|")
    assert fields[:6] == ["MSH", "^~\\&", "RAMSOFT", "FAC01", "SUITE", "NORTHSIDE"]
    assert fields[6].endswith("-0500")
    assert fields[7:] == ["", "SIU^S12", "PS0000000001", "P", "2.3.1", "", "", "", "", "", "UNICODE UTF-8"]
    assert rest == [
        SCH,
        PID,
        PV1,
        "RGS|1|A",
        "AIS|1|A|CT-HEAD^CT Head^99STUDYTYPE|20261201143000-0500|||30|min",
        "AIG|1|A|BLUME CT^BLUME CT|CT",
        "AIL|1|A|RADIOLOGY^CT1^^FAC01",
    ]


async def test_profile_both_sends_orm_beside_siu(both_bench) -> None:
    await both_bench.book()
    await both_bench.partner.has(2)
    assert [f"{m.type}^{m.trigger}" for m in both_bench.partner.received] == ["SIU^S12", "ORM^O01"]
    lines = segments_of(both_bench.partner.received[1])
    timing = "^^30^20261201143000-0500^20261201150000-0500^ROUTINE"
    assert lines[1:3] == [PID, PV1]
    orc = lines[3].split("|")
    assert orc[:9] == ["ORC", "NW", "P100008^RAMSOFT", "ACC100008^RAMSOFT", "", "SC", "", timing, ""]
    assert orc[10:] == ["", "", "1001^Miller^Ann", "RADIOLOGY^CT1^^FAC01", "", "", "30^SCHEDULED^99PS"]
    assert lines[4] == (
        "OBR|1|P100008^RAMSOFT|ACC100008^RAMSOFT|CT-HEAD^CT Head^99STUDYTYPE|||||||||||||||BLUME CT|||||CT|||" + timing
    )
    assert lines[5] == "ZDS|1.2.826.0.1.3680043.10.1.100008^RAMSOFT^Application^DICOM"


async def test_several_studies_share_the_placer_number_and_follow_each_other(both_bench) -> None:
    await both_bench.book(study_types=["CT-HEAD", "CT-CHEST"])
    await both_bench.partner.has(2)
    siu, orm = both_bench.partner.received
    assert [segment.get("4") for segment in siu.segments("AIS")] == ["20261201143000-0500", "20261201150000-0500"]
    assert siu.get("SCH-9") == "60"
    assert [segment.get("2") for segment in orm.segments("ORC")] == ["P100008", "P100008"]
    assert [segment.get("3") for segment in orm.segments("OBR")] == ["ACC100008", "ACC100008-2"]
    assert [segment.get("1") for segment in orm.segments("ZDS")] == [
        "1.2.826.0.1.3680043.10.1.100008",
        "1.2.826.0.1.3680043.10.1.100008.2",
    ]


async def test_other_zones_write_their_own_offset(bench) -> None:
    await bench.book(resource="LAKE CT", start="2026-07-01T15:00:00Z")
    await bench.partner.has(1)
    assert bench.partner.received[0].get("SCH-11.4") == "20260701080000-0700"


@pytest.mark.parametrize(
    ("action", "event", "control", "status"),
    [
        ("confirmed", "S14", "SC", "50"),
        ("arrived", "S14", "SC", "70"),
        ("cancelled-with-notice", "S15", "CA", "80"),
        ("no-show", "S26", "SC", "85"),
    ],
)
async def test_each_status_change_has_its_event(both_bench, action, event, control, status) -> None:
    placer = await both_bench.book()
    assert (await both_bench.act(placer, action)).json()["changed"] is True
    await both_bench.partner.has(4)
    siu, orm = both_bench.partner.received[2:4]
    assert (siu.trigger, siu.get("SCH-25")) == (event, status)
    assert (orm.get("ORC-1"), orm.get("ORC-16")) == (control, status)


async def test_moving_is_s13_and_repeating_a_status_says_nothing(bench) -> None:
    placer = await bench.book()
    answer = await bench.api.post(f"/api/appointments/{placer}/time", json={"start": "2026-12-01T16:00:00-05:00"})
    assert answer.status_code == 200, answer.text
    await bench.act(placer, "confirmed")
    assert (await bench.act(placer, "confirmed")).json()["changed"] is False
    await bench.partner.has(3)
    assert [m.trigger for m in bench.partner.received] == ["S12", "S13", "S14"]
    assert bench.partner.received[1].get("SCH-11.4") == "20261201160000-0500"


async def test_ae_is_sent_again_with_the_same_bytes_and_holds_back_its_appointment_only(bench) -> None:
    bench.partner.script_of["PS0000000001"] = ["AE", "AE"]
    first = await bench.book()
    await bench.act(first, "confirmed")
    await bench.book(start="2026-12-01T17:00:00-05:00")
    await bench.partner.has(5)
    ids = bench.partner.control_ids
    assert ids.count("PS0000000001") == 3
    assert ids.index("PS0000000002") > max(index for index, value in enumerate(ids) if value == "PS0000000001")
    attempts = {m.to_bytes() for m in bench.partner.received if m.control_id == "PS0000000001"}
    assert len(attempts) == 1
    sent = await sent_rows(bench, 5)
    assert [row["detail"]["ack_code"] for row in sent if row["subject"] == "PS0000000001"] == ["AE", "AE", "AA"]
    assert [row["detail"]["repeat"] for row in sent if row["subject"] == "PS0000000001"] == [False, True, True]


async def sent_rows(bench, count):
    """Marks are written after the partner has its message."""
    async with asyncio.timeout(60):
        while len(rows := await bench.ledger("hl7.sent")) < count:
            await asyncio.sleep(0.01)
    return rows


async def test_silence_is_followed_by_the_same_message(bench) -> None:
    bench.partner.script = [None]
    await bench.book()
    await bench.partner.has(2)
    assert bench.partner.control_ids == ["PS0000000001", "PS0000000001"]


async def test_ar_settles_the_message_and_the_next_goes_on(bench) -> None:
    bench.partner.script = ["AR"]
    placer = await bench.book()
    await bench.act(placer, "confirmed")
    await bench.partner.has(2)
    sent = await sent_rows(bench, 2)
    assert [row["detail"]["ack_code"] for row in sent] == ["AR", "AA"]
    assert bench.partner.control_ids == ["PS0000000001", "PS0000000002"]


async def test_patients_are_told_of_where_the_site_says_so(both_bench) -> None:
    given = {"family": "Doe", "given": "Sam", "birth_date": "1990-01-02", "sex": "M", "email": "sam@example.org"}
    answer = await both_bench.api.post("/api/patients", json=given)
    assert answer.json() == {"id": "5001", "issuer": "NORTHSIDE"}
    await both_bench.partner.has(1)
    message = both_bench.partner.received[0]
    assert (message.type, message.trigger, message.get("PID-3.4"), message.get("PID-13.4")) == (
        "ADT", "A04", "NORTHSIDE", "sam@example.org",
    )  # fmt: skip


async def test_a_merge_of_two_records_is_an_a40_and_moves_the_orders(both_bench) -> None:
    given = {"family": "Doe", "given": "Sam", "birth_date": "1990-01-02", "sex": "M"}
    kept = (await both_bench.api.post("/api/patients", json=given)).json()["id"]
    ended = (await both_bench.api.post("/api/patients", json=given)).json()["id"]
    answer = await both_bench.api.post("/api/patients/merge", json={"id": kept, "ended_id": ended})
    assert answer.json() == {"id": kept, "issuer": "NORTHSIDE"}
    await both_bench.partner.has(3)
    message = next(one for one in both_bench.partner.received if one.trigger == "A40")
    assert segments_of(message)[2].startswith(f"PID|1|{kept}^^^NORTHSIDE|{kept}^^^NORTHSIDE|")
    assert segments_of(message)[3] == f"MRG|{ended}^^^NORTHSIDE"
    again = await both_bench.api.post("/api/patients/merge", json={"id": kept, "ended_id": ended})
    assert again.status_code == 404
    itself = await both_bench.api.post("/api/patients/merge", json={"id": kept, "ended_id": kept})
    assert itself.status_code in {400, 422}


async def test_messages_that_waited_for_the_partner_go_out_in_the_order_of_the_changes(bench) -> None:
    bench.partner.script = [None] * 2
    first, second = await bench.book(), await bench.book(start="2026-12-01T17:00:00-05:00")
    for placer in (second, first, second):
        await bench.act(placer, "arrived" if placer == first else "confirmed")
    await bench.act(second, "no-show")
    await bench.partner.has(7)
    assert bench.partner.control_ids[2:] == [f"PS{number:010d}" for number in range(1, 6)]


async def test_two_messages_of_one_appointment_are_swapped_on_request(bench) -> None:
    bench.partner.script = [None]
    placer = await bench.book()
    await bench.partner.has(1)  # it stays without an answer, so that it waits when the next one comes
    await bench.act(placer, "confirmed")
    await bench.api.post("/control/misbehave", json={"target": "mllp-out", "mode": "reorder", "count": 1})
    await bench.partner.has(3)
    assert bench.partner.control_ids == ["PS0000000001", "PS0000000002", "PS0000000001"]


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("duplicate", ["PS0000000001", "PS0000000001", "PS0000000002"]),
        ("drop", ["PS0000000002"]),
        ("cut", ["PS0000000001", "PS0000000001", "PS0000000002"]),
    ],
)
async def test_sending_misbehaves_on_request(bench, mode, expected) -> None:
    await bench.api.post("/control/misbehave", json={"target": "mllp-out", "mode": mode, "count": 1})
    placer = await bench.book()
    await bench.act(placer, "confirmed")
    await bench.partner.has(len(expected))
    assert bench.partner.control_ids == expected
    assert (await bench.api.get("/control/misbehave")).json() == {"faults": []}


async def test_a_reservation_is_announced_as_a_blocked_time_and_its_end_as_an_opened_one(bench) -> None:
    store = bench.simulator.services.store
    day = (datetime.now(ZoneInfo("America/Toronto")) + timedelta(days=3)).date().isoformat()
    form = {"repeats": "once", "first_day": day, "opens": "12:00", "closes": "13:00", "purpose": "Service"}
    await store.write(lambda work: reservations.reserve(work, "FAC01", 1, form))
    await bench.partner.has(1)
    blocked = bench.partner.received[0]
    at = day.replace("-", "")
    assert (blocked.trigger, blocked.get("SCH-1.1"), blocked.get("SCH-25.1")) == ("S23", f"R1-{at}", "BLOCKED")
    assert (blocked.get("SCH-11.4") or "")[:12] == f"{at}1200"
    assert (blocked.get("SCH-11.5") or "")[:12] == f"{at}1300"
    assert (blocked.get("AIG-3.1"), blocked.get("PID-3.1")) == ("BLUME CT", None)
    await store.write(lambda work: reservations.release(work, "FAC01", 1, 1))
    await bench.partner.has(2)
    assert (bench.partner.received[1].trigger, bench.partner.received[1].get("SCH-1.1")) == ("S24", f"R1-{at}")


async def test_a_reservation_of_every_day_is_announced_four_weeks_ahead(bench) -> None:
    form = {"repeats": "daily", "first_day": "2026-01-01", "opens": "00:00", "closes": "23:59", "purpose": "Closed"}
    await bench.simulator.services.store.write(lambda work: reservations.reserve(work, "FAC01", 1, form))
    await bench.partner.has(28)
    assert len({one.get("SCH-1.1") for one in bench.partner.received}) == 28
