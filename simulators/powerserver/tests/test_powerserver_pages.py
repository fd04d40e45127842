"""Pages without a browser: login, what a facility hides, settings that change what is sent, and that all render."""

import pytest
from powerserver_pages import logged_in, text_of
from powerserver_requests import PLACER, asked

from powerserver_sim.users.pages import seen_by

DAY = "2026-12-01"


async def test_pages_ask_for_a_login_and_come_back_after_it(bench) -> None:
    async with bench.browser() as client:
        answer = await client.get(f"/scheduler?day={DAY}")
        assert answer.headers["location"] == f"/login?next=/scheduler%3Fday%3D{DAY}"
        refused = await client.post("/login", data={"name": "admin", "password": "wrong"})
        assert refused.status_code == 401
        assert "User name or password is wrong" in refused.text
        for target, place in (("/patients", "/patients"), ("//evil.example", "/"), ("https://evil.example", "/")):
            answer = await client.post(f"/login?next={target}", data={"name": "admin", "password": "development"})
            assert answer.headers["location"] == place
        assert (await client.get("/patients")).status_code == 200
        await client.post("/logout")
        assert (await client.get("/patients")).status_code == 303


async def test_every_page_renders_with_its_headers(bench) -> None:
    placer = await bench.book()
    await bench.act(placer, "confirmed")
    await bench.partner.has(2)
    async with logged_in(bench, "admin") as client:
        for path in (
            "/", f"/scheduler?facility=FAC01&day={DAY}", "/scheduler", "/scheduler?facility=FAC02&modality=MR",
            "/orders/new", "/orders/new?resource=BLUME%20CT&start=2026-12-01T10:00:00-05:00&fragment=1",
            "/patients", "/patients?q=roe", "/patients?q=nobody%25", "/patients/new", "/patients/1",
            f"/appointments/{placer}", "/appointments/P100001", "/messages", "/messages?direction=in",
            "/messages?state=acked&placer=P1", "/messages/out/1", "/settings/facilities", "/settings/facilities/FAC01",
            "/settings/facilities/FAC01/resources/new", "/settings/facilities/FAC01/resources/1", "/settings/statuses",
            "/settings/priorities", "/settings/hl7", "/settings/users", "/worklist", "/worklist?status=20", "/portal",
            f"/waiting-room?day={DAY}", "/waiting-room", "/portal/launcher",
        ):  # fmt: skip
            page = await client.get(path)
            assert page.status_code == 200, path
            assert "<script>" not in page.text
            assert " style=" not in page.text
            assert "'unsafe" not in page.headers["content-security-policy"]
            assert page.headers["cache-control"] == "no-store"
        for path in (
            "/patients/99",
            "/appointments/P1",
            "/appointments/zzz",
            "/messages/in/9",
            "/scheduler?facility=NO",
        ):
            assert (await client.get(path)).status_code == 404, path
        assert (await client.get("/scheduler?day=tomorrow")).status_code == 422


async def test_the_calendar_shows_blocks_slots_and_the_worklist(bench) -> None:
    placer = await bench.book(start=f"{DAY}T10:30:00-05:00")
    async with logged_in(bench, "admin") as client:
        page = await text_of(client, f"/scheduler?facility=FAC01&day={DAY}")
    for hook in (
        f'data-testid="appointment-{placer}"', 'data-testid="slot-BLUME-CT-08:00"', 'data-testid="slot-BLUME-XR-22:45"',
        'aria-label="BLUME CT, 10:30, taken"', 'aria-label="BLUME CT, 11:00, free"', 'data-testid="worklist-P100001"',
    ):  # fmt: skip
        assert hook in page, hook
    assert 'data-testid="slot-BLUME-CT-23:00"' not in page
    assert "row-10 rows-2 lane-1 is-scheduled" in page


async def test_frontdesk_sees_and_changes_its_own_facility_only(bench) -> None:
    placer = await bench.book(resource="LAKE CT", start=f"{DAY}T12:00:00-08:00")
    async with logged_in(bench, "frontdesk") as client:
        assert "FAC02" not in await text_of(client, "/scheduler")
        assert "Lakeshore" not in await text_of(client, "/")
        for path in ("/scheduler?facility=FAC02", f"/appointments/{placer}", "/settings/facilities/FAC02"):
            assert (await client.get(path)).status_code == 403, path
        assert (await client.post(f"/appointments/{placer}/status", data={"action": "confirmed"})).status_code == 403
        assert (await client.post("/settings/hl7", data={"profile": "orm"})).status_code == 403
        assert (await client.post("/settings/statuses", data={"value": "50", "name": "X"})).status_code == 403
    assert await bench.status(placer) == 30


async def test_the_new_order_form_books_orders_and_refuses(bench) -> None:
    async with logged_in(bench, "frontdesk") as client:
        form = {
            "patient_mode": "known", "patient": "1", "study_type": ["CT-HEAD", "CT-CHEST"], "resource": "BLUME CT",
            "date": DAY, "time": "10:30", "referring": "1002", "priority": "10",
        }  # fmt: skip
        booked = await client.post("/orders", data=form)
        assert booked.headers["location"] == "/appointments/P100008"
        again = await client.post("/orders", data=form)
        assert again.status_code == 409
        assert "taken" in again.text
        ordered = await client.post("/orders", data={**form, "resource": "", "facility": "FAC01"})
        assert ordered.headers["location"] == "/appointments/P100009"
        elsewhere = await client.post("/orders", data={**form, "resource": "", "facility": "FAC02"})
        assert elsewhere.status_code == 403
        new = {
            **form, "patient_mode": "new", "family": "Doe", "given": "Sam", "birth_date": "1990-01-02", "sex": "M",
            "time": "13:00",
        }  # fmt: skip
        assert (await client.post("/orders", data=new)).headers["location"] == "/appointments/P100010"
        assert "Doe, Sam" in await text_of(client, "/appointments/P100010")
    assert await bench.status("P100009") == 20
    await bench.partner.has(2)


async def test_forms_from_another_site_are_refused(bench) -> None:
    placer = await bench.book()
    async with logged_in(bench, "admin") as client:
        answer = await client.post(
            f"/appointments/{placer}/status", data={"action": "confirmed"}, headers={"sec-fetch-site": "cross-site"}
        )
        assert answer.status_code == 403
    assert await bench.status(placer) == 30


async def test_patients_are_added_found_and_changed(bench) -> None:
    given = {"family": "Žižek", "given": "Ana", "birth_date": "1970-05-05", "sex": "F", "email": "ana@example.org"}
    async with logged_in(bench, "frontdesk") as client:
        added = await client.post("/patients/new", data=given)
        page = added.headers["location"]
        assert "Žižek, Ana" in await text_of(client, "/patients?q=ana@ex")
        assert "Žižek, Ana" not in await text_of(client, "/patients?q=roe")
        bad = await client.post("/patients/new", data={**given, "email": "nonsense"})
        assert (bad.status_code, "E-mail is not an address" in bad.text) == (422, True)
        taken = await client.post("/patients/new", data={**given, "patient_id": "4711"})
        assert taken.status_code == 409
        changed = await client.post(page, data={**given, "phone": "(416)555-0199"})
        assert changed.headers["location"] == f"{page}?saved=1"
        assert "(416)555-0199" in await text_of(client, page)


async def test_a_renamed_status_and_the_profile_show_in_the_next_message(bench) -> None:
    placer = await bench.book()
    async with logged_in(bench, "admin") as client:
        await client.post("/settings/statuses", data={"value": "50", "name": "PATIENT SAID YES"})
        await client.post("/settings/hl7", data={"profile": "orm"})
        await bench.act(placer, "confirmed")
        await bench.partner.has(2)
        message = bench.partner.received[1]
        # The partner has heard of it by SIU only: as an order it is new.
        assert (message.type, message.get("ORC-1"), message.get("ORC-16.2")) == ("ORM", "NW", "PATIENT SAID YES")
        assert "PATIENT SAID YES" in await text_of(client, f"/scheduler?day={DAY}")
        twice = await client.post("/settings/statuses", data={"value": "70", "name": "PATIENT SAID YES"})
        assert twice.status_code == 409


async def test_resources_are_edited_and_new_ones_are_on_the_scheduler_after_refresh_data(bench) -> None:
    form = {
        "name": "BLUME PT", "modality": "PT", "department": "RADIOLOGY", "room": "CT1", "opens": "09:00",
        "closes": "17:30", "default_minutes": "60",
    }  # fmt: skip
    async with logged_in(bench, "admin") as client:
        new = "/settings/facilities/FAC01/resources/new"
        assert (await client.post(new, data=form)).status_code == 303
        page = await text_of(client, f"/scheduler?facility=FAC01&day={DAY}")
        assert "BLUME PT is new. Refresh Data puts it on the scheduler." in page
        assert 'data-testid="resource-BLUME-PT"' not in page
        assert "BLUME PT" not in await text_of(client, "/orders/new")
        assert (await client.post("/scheduler/refresh")).status_code == 303
        assert "BLUME PT" in await text_of(client, "/orders/new")
        page = await text_of(client, f"/scheduler?facility=FAC01&day={DAY}")
        assert 'data-testid="slot-BLUME-PT-17:15"' in page
        assert 'data-testid="slot-BLUME-PT-17:30"' not in page
        assert (await client.post(new, data=form)).status_code == 409
        assert (await client.post(new, data={**form, "name": "X", "closes": "08:00"})).status_code == 422
        edit = "/settings/facilities/FAC01/resources/1"
        assert (
            await client.post(edit, data={**form, "name": "BLUME CT", "modality": "CT", "overbooking": "on"})
        ).is_redirect
    assert (await bench.try_to_book(resource="BLUME CT", start=f"{DAY}T08:00:00-05:00")).status_code == 422
    for _ in range(2):
        assert (await bench.try_to_book(resource="BLUME CT", start=f"{DAY}T09:00:00-05:00")).status_code == 201


@pytest.mark.parametrize(("answer", "shown"), [("AE", "retrying"), ("AR", "rejected")])
async def test_the_log_shows_why_a_message_was_refused(bench, answer, shown) -> None:
    bench.partner.script = [answer] * 1000
    await bench.book()
    await bench.partner.has(2 if answer == "AE" else 1)
    async with logged_in(bench, "frontdesk") as client:
        page = ""
        while shown not in page:
            page = await text_of(client, "/messages/out/1")
        assert "unknown resource" in page
        assert "P100008^RAMSOFT" in page
        log = await text_of(client, f"/messages?state={shown}")
        assert 'data-testid="message-PS0000000001"' in log
        retry = await client.post("/messages/out/1/retry")
        assert retry.status_code == (303 if answer == "AE" else 409)


async def test_a_restricted_user_sees_the_messages_about_the_facilitys_requests(bench) -> None:
    await bench.hl7(asked(), "R1")
    await bench.book(resource="LAKE CT", start=f"{DAY}T12:00:00-08:00")
    await bench.partner.has(2)
    async with logged_in(bench, "frontdesk") as client:
        page = await text_of(client, "/messages")
        assert PLACER in page
        assert "P100009" not in page


async def test_notices_reach_open_pages_of_users_who_may_see_them(bench) -> None:
    live, accounts = bench.simulator.services.live, bench.simulator.services.accounts
    frontdesk = await accounts.named("frontdesk")
    stream = live.stream(seen_by(frontdesk))
    assert b"open" in await anext(stream)
    await bench.book(resource="LAKE CT", start=f"{DAY}T12:00:00-08:00")
    await bench.book()
    live.close()
    told = b"".join([piece async for piece in stream])
    assert b'"placer": "P100009", "facility": "FAC01"' in told
    assert b"FAC02" not in told


async def test_one_page_lists_what_it_does_on_command(bench) -> None:
    page = (await bench.api.get("/control")).text
    for words in ("mllp-in", "mllp-out", "status", "accept-then-cut", "late-ack", "no-ack", "reorder"):
        assert f"<code>{words}</code>" in page
