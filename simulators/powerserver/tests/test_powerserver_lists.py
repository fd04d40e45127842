"""The worklist by status, the waiting room, and the home page with its pins and notifications."""

from powerserver_pages import logged_in, text_of
from powerserver_requests import asked, confirmed

DAY = "2026-12-01"


async def test_the_worklist_groups_by_status_with_ordered_on_top(bench) -> None:
    first = await bench.book()
    await bench.act(first, "confirmed")
    await bench.book(resource="LAKE CT", start=f"{DAY}T12:00:00-08:00")
    async with logged_in(bench, "admin") as client:
        page = await text_of(client, "/worklist")
        order = [page.index(f'data-testid="group-{value}"') for value in (20, 30, 50)]
        assert order == sorted(order)
        for column in ("Access", "Insurance Status", "Date/Time", "Authorization #", "Accession #"):
            assert f">{column}</th>" in page
        assert f'data-testid="study-{first}"' not in await text_of(client, "/worklist?modality=MR")
        assert 'data-testid="group-20"' not in await text_of(client, "/worklist?status=50")
        assert (await client.get("/worklist?status=x")).status_code == 422
    async with logged_in(bench, "frontdesk") as client:
        page = await text_of(client, "/worklist")
        assert ("FAC01" in page, "FAC02" in page) == (True, False)
        assert (await client.get("/worklist?facility=FAC02")).status_code == 403


async def test_the_new_orders_insurance_is_on_the_worklist(bench) -> None:
    form = {"patient": "1", "study_type": "CT-HEAD", "facility": "FAC01", "authorization": "AU-77"}
    async with logged_in(bench, "frontdesk") as client:
        for bad in ({"insurance_status": "Perhaps"}, {"authorization": "x" * 41}):
            assert (await client.post("/orders", data={**form, **bad})).status_code == 422
        assert (await client.post("/orders", data={**form, "insurance_status": "Verified"})).status_code == 303
        page = await text_of(client, "/worklist?status=20")
        assert "<td>Verified</td>" in page
        assert "<td>AU-77</td>" in page
        assert "Verified · authorization AU-77" in await text_of(client, "/appointments/P100008")


async def test_the_waiting_room_leads_from_step_to_step(bench) -> None:
    placer = await bench.book()
    address = f"/waiting-room?facility=FAC01&day={DAY}"
    async with logged_in(bench, "technologist") as client:
        for stage, action in (("expected", "arrived"), ("arrived", "ready-for-scan"), ("ready-for-scan", "completed")):
            page = await text_of(client, address)
            at, here = page.index(f'data-testid="stage-{stage}"'), page.index(f'data-testid="{action}-{placer}"')
            assert at < here
            form = {"action": action, "next": address}
            answer = await client.post(f"/appointments/{placer}/status", data=form)
            assert answer.headers["location"] == address
        assert f"waiting-{placer}" not in await text_of(client, address)
        elsewhere = {"action": "arrived", "next": "//evil.example"}
        other = await bench.book(start=f"{DAY}T16:00:00-05:00")
        answer = await client.post(f"/appointments/{other}/status", data=elsewhere)
        assert answer.headers["location"] == "/"
        assert (await client.get("/waiting-room?facility=FAC02")).status_code == 403
        assert (await client.get("/waiting-room?day=soon")).status_code == 422
    await bench.partner.has(6)
    assert [message.get("SCH-25") for message in bench.partner.received] == ["30", "70", "90", "120", "30", "70"]


async def test_home_tells_what_patients_did_and_keeps_what_is_pinned(bench) -> None:
    placer = await confirmed(bench)
    await bench.hl7(asked("SIU^S13", "R2", placer=placer, start="20261202110000-0500"), "R2")
    await bench.hl7(asked(start="20261201110000-0500"), "R1")
    elsewhere = asked(
        number="R3", placer="B9", patient="4715", resource="LAKE CT", study="CT-CHEST", start="20261201120000-0800"
    )
    assert (await bench.hl7(elsewhere, "R3")).code == "AA"
    async with logged_in(bench, "frontdesk") as client:
        page = await text_of(client, "/")
        assert "Garcia" not in page
        assert "Roe, Jane asks for another time" in page
        assert "Roe, Jane asks for an appointment" in page
        assert "Roe, Jane is SCHEDULED, was CONFIRMED" in page
        assert page.count('class="unread"') == 3
        assert "2 requests of patients wait for an answer" in page
        await client.post("/home/notifications/read")
        assert 'class="unread"' not in await text_of(client, "/")

        [first, *_] = await bench.ledger("request.received")
        assert (await client.post("/home/pins", data={"kind": "notification", "key": first["seq"]})).status_code == 303
        assert (await client.post("/home/pins", data={"kind": "module", "key": "messages"})).status_code == 303
        page = await text_of(client, "/")
        assert page.index(f"notification-{first['seq']}") < page.index("asks for an appointment")
        assert page.count(f'data-testid="notification-{first["seq"]}"') == 1
        tiles = page[page.index('data-testid="modules"') :]
        assert tiles.index('data-testid="messages"') < tiles.index('data-testid="scheduler"')
        await client.post("/home/pins", data={"kind": "module", "key": "messages"})
        tiles = (await text_of(client, "/")).partition('data-testid="modules"')[2]
        assert tiles.index('data-testid="messages"') > tiles.index('data-testid="scheduler"')
        [booked, *_] = await bench.ledger("appointment.booked")
        for bad in (("module", "x"), ("notification", "x"), ("notification", booked["seq"]), ("other", "messages")):
            answer = await client.post("/home/pins", data={"kind": bad[0], "key": bad[1]})
            assert answer.status_code == 404, bad
    async with logged_in(bench, "admin") as client:
        page = await text_of(client, "/")
        assert 'aria-pressed="true"' not in page  # pins are each user's own
        assert "Garcia, Luis asks for an appointment" in page
