"""The console's pages by keyboard alone: decided, corrected, explained, and changed under the eyes of the reader."""

import re
import secrets
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import pytest
from browser_pages import press, reach, sound
from playwright.async_api import Page, expect

from chassis.testing import eventually
from demo_story.clients import Addresses, People
from demo_story.people_made_up import patient
from hl7v2.mllp import Client

pytestmark = [pytest.mark.browser, pytest.mark.stack]
HEAD = "MSH|^~\\&|RAMSOFT|{facility}|SUITE|NORTHSIDE|{made:%Y%m%d%H%M%S}+0000||{kind}|{id}|P|2.3.1\r"
PLACE = "R9^MR1^^FAC02"
GRID = (
    "MFI|LOC^Location master file^HL70175||UPD|||AL\r"
    f"MFE|MUP|||{PLACE}\rLOC|{PLACE}|LAKE MR|MODALITY|||||MR\rLDP|{PLACE}|RADIOLOGY|||A||||^^0700^2200\r"
    f"LCH|{PLACE}|U||DURATION^Default duration^99PS|{{minutes}}\r"
)
PERSON = "EVN|{event}|{made:%Y%m%d%H%M%S}+0000\rPID|1||{number}||{name}||19800229|F|||||(416)555-0100^PRN^PH\rPV1|1|O\r"
MERGE = PERSON.replace("PV1|1|O", "MRG|{former}")
BOOKING = (
    "SCH|P{id}^RAMSOFT|A{id}^RAMSOFT|||||CT-HEAD^CT Head^99STUDYTYPE||30|min|^^30^{start}+0000^{end}+0000"
    "||||||||||||||30^SCHEDULED^99PS\r"
    "PID|1||{id}^^^NORTHSIDE||Roe^Jane||19800229|F|||||(416)555-0100^PRN^PH^jane@example.org\r"
    "PV1|1|O|RADIOLOGY^CT9^^FAC01\rRGS|1|A\rAIS|1|A|CT-HEAD^CT Head^99STUDYTYPE|{start}+0000|||30|min\r"
    "AIG|1|A|{resource}|CT\rAIL|1|A|RADIOLOGY^CT9^^FAC01\r"
)


def number_of_today() -> str:
    return f"7{secrets.randbelow(10**8):08}"


def message(kind: str, body: str, *, control_id: str, facility: str = "FAC01", **values: object) -> bytes:
    given = {"kind": kind, "id": control_id, "facility": facility, "made": datetime.now(UTC), **values}
    return (HEAD + body).format(**given).encode()


def booking(control_id: str, resource: str) -> bytes:
    start = (datetime.now(UTC) + timedelta(days=40 + secrets.randbelow(300))).replace(hour=16, minute=0)
    times = {"start": f"{start:%Y%m%d%H%M}00", "end": f"{start + timedelta(minutes=30):%Y%m%d%H%M}00"}
    return message("SIU^S12", BOOKING, control_id=control_id, resource=resource, **times)


@pytest.fixture
async def powerserver(suite):
    """Sends messages as PowerServer does; the code of each answer."""
    client = Client("127.0.0.1", suite.ports["scheduler-sync.mllp"])

    async def send(raw: bytes) -> str:
        return (await client.send(raw, control_id=raw.split(b"|")[9].decode())).code

    yield send
    await client.close()


@pytest.fixture
async def console(suite, open_page, log_in):
    """A page of the console, logged in; ``open(path)`` goes to a path and waits until it is live."""
    page: Page = await open_page()
    base = suite.address("scheduler-sync")
    await log_in(page, f"{base}/console")

    async def opened(path: str, *, live: bool = True) -> Page:
        await page.goto(f"{base}{path}")
        if live:
            await expect(page.locator("#live")).to_have_attribute("data-state", "on")
        return page

    return opened


async def audited(console, *actions: str) -> None:
    page = await console("/console")
    for action in actions:
        await expect(page.locator("[data-part=audit]")).to_contain_text(action)


async def test_a_drift_appears_and_is_applied(console, powerserver) -> None:
    page = await console("/resources")
    row = page.locator("tr").filter(has=page.get_by_role("link", name="LAKE MR", exact=True))
    await expect(row).not_to_contain_text("differs")
    await sound(page)
    minutes = 60 + secrets.randbelow(60)
    assert (
        await powerserver(message("MFN^M05", GRID, control_id=number_of_today(), facility="FAC02", minutes=minutes))
        == "AA"
    )
    await expect(row).to_contain_text("differs")
    await expect(row).to_contain_text(f"duration: PowerServer {minutes} min, OmegaAI ")
    await press(page, row.get_by_role("link", name="LAKE MR"))
    await expect(page.get_by_role("heading", name="Resource LAKE MR")).to_be_visible()
    await sound(page)
    await press(page, page.get_by_role("button", name=f"Write “{minutes} min” to OmegaAI"))
    await expect(page.locator(".badge").filter(has_text="linked")).to_be_visible()  # without a reload
    history = page.locator("section").filter(has=page.get_by_role("heading", name="History"))
    await expect(history).to_contain_text("fix written to OmegaAI")
    await expect(page.locator(".badge").filter(has_text="differs")).to_have_count(0)
    await press(page, page.get_by_role("link", name="← Resources"))
    await expect(page.get_by_role("heading", name="Resources")).to_be_visible()
    await expect(row).to_contain_text("linked")
    await audited(console, "resource.fix")


async def test_what_no_protocol_shows_is_confirmed_and_taken_back(console) -> None:
    page = await console("/preflight")
    await sound(page)
    row = page.locator("tr").filter(has_text="document types that PowerServer takes")
    await press(page, row.get_by_role("button", name="I have seen it"))
    await expect(row).to_contain_text("confirmed by olga")
    await press(page, row.get_by_role("button", name="Take back"))
    await expect(row).to_contain_text("not visible")
    await audited(console, "preflight.")


async def test_a_doubtful_pair_appears_and_is_decided(console, powerserver) -> None:
    first, second = number_of_today(), number_of_today()
    for number, name in ((first, "Roe^Jane"), (second, "Poe^Ann")):
        said = {"event": "A28", "number": f"{number}^^^NORTHSIDE", "name": name}
        assert await powerserver(message("ADT^A28", PERSON, control_id=number_of_today(), **said)) == "AA"
    page = await console("/reviews")
    before = await page.locator("tbody tr").count()
    both = {"event": "A08", "number": f"{first}^^^NORTHSIDE~{second}^^^NORTHSIDE", "name": "Roe^Jane"}
    assert await powerserver(message("ADT^A08", PERSON, control_id=number_of_today(), **both)) == "AE"
    await expect(page.locator("tbody tr")).to_have_count(before + 1)
    assert "Roe" not in await page.content()
    await sound(page)
    row = page.locator("tbody tr").last
    await expect(row).to_contain_text("numbers in one message")
    await press(page, row.get_by_role("link"))
    await expect(page.get_by_role("heading", name="Review")).to_be_visible()
    for words in (f"{first}^NORTHSIDE", f"{second}^NORTHSIDE", "Roe", "Poe"):
        await expect(page.get_by_role("cell", name=words)).to_be_visible()
    await sound(page)
    review = page.url
    await press(page, page.get_by_role("button", name="Same person"))
    await expect(page.get_by_role("heading", name="Review list")).to_be_visible()
    merged = {"event": "A40", "number": f"{first}^^^NORTHSIDE", "name": "Roe^Jane", "former": f"{second}^^^NORTHSIDE"}
    merging = message("ADT^A40", MERGE, control_id=number_of_today(), **merged)
    assert await powerserver(merging) == "AA"
    await expect(page.locator(f"a[href='{re.sub('^https?://[^/]+', '', review)}']")).to_have_count(0)
    await audited(console, "review.seen", "review.same", "hl7.replay")


async def test_an_appointment_is_followed_to_its_message_and_a_difference_is_corrected(suite, http, console) -> None:
    people = People(Addresses(*(suite.address(name) for name in ("powerserver", "omegaai", "mailsink"))), http)
    placer = await people.book(patient(secrets.randbelow(10**6)), (await people.free_slots(1))[0])
    omegaai = suite.address("omegaai")

    async def there() -> str | None:
        rows = await people.whole_ledger(omegaai)
        made = [one for one in rows if one["kind"] == "Appointment.created"]
        return next((one["subject"] for one in made if one["detail"]["placer_number"] == placer), None)

    appointment_id = await eventually(there)
    page = await console("/links")
    await reach(page, page.get_by_label("Placer number"))
    await page.keyboard.type(placer)
    await page.keyboard.press("Enter")
    await expect(page.locator("tbody tr")).to_have_count(1)
    await sound(page)
    await press(page, page.get_by_role("link", name=placer))
    await expect(page.get_by_role("heading", name=f"Appointment {placer}")).to_be_visible()
    await expect(page.get_by_text("Waits for the patient.")).to_be_visible()
    await sound(page)
    link = page.url
    line = page.locator(".timeline > li").first
    await press(page, line.get_by_role("link", name="SIU^S12"))
    await expect(page.get_by_role("heading", name="HL7 message SIU^S12")).to_be_visible()
    await sound(page)
    await press(page, page.get_by_role("link", name="Appointment", exact=True))
    await page.wait_for_url(link)

    await people.drift(appointment_id, 15)
    page = await console("/reconciliation")
    await press(page, page.get_by_role("button", name="Compare now"))
    row = page.locator("tr").filter(has=page.get_by_role("link", name=placer))
    await expect(row).to_contain_text("corrected")  # without a reload
    await expect(row.locator("dl").first).to_contain_text(re.compile(r"starts.*E[SD]T|P[SD]T", re.DOTALL))
    await sound(page)
    await page.goto(link)
    await expect(page.get_by_text("PowerServer's are written there")).to_be_visible()
    await audited(console, "reconcile.run")


async def test_a_pasted_message_is_explained(console) -> None:
    page = await console("/explain", live=False)
    await reach(page, page.get_by_label("One HL7 message, a segment a line"))
    await page.keyboard.insert_text(booking("X1", "BLUME CT").decode().replace("\r", "\n"))
    await press(page, page.get_by_role("button", name="Explain"))
    await expect(page.get_by_role("heading", name="SIU^S12: a booking")).to_be_visible()
    await expect(page.get_by_role("status")).to_contain_text("It would be answered")
    await sound(page)
    assert page.url.endswith("/explain")
    await audited(console, "hl7.explain")


async def test_a_message_is_edited_and_processed(console, powerserver) -> None:
    number = number_of_today()
    assert await powerserver(booking(number, "GHOST CT")) == "AE"
    page = await console("/needs-setup")
    await sound(page)
    row = page.locator("tr").filter(has_text=number)
    await press(page, row.get_by_role("link", name="SIU^S12"))
    await press(page, page.get_by_role("link", name="Show the content"))
    editor = page.get_by_label("Message, a segment a line")
    await reach(page, editor)
    text = await editor.input_value()
    await page.keyboard.press("Control+A")
    await page.keyboard.insert_text(text.replace("GHOST CT", "BLUME CT"))
    await press(page, page.get_by_role("button", name="Process the edited message"))
    await expect(page.get_by_role("status")).to_contain_text("processed")
    await sound(page)
    await audited(console, "hl7.show", "hl7.edit")


MENU = (
    "/console", "/links", "/conflicts", "/reconciliation", "/messages", "/reviews", "/needs-setup", "/resources",
    "/preflight", "/parked-tasks", "/unclaimed-tasks", "/console/hl7", "/console/acts", "/console/timers",
)  # fmt: skip
LINK, ACT = re.compile(r'<a [^>]*?href="(/[^"#?]*)'), re.compile(r'<form method="post" action="([^"]+)')
FOR_ALL = {"/logout", "/messages/search"}
"""What everybody who is logged in may post."""


async def test_each_role_is_offered_what_it_may_do_and_nothing_else(suite, open_page, log_in, powerserver) -> None:
    number = number_of_today()
    assert await powerserver(booking(number, "GHOST CT")) == "AE"
    said = {"event": "A28", "number": f"{number}^^^NORTHSIDE", "name": "Roe^Jane"}
    assert await powerserver(message("ADT^A28", PERSON, control_id=number_of_today(), **said)) == "AA"
    base = suite.address("scheduler-sync")
    offered: dict[str, set[str]] = {}
    for role in ("operator", "admin", "viewer"):
        page = await open_page()
        await log_in(page, f"{base}/console", role)
        shown = await _pages(page, base, MENU)
        links = {link for text in shown.values() for link in LINK.findall(text)} - shown.keys()
        shown |= await _pages(page, base, _one_of_a_kind(links))
        acts = {act for text in shown.values() for act in ACT.findall(text)}
        if role == "viewer":
            assert [path for path, text in shown.items() if "Roe" in text] == []
        offered[role] = acts - FOR_ALL
        if role == "viewer":
            ours = {"Origin": base, "Sec-Fetch-Site": "same-origin"}
            for act in _one_of_a_kind(offered["operator"]):
                answer = await page.request.post(f"{base}{act}", headers=ours, timeout=60_000)
                assert answer.status == 403, act
            for path in ("/explain", *(f"/messages/in/{one}/content" for one in _ids(links, "/messages/in/"))):
                assert (await page.request.get(f"{base}{path}")).status == 403, path
    assert offered["viewer"] == set()
    assert offered["operator"] == offered["admin"] != set()


async def _pages(page: Page, base: str, paths: Iterable[str]) -> dict[str, str]:
    """The pages as they are sent to whoever is logged in at ``page``."""
    found = {}
    for path in paths:
        answer = await page.request.get(f"{base}{path}", timeout=60_000)
        assert answer.status == 200, path
        found[path] = await answer.text()
    return found


def _one_of_a_kind(paths: set[str]) -> list[str]:
    """One address of each kind: ids and numbers differ within a kind."""
    kinds = {re.sub(r"[0-9a-f-]{36}|\d+", "…", one): one for one in sorted(paths)}
    return [one for one in kinds.values() if "/static/" not in one]


def _ids(links: set[str], below: str) -> list[str]:
    return [one.removeprefix(below) for one in sorted(links) if one.startswith(below)][:1]
