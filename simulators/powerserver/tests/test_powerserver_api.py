"""The JSON API: guards, facility rights, free slots, speed of booking, and what survives a restart."""

import asyncio
import sqlite3
import time

import httpx
import pytest

from powerserver_sim.app import running


async def test_a_booking_answers_with_its_numbers(bench) -> None:
    answer = await bench.try_to_book(resource="BLUME CT", start="2026-12-01T19:30:00Z")
    assert answer.json() == {
        "appointment_id": "A100008",
        "placer_number": "P100008",
        "accession": "ACC100008",
        "start": "2026-12-01T14:30:00-05:00",
        "end": "2026-12-01T15:00:00-05:00",
    }
    [row] = await bench.ledger("appointment.booked")
    assert row["subject"] == "P100008"
    assert row["detail"] == {
        "appointment_id": "A100008", "patient_id": "4711", "resource": "BLUME CT", "start": "2026-12-01T14:30:00-05:00",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "status", "reason"),
    [
        ({"resource": "BLUME MR"}, 422, "modality"),
        ({"resource": "blume ct"}, 404, "unknown"),
        ({"start": "2026-12-01T07:45:00-05:00"}, 422, "hours"),
        ({"start": "2026-12-01T22:45:00-05:00"}, 422, "hours"),
        ({"start": "2026-12-01T14:30:00"}, 422, "invalid"),
        ({"study_types": []}, 422, "invalid"),
        ({"study_types": ["NOPE"]}, 404, "unknown"),
        ({"patient": {"id": "1"}}, 404, "unknown"),
        ({"patient": {"family": "Doe", "given": "", "birth_date": "1990-01-01", "sex": "F"}}, 422, "invalid"),
        ({"referring": "9"}, 404, "unknown"),
    ],
)
async def test_guards_refuse_with_their_reason(bench, change, status, reason) -> None:
    body = {"resource": "BLUME CT", "start": "2026-12-01T14:30:00-05:00", **change}
    answer = await bench.try_to_book(**body)
    assert (answer.status_code, answer.json()["error"]["reason"]) == (status, reason)
    assert await bench.ledger() == []


async def test_a_study_under_15_minutes_takes_15(bench) -> None:
    answer = await bench.try_to_book(resource="BLUME XR", start="2026-12-01T09:00:00-05:00", study_types=["XR-CHEST"])
    assert answer.json()["end"] == "2026-12-01T09:15:00-05:00"


async def test_a_study_without_modality_takes_the_resources(bench) -> None:
    placer = await bench.book(resource="BLUME MR", study_types=["GENERAL"])
    shown = (await bench.api.get(f"/api/appointments/{placer}")).json()
    assert shown["studies"][0]["modality"] == "MR"
    assert shown["end"] == "2026-12-01T15:15:00-05:00"


async def test_overlap_is_refused_until_overbooking_or_cancellation(bench) -> None:
    first = await bench.book()
    later = {"resource": "BLUME CT", "start": "2026-12-01T14:45:00-05:00"}
    assert (await bench.try_to_book(**later)).json()["error"]["reason"] == "overlap"
    await bench.book(start="2026-12-01T15:00:00-05:00")
    await bench.simulator.services.store.write(lambda work: work.run("UPDATE resource SET overbooking = 1"))
    assert (await bench.try_to_book(**later)).status_code == 201
    await bench.simulator.services.store.write(lambda work: work.run("UPDATE resource SET overbooking = 0"))
    await bench.act(first, "cancelled-with-notice")
    assert (await bench.try_to_book(resource="BLUME CT", start="2026-12-01T14:15:00-05:00")).status_code == 201


async def test_only_an_order_below_scheduled_is_put_on_the_calendar_and_its_modality_must_match(bench) -> None:
    body = {"resource": "BLUME MR", "start": "2026-12-01T10:00:00-05:00"}
    wrong = await bench.api.post("/api/appointments/P100001/time", json=body)
    assert wrong.json()["error"]["reason"] == "modality"
    right = await bench.api.post("/api/appointments/P100001/time", json={**body, "resource": "BLUME CT"})
    assert right.status_code == 200, right.text
    shown = (await bench.api.get("/api/appointments/P100001")).json()
    assert (shown["status"], shown["status_value"]) == ("SCHEDULED", 30)
    await bench.act("P100001", "no-show")
    closed = await bench.api.post("/api/appointments/P100001/time", json={**body, "resource": "BLUME CT"})
    assert closed.json()["error"]["reason"] == "closed"


async def test_login_is_needed_and_a_facility_restricts(bench) -> None:
    placer = await bench.book(resource="LAKE CT", start="2026-12-01T12:00:00-08:00")
    async with bench.browser() as client:
        assert (await client.get(f"/api/appointments/{placer}")).status_code == 401
        for password in ("wrong", ""):
            assert (await client.get(f"/api/appointments/{placer}", auth=("admin", password))).status_code == 401
        client.auth = httpx.BasicAuth("frontdesk", "development")
        assert (await client.get(f"/api/appointments/{placer}")).status_code == 403
        assert (await client.get("/api/free-slots?facility=FAC02")).status_code == 403
        assert (await client.post(f"/api/appointments/{placer}/status", json={"action": "arrived"})).status_code == 403
        body = {
            "patient": {"id": "4711"},
            "resource": "LAKE CT",
            "start": "2026-12-02T12:00:00-08:00",
            "study_types": ["CT-HEAD"],
        }
        assert (await client.post("/api/appointments", json=body)).status_code == 403
        assert (await client.post("/api/appointments", json={**body, "resource": "BLUME CT"})).status_code == 201
    assert await bench.status(placer) == 30


async def test_free_slots_are_all_bookable_and_quickly(bench) -> None:
    await bench.book(start="2026-12-01T08:15:00-05:00")
    answer = await bench.api.get(
        "/api/free-slots", params={"facility": "FAC01", "count": 400, "from": "2026-12-01T00:00:00-05:00"}
    )
    slots = answer.json()["slots"]
    assert len(slots) == 400
    assert {slot["facility"] for slot in slots} == {"FAC01"}
    everywhere = (await bench.api.get("/api/free-slots?count=300&from=2026-12-01T00:00:00-05:00")).json()["slots"]
    assert {slot["facility"] for slot in everywhere} == {"FAC01", "FAC02"}
    assert "GHOST CT" not in {slot["resource"] for slot in slots}
    assert next(slot["start"] for slot in slots if slot["resource"] == "BLUME CT") == "2026-12-01T08:45:00-05:00"

    began = time.monotonic()
    waiting = asyncio.Semaphore(16)

    async def take(slot: dict[str, str]) -> int:
        async with waiting:
            answer = await bench.try_to_book(
                resource=slot["resource"], start=slot["start"], study_types=[slot["study_type"]]
            )
            return answer.status_code

    assert set(await asyncio.gather(*map(take, slots))) == {201}
    print(f"booked {len(slots) / (time.monotonic() - began):.0f} a second")
    again = await bench.api.get("/api/free-slots", params={"facility": "FAC01", "count": 1, "from": slots[0]["start"]})
    assert again.json()["slots"][0]["start"] > slots[-10]["start"]


async def test_an_api_booking_may_bring_a_new_patient(bench) -> None:
    patient = {
        "family": "Doe", "given": "Sam", "birth_date": "1990-01-02", "sex": "O", "email": "sam@example.org",
        "address": {"line": "1 Way", "city": "Toronto", "state": "ON", "postal_code": "M1M1M1", "country": "CA"},
    }  # fmt: skip
    await bench.book(patient=patient)
    await bench.partner.has(1)
    assert bench.partner.received[0].get("PID-3") == "5001"
    assert bench.partner.received[0].get("PID-11.1") == "1 Way"


async def test_ledger_pages_by_seq_and_keeps_what_it_has(bench, settings) -> None:
    for hour in (9, 10, 11):
        await bench.book(start=f"2026-12-01T{hour:02d}:00:00-05:00")
    page = (await bench.api.get("/ledger?after=0&limit=2")).json()
    assert [row["seq"] for row in page["rows"]] == [1, 2]
    assert page["last"] >= 3
    assert page["rows"][0]["at"].endswith("Z")
    connection = sqlite3.connect(settings.data_dir / "powerserver.sqlite3")
    with pytest.raises(sqlite3.IntegrityError):
        connection.execute("DELETE FROM ledger")
    connection.close()


async def test_everything_survives_a_restart_and_unsent_messages_go_out_then(settings, partner) -> None:
    partner.script = ["AE"] * 10_000
    async with running(settings) as simulator:
        transport = httpx.ASGITransport(app=simulator.app)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://powerserver", auth=("admin", "development")
        ) as api:
            body = {
                "patient": {"id": "4711"},
                "resource": "BLUME CT",
                "start": "2026-12-01T14:30:00-05:00",
                "study_types": ["CT-HEAD"],
            }
            assert (await api.post("/api/appointments", json=body)).status_code == 201
            await partner.has(1)
    partner.script = []
    partner.received.clear()
    async with running(settings) as simulator:
        await partner.has(1)
        assert partner.control_ids[0] == "PS0000000001"
        rows = await simulator.services.store.read(lambda work: work.all("SELECT * FROM patient"))
        assert len(rows) == 6
