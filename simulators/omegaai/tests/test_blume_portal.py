"""Blume as a patient meets it: the account, the lock, the cards, and what may be done with them."""

import asyncio
import json
import re
from datetime import UTC, datetime, timedelta

import time_machine

JANE = "jane.roe@example.org"
PAST = {"start": "2021-12-01T14:30:00-05:00", "end": "2021-12-01T15:00:00-05:00"}


async def test_a_new_email_opens_an_account(omegaai):
    portal = await omegaai.portal()
    assert (await portal.log_in(JANE)).status_code == 401
    await omegaai.create(omegaai.patient(JANE))
    answer = await portal.log_in(" Jane.ROE@example.org ")
    assert (answer.status_code, answer.headers["location"]) == (303, "/blume")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "jane" not in cookie.lower()


async def test_the_email_of_lowest_rank_counts(omegaai):
    telecom = [
        {"system": "email", "value": "work@example.org", "rank": 2},
        {"system": "email", "value": "home@example.org", "rank": 1},
    ]
    await omegaai.create(omegaai.patient(telecom=telecom))
    portal = await omegaai.portal()
    assert (await portal.log_in("work@example.org")).status_code == 401
    assert (await portal.log_in("home@example.org")).status_code == 303


async def test_three_wrong_pins_lock_the_account_for_a_while(omegaai):
    await omegaai.create(omegaai.patient(JANE))
    portal = await omegaai.portal()
    pages = [await portal.log_in(JANE, "000000") for _ in range(3)]
    locked = await portal.log_in(JANE)
    unknown = await portal.log_in("nobody@example.org")
    assert {page.status_code for page in (*pages, locked, unknown)} == {401}
    assert locked.text == pages[0].text  # nobody learns whether an account exists or is locked
    assert unknown.text.replace("nobody@example.org", JANE) == locked.text
    with time_machine.travel(datetime.now(UTC) + timedelta(minutes=6)):
        assert (await portal.log_in(JANE)).status_code == 303


async def test_a_right_pin_forgets_the_wrong_ones(omegaai):
    await omegaai.create(omegaai.patient(JANE))
    portal = await omegaai.portal()
    for _ in range(3):
        await portal.log_in(JANE, "000000")
        await portal.log_in(JANE, "111111")
        assert (await portal.log_in(JANE)).status_code == 303


async def test_parallel_tries_lock_as_well(omegaai):
    await omegaai.create(omegaai.patient(JANE))
    portal = await omegaai.portal()
    await asyncio.gather(*(portal.log_in(JANE, f"{number:06}") for number in range(20)))
    assert (await portal.log_in(JANE)).status_code == 401


LABELS = (
    ("proposed", {}, "Requested", {"cancel"}),
    ("pending", {}, "Pending", {"confirm", "cancel"}),
    ("waitlist", {}, "Pending", {"confirm", "cancel"}),
    ("booked", {}, "Scheduled", {"cancel"}),
    ("arrived", {}, "Scheduled", set()),
    ("checked-in", {}, "Scheduled", set()),
    ("fulfilled", {}, "Completed", set()),
    ("cancelled", {}, "Cancelled", set()),
    ("noshow", {}, "Cancelled", set()),
    ("pending", PAST, "Past", set()),
    ("booked", PAST, "Past", set()),
    ("fulfilled", PAST, "Completed", set()),
    ("cancelled", PAST, "Cancelled", set()),
)


async def test_labels_and_buttons(omegaai):
    wanted = {}
    for status, changes, label, buttons in LABELS:
        stored = await omegaai.book(JANE, status=status, **changes)
        wanted[stored["identifier"][1]["value"]] = (stored["id"], status, label, buttons)
    portal = await omegaai.portal(JANE)
    cards = await portal.cards()
    pages = [(await portal.http.get(f"/blume{query}")).text for query in ("", "?tab=completed")]
    shown = [set(re.findall(r'data-testid="appointment-(P\d+)"', page)) for page in pages]
    assert {cards[placer]["label"] for placer in shown[1]} == {"Completed"}
    assert not shown[0] & shown[1]
    found = [re.split(r'data-testid="appointment-(P\d+)"', page)[1:] for page in pages]
    pieces = ["", *found[0], *found[1]]
    shown = dict(zip(pieces[1::2], pieces[2::2], strict=True))
    assert set(cards) == set(shown) == set(wanted)
    for placer, (identifier, status, label, buttons) in wanted.items():
        card = cards[placer]
        assert (card["id"], card["status"], card["label"]) == (identifier, status, label)
        assert f'data-testid="label">{label}<' in shown[placer]
        assert set(re.findall(r'data-testid="(confirm|cancel)"', shown[placer])) == buttons


async def test_a_card_says_what_where_and_when_in_the_facilitys_zone(omegaai):
    await omegaai.book(
        JANE,
        service="16",
        start="2036-12-01T17:00:00-05:00",
        end="2036-12-01T17:45:00-05:00",
        serviceType=[{"coding": [{"code": "MR-KNEE", "display": "MR Knee"}]}, {"coding": [{"code": "MR-BRAIN"}]}],
    )
    portal = await omegaai.portal(JANE)
    page = (await portal.http.get("/blume")).text
    for words in ("MR Knee and MR-BRAIN", "Lakeshore Imaging", "Monday, December 1, 2036", "2:00 PM – 2:45 PM PST"):
        assert words in page
    assert "America/Vancouver" in page
    assert 'data-testid="appointment-P100045"' in page
    (card,) = (await portal.cards()).values()
    assert card["start"] == "2036-12-01T14:00:00-08:00"


async def test_confirm_books_it_accepts_for_the_patient_and_tells(omegaai):
    stored = await omegaai.book(JANE)
    portal = await omegaai.portal(JANE)
    answer = await portal.act(stored["id"], "confirm", start=stored["start"])
    assert answer.status_code == 303
    page = (await portal.http.get(answer.headers["location"])).text
    assert "Appointment Confirmation" in page
    assert 'data-testid="label">Scheduled<' in page
    after = await omegaai.get(f"Appointment/{stored['id']}")
    assert (after["status"], after["meta"]["versionId"]) == ("booked", "2")
    assert [one["status"] for one in after["participant"]] == ["accepted", "accepted"]
    (row,) = await omegaai.ledger("Appointment.updated")
    assert (row["detail"]["by"], row["detail"]["status"]) == ("blume", "booked")
    again = await portal.act(stored["id"], "confirm")  # pressed twice
    assert again.status_code == 303
    assert len(await omegaai.ledger("Appointment.updated")) == 1


async def test_many_confirms_at_once_have_one_effect(omegaai):
    stored = await omegaai.book(JANE)
    portal = await omegaai.portal(JANE)
    answers = await asyncio.gather(*(portal.act(stored["id"], "confirm") for _ in range(10)))
    assert {answer.status_code for answer in answers} == {303}
    assert len(await omegaai.ledger("Appointment.updated")) == 1


async def test_cancel_needs_a_reason(omegaai):
    stored = await omegaai.book(JANE)
    portal = await omegaai.portal(JANE)
    for reason in ("", "   ", "x" * 201):
        refused = await portal.act(stored["id"], "cancel", reason=reason)
        assert refused.status_code == 422
        assert "reason" in refused.text
    answer = await portal.act(stored["id"], "cancel", reason="I am <b>ill</b>")
    assert answer.status_code == 303
    after = await omegaai.get(f"Appointment/{stored['id']}")
    assert (after["status"], after["cancelationReason"]) == ("cancelled", {"text": "I am <b>ill</b>"})
    assert after["participant"][0]["status"] == "declined"
    page = (await portal.http.get("/blume")).text
    assert "I am &lt;b&gt;ill&lt;/b&gt;" in page
    assert (await portal.act(stored["id"], "confirm")).status_code == 409
    assert (await portal.act(stored["id"], "cancel", reason="again")).status_code == 409


async def test_what_was_moved_meanwhile_is_looked_at_first(omegaai):
    stored = await omegaai.book(JANE)
    portal = await omegaai.portal(JANE)
    moved = {**stored, "start": "2036-12-02T10:00:00-05:00", "end": "2036-12-02T10:30:00-05:00"}
    await omegaai.update(moved, 1)
    refused = await portal.act(stored["id"], "confirm", start=stored["start"])
    assert refused.status_code == 409
    assert "moved" in refused.text
    assert "Tuesday, December 2, 2036" in refused.text
    same = "2036-12-02T15:00:00+00:00"  # the same moment, written otherwise
    assert (await portal.act(stored["id"], "confirm", start=same)).status_code == 303


async def test_only_pending_cards_are_confirmed(omegaai):
    asked = await omegaai.book(JANE, status="proposed")
    over = await omegaai.book(JANE, **PAST)
    portal = await omegaai.portal(JANE)
    for stored in (asked, over):
        assert (await portal.act(stored["id"], "confirm")).status_code == 409
    assert await omegaai.ledger("Appointment.updated") == []


async def test_another_patients_card_does_not_exist(omegaai):
    mine = await omegaai.book(JANE)
    theirs = await omegaai.book("someone.else@example.org")
    portal = await omegaai.portal(JANE)
    assert list(await portal.cards()) == [mine["identifier"][1]["value"]]
    for identifier in (theirs["id"], "424242", "nonsense"):
        for action in ("confirm", "cancel"):
            answer = await portal.act(identifier, action, reason="no")
            assert answer.status_code == 404
            assert theirs["identifier"][1]["value"] not in answer.text
    assert await omegaai.ledger("Appointment.updated") == []


async def test_one_email_may_look_after_several_patients(omegaai):
    for given in ("Jane", "Tom"):
        person = (await omegaai.create(omegaai.patient(JANE, name=[{"family": "Roe", "given": [given]}]))).json()
        await omegaai.create(omegaai.appointment(person["id"], placer=f"P-{given}"))
    portal = await omegaai.portal(JANE)
    assert set(await portal.cards()) == {"P-Jane", "P-Tom"}
    page = (await portal.http.get("/blume")).text
    assert "Jane Roe" in page
    assert "Tom Roe" in page


async def test_a_changed_email_takes_the_cards_along(omegaai):
    stored = await omegaai.book(JANE)
    portal = await omegaai.portal(JANE)
    person = await omegaai.get(stored["participant"][0]["actor"]["reference"])
    await omegaai.update({**person, "telecom": [{"system": "email", "value": "new@example.org"}]}, 1)
    assert await portal.cards() == {}
    assert list(await (await omegaai.portal("new@example.org")).cards()) == ["P100045"]


async def test_a_form_without_the_sessions_token_is_refused(omegaai):
    stored = await omegaai.book(JANE)
    portal, other = await omegaai.portal(JANE), await omegaai.portal(JANE)
    for given in ("", "nonsense", other.csrf, "ä"):
        portal_csrf, portal.csrf = portal.csrf, given
        assert (await portal.act(stored["id"], "confirm")).status_code == 403
        portal.csrf = portal_csrf
    path = f"/blume/appointments/{stored['id']}/confirm"
    elsewhere = {"X-CSRF-Token": portal.csrf, "Sec-Fetch-Site": "cross-site"}
    assert (await portal.http.post(path, headers=elsewhere)).status_code == 403
    assert await omegaai.ledger("Appointment.updated") == []
    assert (await portal.http.post(path, headers={"X-CSRF-Token": portal.csrf})).status_code == 303


async def test_without_a_session_there_is_only_the_login(omegaai):
    stored = await omegaai.book(JANE)
    http = await omegaai.browser()
    for cookie in ("", "nonsense", "bnVsbA.bnVsbA"):
        http.cookies.set("blume_session", cookie)
        for path in ("/blume/api/session", "/blume/api/appointments", "/blume/events"):
            assert (await http.get(path)).status_code == 401
        answer = await http.get("/blume")
        assert (answer.status_code, answer.headers["location"]) == (303, "/blume/login")
        assert (await http.post(f"/blume/appointments/{stored['id']}/confirm")).headers["location"] == "/blume/login"
    assert await omegaai.ledger("Appointment.updated") == []


async def test_logging_out_ends_the_session(omegaai):
    await omegaai.create(omegaai.patient(JANE))
    portal = await omegaai.portal(JANE)
    assert (await portal.http.post("/blume/logout", data={"csrf": portal.csrf})).status_code == 303
    assert (await portal.http.get("/blume/api/session")).status_code == 401


async def test_scripts_get_json_where_forms_get_pages(omegaai):
    stored = await omegaai.book(JANE)
    portal = await omegaai.portal(JANE)
    portal.http.headers["Accept"] = "application/json"
    assert (await portal.act(stored["id"], "cancel")).json() == {"error": "Please give a reason for cancelling."}
    answer = (await portal.act(stored["id"], "confirm")).json()
    assert answer["title"] == "Appointment Confirmation"
    assert answer["appointment"]["label"] == "Scheduled"
    assert (await portal.act("1", "confirm")).status_code == 404


async def test_notifications_follow_the_appointment(omegaai):
    stored = await omegaai.book(JANE)
    moved = {**stored, "start": "2036-12-02T10:00:00-05:00", "end": "2036-12-02T10:30:00-05:00"}
    await omegaai.update(moved, 1)
    await omegaai.update({**moved, "description": "nothing the patient sees"}, 2)
    portal = await omegaai.portal(JANE)
    await portal.act(stored["id"], "confirm")
    booked = await omegaai.get(f"Appointment/{stored['id']}")
    await omegaai.update({**booked, "status": "cancelled", "cancelationReason": {"text": "closed"}}, 4)
    page = (await portal.http.get("/blume")).text
    titles = re.findall(r'class="is-unread">.*?<b>([^<]*)</b>', page)
    assert titles == ["Appointment cancelled", "Appointment Confirmation", "Appointment changed", "Exam scheduled"]
    assert 'data-testid="unread"' in page
    newest = re.search(r'name="up_to" value="(\d+)"', page)
    answer = await portal.http.post("/blume/notifications/read", data={"csrf": portal.csrf, "up_to": newest[1]})
    assert answer.status_code == 303
    page = (await portal.http.get("/blume")).text
    assert 'data-testid="unread"' not in page
    assert "is-unread" not in page


async def test_what_comes_while_reading_stays_unread(omegaai):
    await omegaai.book(JANE)
    portal = await omegaai.portal(JANE)
    newest = re.search(r'name="up_to" value="(\d+)"', (await portal.http.get("/blume")).text)
    await omegaai.book(JANE)
    await portal.http.post("/blume/notifications/read", data={"csrf": portal.csrf, "up_to": newest[1]})
    assert (await portal.http.get("/blume")).text.count("is-unread") == 1


async def _events(http, count):
    found = []
    async with http.stream("GET", "/blume/events", timeout=60) as stream:
        yield None  # open
        async for line in stream.aiter_lines():
            if line.startswith("data: "):
                found.append(json.loads(line[6:]))
            if len(found) == count:
                break
    yield found


async def test_the_page_hears_of_its_own_changes_only(omegaai):
    await omegaai.create(omegaai.patient(JANE))
    portal = await omegaai.portal(JANE)
    events = _events(portal.http, 3)
    await anext(events)
    await omegaai.book("someone.else@example.org")
    stored = await omegaai.book(JANE)
    await omegaai.update({**stored, "status": "booked"}, 1)
    found = await anext(events)
    person = stored["participant"][0]["actor"]["reference"].split("/")[1]
    appointment = {"kind": "Appointment", "id": stored["id"]}
    assert found == [{"kind": "Patient", "id": person}, appointment, appointment]


async def test_headers_keep_the_pages_to_themselves(omegaai):
    await omegaai.create(omegaai.patient(JANE))
    portal = await omegaai.portal(JANE)
    for path in ("/blume", "/blume/login", "/login", "/blume/api/session", "/static/tokens.css"):
        headers = (await portal.http.get(path)).headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Strict-Transport-Security"].startswith("max-age=")
        assert headers["Cache-Control"] == ("no-cache" if path.startswith("/static/") else "no-store")


async def test_pages_hold_nothing_inline(omegaai):
    await omegaai.book(JANE)
    portal = await omegaai.portal(JANE)
    for path in ("/blume", "/blume/login", "/login"):
        page = (await portal.http.get(path)).text
        assert not re.search(r"<style|style=|onclick|<script(?![^>]*src=)", page)
        assert not re.search(r'(src|href)="(https?:)?//', page)
