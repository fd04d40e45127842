"""The scheduling API call by call: what is offered can be booked, what is refused says why and what is free."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import pytest
from scheduling_stand import (
    DAY,
    TOKEN,
    TORONTO,
    Stand,
    at,
    booked_by_staff,
    instant_of,
    named,
    offers,
    reasons,
    reference,
    standing,
    wanted,
)

from chassis.store import Transaction
from chassis.timers import Timer
from scheduler_sync.claims_upkeep import ClaimsUpkeep
from scheduler_sync.scheduling.holds import release_hold

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]


@pytest.fixture
async def stand(migrated_url: str, tmp_path: Path) -> AsyncIterator[Stand]:
    async with standing(migrated_url, tmp_path) as opened:
        yield opened


async def found(stand: Stand, first: datetime, last: datetime, **more: Any) -> list[datetime]:
    status, body = await stand.call("$find", start=instant_of(first), end=instant_of(last), **more)
    assert status == 200, body
    assert body["total"] == len(body["entry"]) or "_count" in more
    return [datetime.fromisoformat(one["resource"]["start"]).astimezone(UTC) for one in body["entry"]]


CT = {"service": {"valueString": "HealthcareService/hs-1"}}


async def test_find_offers_the_free_times_of_a_service(stand: Stand):
    await stand.sync.hear(booked_by_staff(1, at(9)))
    assert await found(stand, at(8), at(10, 30), **CT) == [
        at(8), at(8, 15), at(8, 30), at(9, 30), at(9, 45), at(10),
    ]  # fmt: skip


async def test_find_counts_all_and_shows_as_many_as_asked(stand: Stand):
    status, body = await stand.call(
        "$find", start=instant_of(at(8)), end=instant_of(at(12)), _count={"valueInteger": 3}, **CT
    )
    assert (status, body["total"], len(body["entry"])) == (200, 15, 3)
    entry = body["entry"][0]["resource"]
    assert entry["status"] == "proposed"
    assert entry["start"] == at(8).astimezone(TORONTO).isoformat()


async def test_find_over_all_services_leaves_out_what_patients_may_not_book(stand: Stand):
    status, body = await stand.call("$find", start=instant_of(at(8)), end=instant_of(at(8, 30)))
    names = [one["resource"]["participant"][0]["actor"]["display"] for one in body["entry"]]
    assert (status, names) == (200, ["BLUME CT", "BLUME MR"])  # LAKE CT: FAC02 has no rules, so nothing is allowed


async def test_the_longer_a_study_the_fewer_the_times(stand: Stand):
    assert len(await found(stand, at(8), at(10), minutes={"valueInteger": 90}, **CT)) == 3
    assert len(await found(stand, at(8), at(10), minutes={"valueInteger": 5}, **CT)) == 8  # 15 minutes at least


async def test_a_held_time_is_offered_to_nobody_and_can_be_booked(stand: Stand):
    status, body = await stand.call("$hold", appt__resource=wanted(at(9)), patient=named(1))
    assert status == 200
    hold, outcome = (one["resource"] for one in body["entry"])
    assert hold["status"] == "pending"
    until = datetime.fromisoformat(hold["extension"][0]["valueInstant"])
    assert timedelta(minutes=9) < until - datetime.now(UTC) <= timedelta(minutes=10)
    assert hold["extension"][0]["valueInstant"] in outcome["issue"][0]["details"]["text"]
    assert at(9) not in await found(stand, at(8), at(11), **CT)
    status, booked = await stand.call("$book", appt__reference=reference("Appointment", hold["id"]))
    assert (status, booked["status"]) == (200, "proposed")
    kinds = [row["kind"] for row in await stand.sync.rows("SELECT kind FROM claims WHERE NOT released")]
    assert kinds == ["request"]
    again = await stand.call("$book", appt__reference=reference("Appointment", hold["id"]))
    assert again == (200, booked)


async def test_a_booking_goes_the_way_of_blumes(stand: Stand):
    status, booked = await stand.book(at(9), patient=2)
    assert status == 200
    link = await stand.sync.row("SELECT * FROM appointment_links")
    assert (link["state"], link["step"], str(link["id"])) == ("patient-booked", "requested", booked["id"])
    assert [topic for topic, _ in await stand.sync.events()] == ["appointment.requested"]
    kinds = {(one.destination, one.kind) for one in await stand.sync.deliveries()}
    assert kinds == {("powerserver", "request.new"), ("omegaai", "appointment.upsert")}
    assert (await stand.client.get(f"/fhir/Appointment/{booked['id']}")).json() == booked


async def test_the_same_key_books_once(stand: Stand):
    first = await stand.book(at(9), key="a-form")
    assert await stand.book(at(9), key="a-form") == first
    status, body = await stand.book(at(10), key="a-form")
    assert (status, reasons(body)) == (409, ["Idempotency-Key: the key was used for another request"])
    assert len(await stand.sync.rows("SELECT * FROM appointment_links")) == 1


async def test_the_same_key_holds_once(stand: Stand):
    call = {"appt__resource": wanted(at(9))}
    first = await stand.call("$hold", key="k", **call)
    assert await stand.call("$hold", key="k", **call) == first
    status, _ = await stand.call("$hold", key="k", appt__resource=wanted(at(10)))
    assert status == 409
    assert len(await stand.sync.rows("SELECT * FROM claims")) == 1


async def test_a_taken_time_is_refused_with_what_is_free(stand: Stand):
    await stand.book(at(9))
    status, body = await stand.book(at(9), patient=1)
    assert (status, len(reasons(body))) == (409, 1)
    assert "taken" in reasons(body)[0]
    assert len(offers(body)) >= 3
    assert offers(body)[:2] == [at(8, 30), at(9, 30)]
    for start in offers(body)[:2]:
        status, body = await stand.book(start, patient=1, key=str(start))
        assert status == 200, body


async def test_every_reason_is_named_at_once(stand: Stand):
    stand.sync.resources.fill([])
    await stand.sync.hear()
    status, body = await stand.book(at(9))
    assert (status, body["issue"][0]["code"]) == (404, "not-found")


@pytest.mark.parametrize(
    ("start", "service", "words"),
    [
        (at(7), "hs-1", ["the resource is not open"]),
        (at(19, 45), "hs-1", ["the resource is not open"]),
        (at(9, 5), "hs-1", ["does not begin on the facility's 15 minutes"]),
        (at(9) - timedelta(days=15), "hs-1", ["or is past"]),
        (at(9) + timedelta(days=100), "hs-1", ["60 days ahead"]),
        (at(3, 5) - timedelta(days=20), "hs-1", ["or is past", "does not begin on"]),
        (at(13), "hs-3", ["may not book by themselves", "modality are not open"]),
    ],
)
async def test_a_rule_is_named(stand: Stand, start: datetime, service: str, words: list[str]):
    status, body = await stand.book(start, service=service)
    assert status == 422
    assert len(reasons(body)) == len(words)
    for one, text in zip(words, reasons(body), strict=True):
        assert one in text
    assert await stand.sync.rows("SELECT * FROM appointment_links") == []


async def test_a_closed_date_is_not_offered(stand: Stand):
    await stand.sync.store.pool.execute("SELECT 1")
    rules = stand.sync.site.file.self_scheduling["FAC01"]
    assert rules.closed
    object.__setattr__(rules, "closed", frozenset({DAY}))
    assert await found(stand, at(8), at(20), **CT) == []
    status, _ = await stand.book(at(9))
    assert status == 422


async def test_moving_asks_staff_and_holds_both_times(stand: Stand):
    await stand.sync.hear(booked_by_staff(1, at(9)))
    link = await stand.sync.row("SELECT id FROM appointment_links")
    status, body = await stand.call(f"{link['id']}/$reschedule", start=instant_of(at(11)))
    assert (status, body["status"], body["start"]) == (200, "proposed", at(9).astimezone(TORONTO).isoformat())
    assert body["requestedPeriod"][0]["start"] == at(11).astimezone(TORONTO).isoformat()
    claims = await stand.sync.rows("SELECT kind, lower(during) AS start FROM claims WHERE NOT released ORDER BY 2")
    assert [(row["kind"], row["start"]) for row in claims] == [("fact", at(9)), ("request", at(11))]
    assert {one.kind for one in await stand.sync.deliveries() if one.destination == "powerserver"} == {"request.move"}
    assert await stand.call(f"{link['id']}/$reschedule", start=instant_of(at(11))) == (status, body)


async def test_a_move_into_the_own_time_is_found_held_and_taken(stand: Stand):
    await stand.sync.hear(booked_by_staff(1, at(9)))
    link = await stand.sync.row("SELECT id FROM appointment_links")
    own = {"ignore__appointment": reference("Appointment", str(link["id"]))}
    assert at(9, 15) in await found(stand, at(8), at(11), **CT, **{"ignore-appointment": own["ignore__appointment"]})
    status, body = await stand.call("$hold", appt__resource=wanted(at(9, 15)), **own)
    assert status == 200, body
    hold = body["entry"][0]["resource"]["id"]
    status, body = await stand.call(f"{link['id']}/$reschedule", hold=reference("Appointment", hold))
    assert status == 200, body
    claims = await stand.sync.rows("SELECT kind FROM claims WHERE NOT released ORDER BY kind")
    assert [row["kind"] for row in claims] == ["fact", "request"]


async def test_a_move_to_a_taken_time_is_refused_and_nothing_changes(stand: Stand):
    await stand.sync.hear(booked_by_staff(1, at(9)), booked_by_staff(2, at(11)))
    link = await stand.sync.row("SELECT id FROM appointment_links WHERE placer_number = 'P1'")
    before = await stand.sync.rows("SELECT * FROM appointment_links")
    status, body = await stand.call(f"{link['id']}/$reschedule", start=instant_of(at(11)))
    assert status == 409
    assert len(offers(body)) >= 3
    assert await stand.sync.rows("SELECT * FROM appointment_links") == before


async def test_cancelling_releases_and_tells_both(stand: Stand):
    _, booked = await stand.book(at(9))
    status, body = await stand.call(f"{booked['id']}/$cancel", reason={"valueString": "I am travelling"})
    assert (status, body["status"], body["cancelationReason"]["text"]) == (200, "cancelled", "I am travelling")
    assert await stand.sync.rows("SELECT * FROM claims WHERE NOT released") == []
    assert await stand.call(f"{booked['id']}/$cancel", reason={"valueString": "again"}) == (status, body)
    assert (await stand.call(f"{booked['id']}/$cancel"))[0] == 400


async def test_search_needs_patient_and_date(stand: Stand):
    _, booked = await stand.book(at(9), patient=1)
    patient = named(1)["valueReference"]["reference"]
    search = stand.client.get
    day = DAY.isoformat()
    answer = (await search("/fhir/Appointment", params={"patient": patient, "date": f"ge{day}"})).json()
    assert [one["resource"] for one in answer["entry"]] == [booked]
    other = await search("/fhir/Appointment", params={"patient": named(2)["valueReference"]["reference"], "date": day})
    assert other.json()["total"] == 0
    for lacking in ({"patient": patient}, {"date": day}, {}):
        assert (await search("/fhir/Appointment", params=lacking)).status_code == 400
    posted = await stand.client.post(
        "/fhir/Appointment/_search", data={"patient": patient, "date": f"ge{day}"},
        headers={"content-type": "application/x-www-form-urlencoded"},
    )  # fmt: skip
    assert posted.json() == answer


async def test_an_expired_hold_is_offered_again_and_swept(stand: Stand):
    status, body = await stand.call("$hold", appt__resource=wanted(at(9)))
    hold = body["entry"][0]["resource"]["id"]
    await stand.sync.store.pool.execute("UPDATE claims SET expires_at = now() - interval '1 second'")
    assert at(9) in await found(stand, at(8), at(11), **CT)
    status, _ = await stand.book(at(9))  # sweeps in its own transaction
    assert status == 200
    status, body = await stand.call("$book", appt__reference=reference("Appointment", hold), patient=named(1))
    assert status == 409
    await ClaimsUpkeep(stand.sync.store, stand.sync.open_work).turn()
    assert await stand.sync.rows("SELECT * FROM claims WHERE NOT released AND kind = 'hold'") == []


async def test_the_timer_of_a_hold_releases_only_what_is_over(stand: Stand):
    _, body = await stand.call("$hold", appt__resource=wanted(at(9)))
    hold = body["entry"][0]["resource"]["id"]
    timer_row = await stand.sync.row("SELECT * FROM timers WHERE kind = 'hold.expired'")
    assert str(timer_row["key"]) == hold

    async def fires() -> None:
        async with stand.sync.store.pool.acquire() as connection, connection.transaction():
            transaction = Transaction(connection)
            work = stand.sync.open_work(transaction)
            timer = Timer("hold.expired", timer_row["key"], "-", 1, datetime.now(UTC), {}, 1, None)
            await release_hold(timer, work=work)
            await transaction.flush()

    await fires()
    assert len(await stand.sync.rows("SELECT * FROM claims WHERE NOT released")) == 1
    await stand.sync.store.pool.execute("UPDATE claims SET expires_at = now() - interval '1 second'")
    await fires()
    assert await stand.sync.rows("SELECT * FROM claims WHERE NOT released") == []
    assert await stand.sync.events() == []


async def test_a_booked_hold_is_not_released_by_its_timer(stand: Stand):
    _, body = await stand.call("$hold", appt__resource=wanted(at(9)), patient=named(0))
    await stand.call("$book", appt__reference=reference("Appointment", body["entry"][0]["resource"]["id"]))
    assert await stand.sync.rows("SELECT * FROM timers WHERE state = 'waiting' AND kind = 'hold.expired'") == []
    assert len(await stand.sync.rows("SELECT * FROM claims WHERE NOT released AND kind = 'request'")) == 1


async def test_a_patient_is_known_by_number_and_issuer(stand: Stand):
    by_number = {"valueIdentifier": {"system": "http://northside.example/patient-id", "value": "N3"}}
    status, body = await stand.call("$book", appt__resource=wanted(at(9)), patient=by_number)
    assert status == 200
    assert body["participant"][0]["actor"]["reference"] == named(3)["valueReference"]["reference"]
    other = {"valueIdentifier": {"system": "http://elsewhere.example", "value": "N3"}}
    status, body = await stand.call("$book", appt__resource=wanted(at(11)), patient=other)
    assert (status, body["issue"][0]["code"]) == (404, "not-found")


async def test_the_radius_keeps_far_patients_out(stand: Stand):
    near = {"latitude": {"valueDecimal": 43.7}, "longitude": {"valueDecimal": -79.4}}
    far = {"latitude": {"valueDecimal": 45.5}, "longitude": {"valueDecimal": -73.6}}
    assert await found(stand, at(8), at(9), **CT, **near)
    status, body = await stand.call("$find", start=instant_of(at(8)), end=instant_of(at(9)), **CT, **far)
    assert (status, reasons(body)) == (422, ["position: the facility takes patients from its surroundings alone"])
    assert await found(stand, at(8), at(9), **far) == []


async def test_nobody_without_a_token_is_served(stand: Stand):
    for headers in ({"authorization": ""}, {"authorization": "Bearer wrong"}, {"authorization": f"Basic {TOKEN}"}):
        answer = await stand.client.post("/fhir/Appointment/$find", headers=headers)
        assert answer.status_code == 401


async def test_a_hold_is_its_callers_alone(stand: Stand):
    _, body = await stand.call("$hold", appt__resource=wanted(at(9)), patient=named(0))
    hold = body["entry"][0]["resource"]["id"]
    await stand.sync.store.pool.execute("UPDATE held_slots SET client = 'another'")
    assert (await stand.client.get(f"/fhir/Appointment/{hold}")).status_code == 404
    assert (await stand.call("$book", appt__reference=reference("Appointment", hold)))[0] == 404


PARAMETERS = b'{"resourceType":"Parameters","parameter":[%b]}'
NO_DAY = PARAMETERS % b'{"name":"start","valueDateTime":"2026-02-30T10:00:00Z"}'
NUL = PARAMETERS % b'{"name":"reason","valueString":"\\u0000"}'
NO_YEAR = PARAMETERS % (
    b'{"name":"appt-resource","resource":{"resourceType":"Appointment","start":"9999-12-31T23:59:59-05:00",'
    b'"participant":[{"actor":{"reference":"HealthcareService/hs-1"}}]}}'
)


BODIES: Final = (
    b"", b"{", b"[]", b"null", b'"x"', b'{"resourceType":"Bundle"}', b'{"resourceType":"Parameters","parameter":3}',
    b'{"resourceType":"Parameters","parameter":[3]}', b'{"resourceType":"Parameters","parameter":[{"name":3}]}',
    b"\xff\xfe", b"[" * 100_000, b"{" + b'"a":1,' * 20_000 + b'"b":1}', NO_DAY, NO_YEAR, NUL,
)  # fmt: skip
OPERATIONS: Final = ("$find", "$hold", "$book", f"{uuid4()}/$cancel", f"{uuid4()}/$reschedule")


async def test_a_body_that_is_not_clear_is_refused(stand: Stand):
    for operation in OPERATIONS:
        for body in BODIES:
            answer = await stand.client.post(f"/fhir/Appointment/{operation}", content=body)
            assert (answer.status_code, answer.json()["resourceType"]) == (400, "OperationOutcome"), (operation, body)


@pytest.mark.parametrize("operation", ["$hold", "$book"])
async def test_a_new_appointment_without_a_study_is_refused(stand: Stand, operation: str):
    status, body = await stand.call(operation, appt__resource=wanted(at(9), serviceType=[]), patient=named(0))
    assert (status, reasons(body)) == (400, ["appt-resource.serviceType: names a study type"])
    assert await stand.sync.rows("SELECT 1 FROM claims WHERE NOT released") == []


async def release(stand: Stand, hold_id: str) -> tuple[int, dict[str, Any]]:
    return await stand.call(f"{hold_id}/$release")


async def test_a_hold_that_is_given_back_is_free_at_once(stand: Stand):
    _, body = await stand.call("$hold", appt__resource=wanted(at(9)), patient=named(1))
    hold = body["entry"][0]["resource"]["id"]
    assert at(9) not in await found(stand, at(9), at(9, 30), **CT)
    status, released = await release(stand, hold)
    assert (status, released["status"]) == (200, "cancelled")
    assert await found(stand, at(9), at(9, 30), **CT) == [at(9)]
    assert (await release(stand, hold))[0] == 200, "a repeat has no other effect"
    timers = await stand.sync.rows("SELECT 1 FROM timers WHERE state = 'pending'")
    assert timers == []
    audit = await stand.sync.rows("SELECT action FROM operator_audit WHERE action = 'scheduling.release'")
    assert len(audit) == 2


async def test_a_booked_hold_and_a_foreign_one_are_not_given_back(stand: Stand):
    _, body = await stand.call("$hold", appt__resource=wanted(at(9)), patient=named(1))
    hold = body["entry"][0]["resource"]["id"]
    await stand.call("$book", appt__reference=reference("Appointment", hold))
    status, answer = await release(stand, hold)
    assert (status, reasons(answer)) == (409, ["id: the hold was booked: cancel the appointment"])
    kinds = [row["kind"] for row in await stand.sync.rows("SELECT kind FROM claims WHERE NOT released")]
    assert kinds == ["request"]
    assert (await release(stand, str(uuid4())))[0] == 404


async def test_every_unclear_parameter_is_named_at_once(stand: Stand):
    bad = {"start": {"valueDateTime": "tomorrow"}, "minutes": {"valueInteger": 0}, "latitude": {"valueDecimal": 5}}
    status, answer = await stand.call("$find", **bad)
    assert status == 400
    assert [one.split(":")[0] for one in reasons(answer)] == ["start", "end", "minutes", "latitude"]


async def test_an_unknown_patient_and_a_taken_time_are_named_together(stand: Stand):
    assert (await stand.book(at(9)))[0] == 200
    status, answer = await stand.book(at(9), patient=999, serviceType=[])
    words = " ".join(reasons(answer))
    assert status == 400
    assert all(one in words for one in ("no such patient", "names a study type", "the time is taken"))
