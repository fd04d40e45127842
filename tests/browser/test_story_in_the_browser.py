"""The guide's first story by clicks: booked in PowerServer, confirmed in Blume, without a refresh of any page."""

import os
import re
import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.stack]

IMAGES = Path(__file__).resolve().parents[2] / "docs" / "guide" / "images"


async def picture(page: Page, name: str) -> None:
    """Saves a picture for the README on request (SCREENSHOTS=1), so that a test run leaves the checkout unchanged."""
    if os.environ.get("SCREENSHOTS"):
        IMAGES.mkdir(parents=True, exist_ok=True)
        await page.screenshot(path=IMAGES / f"{name}.png")


async def test_staff_book_the_patient_confirms_and_every_page_follows(suite, open_page) -> None:
    email = f"jane.{secrets.token_hex(4)}@example.org"
    day = (datetime.now(UTC) + timedelta(days=9)).date().isoformat()

    desk = await open_page()
    powerserver = suite.address("powerserver")
    await desk.goto(f"{powerserver}/login")
    await desk.get_by_test_id("login-name").fill("frontdesk")
    await desk.get_by_test_id("login-password").fill("development")
    await desk.get_by_test_id("login-submit").click()
    await desk.wait_for_url(f"{powerserver}/")
    await desk.goto(f"{powerserver}/scheduler?facility=FAC01&day={day}")
    await expect(desk.locator("html")).to_have_attribute("data-live-state", "open")
    await desk.get_by_test_id("slot-BLUME-CT-10:30").dblclick()
    await desk.get_by_test_id("patient-new").check()
    fields = {"family": "Roe", "given": "Jane", "birth-date": "1980-02-29", "email": email}
    for name, value in fields.items():
        await desk.get_by_test_id(f"field-{name}").fill(value)
    await desk.get_by_test_id("field-sex").select_option("F")
    await desk.get_by_test_id("study-type-1").select_option("CT-HEAD")
    await picture(desk, "powerserver-new-order")
    await desk.get_by_test_id("order-ok").click()
    block = desk.locator("[data-testid^=appointment-P]").filter(has_text="Roe")
    await expect(block).to_contain_text("SCHEDULED")
    placer = str(await block.get_attribute("data-testid")).removeprefix("appointment-")
    await picture(desk, "powerserver-scheduler")

    phone = await open_page()
    blume = f"{suite.address('omegaai')}/blume"

    async def logged_in() -> bool:
        await phone.goto(f"{blume}/login")
        await phone.get_by_test_id("email").fill(email)
        await phone.get_by_test_id("pin").fill("246810")
        await phone.get_by_test_id("login").click()
        await phone.wait_for_load_state()
        return not phone.url.endswith("/login")

    for _ in range(40):  # the patient's data, and so the account, travels through the suite
        if await logged_in():
            break
    card = phone.get_by_test_id(f"appointment-{placer}")
    await expect(card.get_by_test_id("label")).to_have_text(re.compile("Pending"))
    await picture(phone, "blume-pending")
    await card.get_by_test_id("confirm").click()
    await expect(card.get_by_test_id("label")).to_have_text(re.compile("Scheduled"))
    await picture(phone, "blume-scheduled")

    await expect(block).to_contain_text("CONFIRMED")  # the scheduler's page was not loaded again
    await picture(desk, "powerserver-confirmed")

    inbox = await open_page()
    await inbox.goto(f"{suite.address('mailsink')}/?to={email}")
    await expect(inbox.get_by_role("link").filter(has_text=re.compile("confirm", re.IGNORECASE))).to_have_count(2)
    await picture(inbox, "mailsink-inbox")
