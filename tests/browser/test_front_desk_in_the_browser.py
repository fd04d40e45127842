"""Staff at PowerServer's scheduler by keys and by drag: book, confirm, move, cancel, no-show; Blume follows each."""

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from playwright.async_api import Page, expect

from chassis.testing import eventually

ITEMS = 30
"""More than a menu has."""

pytestmark = [pytest.mark.browser, pytest.mark.stack]


@dataclass
class Portal:
    """A patient's cards at Blume, by the portal's own interface."""

    page: Page
    base: str
    email: str

    async def card(self, placer: str) -> tuple[str, str]:
        """Label and start of the appointment; empty while the portal does not know patient or appointment."""
        answer = await self.page.request.get(f"{self.base}/api/appointments", max_redirects=0)
        if answer.status != 200:
            form = {"email": self.email, "pin": "246810"}
            await self.page.request.post(f"{self.base}/login", form=form, max_redirects=0)
            return "", ""
        cards = (await answer.json())["appointments"]
        one = next((card for card in cards if card["placer_number"] == placer), None)
        return ("", "") if one is None else (one["label"], one["start"])

    async def shows(self, placer: str, label: str, clock: str) -> None:
        async def is_shown() -> bool:
            shown, start = await self.card(placer)
            return shown == label and start[11:16] == clock

        await eventually(is_shown, what=f"{label} at {clock} in Blume")


async def order_for(desk: Page, powerserver: str, patient: dict[str, str]) -> str:
    """A new order without a time, for a new or a known patient; returns its placer number."""
    form = {"study_type": "CT-HEAD", "facility": "FAC01", "referring": "1001", **patient}
    answer = await desk.request.post(f"{powerserver}/orders", form=form, headers={"Accept": "application/json"})
    assert answer.status == 201, await answer.text()
    return str((await answer.json())["placer_number"])


async def by_keys(desk: Page, placer: str, letter: str, action: str) -> None:
    """Open the appointment's menu by the menu key, and choose by its first letter."""
    await desk.get_by_test_id(f"appointment-{placer}").focus()
    await desk.keyboard.press("ContextMenu")
    await expect(desk.get_by_test_id("context-menu")).to_be_visible()
    item = desk.get_by_test_id(f"menu-{action}")
    for _ in range(ITEMS):
        if await item.evaluate("item => item === document.activeElement"):
            break
        await desk.keyboard.press(letter)
    await expect(item).to_be_focused()
    await desk.keyboard.press("Enter")


async def test_staff_book_confirm_move_cancel_and_miss_by_keys_and_by_drag(suite, open_page) -> None:
    day = (datetime.now(UTC) + timedelta(days=30 + secrets.randbelow(300))).date().isoformat()
    email = f"sam.{secrets.token_hex(4)}@example.org"
    powerserver = suite.address("powerserver")
    desk = await open_page()
    login = {"name": "frontdesk", "password": "development"}
    await desk.request.post(f"{powerserver}/login", form=login, max_redirects=0)
    new = {
        "patient_mode": "new", "family": "Doe", "given": "Sam", "birth_date": "1975-03-04", "sex": "M", "email": email,
    }  # fmt: skip
    placer = await order_for(desk, powerserver, new)
    await desk.goto(f"{powerserver}/scheduler?facility=FAC01&day={day}")
    await expect(desk.locator("html")).to_have_attribute("data-live-state", "open")
    block = desk.get_by_test_id(f"appointment-{placer}")

    portal = Portal(await open_page(), f"{suite.address('omegaai')}/blume", email)
    await desk.get_by_test_id(f"pick-up-{placer}").focus()
    await desk.keyboard.press("Enter")
    await expect(desk.get_by_test_id("slot-BLUME-CT-08:00")).to_be_focused()
    await desk.keyboard.press("PageDown")
    await desk.keyboard.press("Enter")
    await expect(block).to_contain_text("SCHEDULED")
    await portal.shows(placer, "Pending", "09:00")

    await by_keys(desk, placer, "c", "confirmed")
    await expect(block).to_contain_text("CONFIRMED")
    await portal.shows(placer, "Scheduled", "09:00")

    await block.drag_to(desk.get_by_test_id("slot-BLUME-CT-11:00"))
    await expect(block).to_have_attribute("data-clock", "11:00")
    await portal.shows(placer, "Scheduled", "11:00")

    patient = str(await block.get_attribute("data-patient-key"))
    await by_keys(desk, placer, "c", "cancelled-with-notice")
    await desk.get_by_test_id("off-reason").fill("The scanner is broken")
    await desk.keyboard.press("Enter")
    await expect(block).to_contain_text("CANCELLED")
    await portal.shows(placer, "Cancelled", "11:00")

    missed = await order_for(desk, powerserver, {"patient": patient})
    await desk.get_by_test_id(f"pick-up-{missed}").focus()
    await desk.keyboard.press("Enter")
    await desk.keyboard.press("Enter")
    await expect(desk.get_by_test_id(f"appointment-{missed}")).to_have_attribute("data-clock", "08:00")
    await portal.shows(missed, "Pending", "08:00")
    await by_keys(desk, missed, "n", "no-show")
    await expect(desk.get_by_test_id(f"appointment-{missed}")).to_contain_text("NO SHOW")
    await portal.shows(missed, "Cancelled", "08:00")
