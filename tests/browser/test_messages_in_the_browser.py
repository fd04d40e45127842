"""An operator finds a message by its control id with the keyboard alone, reads it, and processes it again."""

import secrets
from datetime import UTC, datetime, timedelta

import pytest
from browser_pages import reach, sound
from playwright.async_api import expect

from hl7v2.mllp import Client

pytestmark = [pytest.mark.browser, pytest.mark.stack]
ON_NO_RESOURCE = (
    "MSH|^~\\&|RAMSOFT|FAC01|SUITE|NORTHSIDE|20261125093000-0500||SIU^S12|{id}|P|2.3.1\r"
    "SCH|P{id}^RAMSOFT|A{id}^RAMSOFT|||||CT-HEAD^CT Head^99STUDYTYPE||30|min|^^30^{start}-0500^{end}-0500"
    "||||||||||||||30^SCHEDULED^99PS\r"
    "PID|1|{id}^^^NORTHSIDE|{id}^^^NORTHSIDE||Roe^Jane||19800229|F|||||(416)555-0100^PRN^PH^jane@example.org\r"
    "PV1|1|O|RADIOLOGY^CT9^^FAC01\rRGS|1|A\rAIS|1|A|CT-HEAD^CT Head^99STUDYTYPE|{start}-0500|||30|min\r"
    "AIG|1|A|GHOST CT|CT\rAIL|1|A|RADIOLOGY^CT9^^FAC01\r"
)


async def test_a_message_is_found_read_and_processed_again_with_the_keyboard(suite, open_page, log_in) -> None:
    number = f"8{secrets.randbelow(10**8):08}"
    start = (datetime.now(UTC) + timedelta(days=40 + secrets.randbelow(300))).replace(hour=15, minute=0)
    times = {"start": f"{start:%Y%m%d%H%M}00", "end": f"{start + timedelta(minutes=30):%Y%m%d%H%M}00"}
    sender = Client("127.0.0.1", suite.ports["scheduler-sync.mllp"])
    answer = await sender.send(ON_NO_RESOURCE.format(id=number, **times).encode(), control_id=number)
    await sender.close()
    assert answer.code == "AE"

    page = await open_page()
    await log_in(page, f"{suite.address('scheduler-sync')}/messages")
    await expect(page.locator("#live")).to_have_attribute("data-state", "on")
    await sound(page)
    await reach(page, page.get_by_label("Control id"))
    await page.keyboard.type(number)
    await page.keyboard.press("Enter")
    row = page.locator("tbody tr")
    await expect(row).to_have_count(1)
    assert number not in page.url
    await sound(page)

    await reach(page, row.get_by_role("link", name="SIU^S12"))
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("resource 'GHOST CT'")).to_be_visible()
    assert "Roe" not in await page.content()
    await reach(page, page.get_by_role("link", name="Show the content"))
    await page.keyboard.press("Enter")
    content = page.get_by_role("region", name="Segments")
    await expect(content).to_contain_text("Roe^Jane")
    await expect(page.get_by_role("heading", name="Explanation")).to_be_visible()
    await sound(page)

    await reach(page, page.get_by_role("button", name="Process again"))
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("alert")).to_contain_text("failed: resource 'GHOST CT'")
    await page.goto(f"{suite.address('scheduler-sync')}/console")
    audit = page.locator("[data-part=audit]")
    await expect(audit).to_contain_text("hl7.show")
    await expect(audit).to_contain_text("hl7.replay")

    await page.set_viewport_size({"width": 400, "height": 800})  # a telephone
    for path in ("/messages", "/links", "/conflicts", "/needs-setup", "/parked-tasks", "/unclaimed-tasks"):
        await page.goto(f"{suite.address('scheduler-sync')}{path}")
        await expect(page.get_by_role("heading", level=1)).to_be_visible()
        await sound(page)
