"""A patient books, asks for another time and cancels in Blume, by the keyboard alone; PowerServer's staff answer.

Both ways are played: Blume writes the Appointment itself, and Blume asks the suite's scheduling API.
"""

import re
import secrets
from dataclasses import dataclass

import aiohttp
import pytest
from playwright.async_api import Locator, Page, expect

from chassis.testing import eventually
from demo_story.clients import STAFF, Addresses, People
from demo_story.people_made_up import patient

pytestmark = [pytest.mark.browser, pytest.mark.stack]

MOST_TABS = 150


async def tab_to(page: Page, target: Locator) -> None:
    """Presses Tab until the focus is there."""
    await expect(target).to_be_attached()
    for _ in range(MOST_TABS):
        await page.keyboard.press("Tab")
        if await target.evaluate("one => one === document.activeElement"):
            return
    pytest.fail(f"{target} is not reached by Tab")


async def press(page: Page, target: Locator, key: str = "Enter") -> None:
    await tab_to(page, target)
    await page.keyboard.press(key)


@dataclass
class Visit:
    """A patient of PowerServer's at the portal. Only keys are pressed."""

    page: Page
    people: People

    @property
    def card(self) -> Locator:
        """The card of the patient's booking; the suite gives it its number."""
        return self.page.locator("[data-testid^=appointment-B]")

    @property
    def label(self) -> Locator:
        return self.card.get_by_test_id("label")

    async def log_in(self, blume: str, email: str) -> None:
        await self.page.goto(f"{blume}/login")
        await tab_to(self.page, self.page.get_by_test_id("email"))
        await self.page.keyboard.type(email)
        await tab_to(self.page, self.page.get_by_test_id("pin"))
        await self.page.keyboard.type("246810")
        await self.page.keyboard.press("Enter")
        await self.page.wait_for_url(blume)

    async def book(self, study: str, place: str) -> str:
        """Through both steps of Book New Appointment; the placer number."""
        page = self.page
        await press(page, page.get_by_test_id("book-new"))
        await tab_to(page, page.get_by_test_id("book-study"))
        await page.keyboard.type(study)
        await tab_to(page, page.get_by_test_id("book-location"))
        await page.keyboard.type(place)
        provider = page.locator("[data-testid^=provider-]").first
        await press(page, provider, "Space")
        await expect(provider).to_be_checked()
        await press(page, page.get_by_test_id("book-next"))
        shown = await page.get_by_test_id("month").inner_text()
        await press(page, page.get_by_test_id("next-month"))
        await expect(page.get_by_test_id("month")).not_to_have_text(shown)
        await self.choose_time()
        await press(page, page.get_by_test_id("book-submit"))
        await expect(self.label).to_have_text("Requested")
        return str(await self.card.get_attribute("data-testid")).removeprefix("appointment-")

    async def choose_time(self) -> None:
        """The second time of another day than the one that is shown first."""
        page = self.page
        chosen = page.locator("input[name=day]:checked")
        await expect(chosen).to_have_count(1)
        before = str(await chosen.input_value())
        await press(page, chosen, "ArrowRight")
        after = str(await chosen.input_value())
        assert after != before
        times = page.locator("input[name=slot]")
        await expect(times.first).to_have_attribute("value", re.compile(f"^{after}T"))
        await press(page, times.first, "ArrowRight")
        await expect(times.nth(1)).to_be_checked()

    async def reschedule(self) -> None:
        await press(self.page, self.card.get_by_test_id("reschedule"))
        await self.choose_time()
        await press(self.page, self.page.get_by_test_id("reschedule-submit"))
        await expect(self.label).to_have_text("Requested")
        await expect(self.card.get_by_test_id("wanted")).to_be_visible()

    async def cancel(self, reason: str) -> None:
        await press(self.page, self.card.get_by_test_id("cancel"))
        await tab_to(self.page, self.card.get_by_test_id("reason"))
        await self.page.keyboard.type(reason)
        await self.page.keyboard.press("Enter")
        await expect(self.label).to_have_text("Cancelled")
        await expect(self.card.get_by_test_id("reason-given")).to_have_text(reason)

    async def staff_accept(self, placer: str) -> None:
        """PowerServer's staff see the request and accept it; the card follows."""

        async def is_asked() -> bool:
            return await self._found(placer) and (await self.people.appointment(placer))["request"] is not None

        await eventually(is_asked)
        await self.people.answer(placer, "accept")
        await expect(self.label).to_have_text("Scheduled")

    async def _found(self, placer: str) -> bool:
        url = f"{self.people.addresses.powerserver}/api/appointments/{placer}"
        async with self.people.http.get(url, headers=STAFF) as response:
            return response.status == 200


async def books_by(http: aiohttp.ClientSession, omegaai: str, way: str) -> None:
    (await http.post(f"{omegaai}/control/booking", json={"by": way})).raise_for_status()


@pytest.mark.parametrize("way", ["own", "suite"])
async def test_a_patient_books_moves_and_cancels_by_keyboard(suite, open_page, http, way: str) -> None:
    people = People(Addresses(*(suite.address(name) for name in ("powerserver", "omegaai", "mailsink"))), http)
    who = patient(secrets.randbelow(10**6))
    made = await http.post(f"{suite.address('powerserver')}/api/patients", json=who, headers=STAFF)
    made.raise_for_status()

    async def has_account() -> bool:
        found = await people.log_in(who["email"])
        if found is not None:
            await found.leave()
        return found is not None

    await eventually(has_account)
    await books_by(http, suite.address("omegaai"), way)
    try:
        visit = Visit(await open_page(), people)
        await visit.log_in(f"{suite.address('omegaai')}/blume", who["email"])
        placer = await visit.book("MR B", "Toronto")
        await visit.staff_accept(placer)
        await visit.reschedule()
        wanted = await visit.card.get_by_test_id("wanted").inner_text()
        await visit.staff_accept(placer)
        shown = (await visit.card.get_by_test_id("when").inner_text()).split()
        assert set(wanted.replace(",", " ").split()[:3]) <= set(" ".join(shown).replace(",", " ").split())
        await visit.cancel("I have to work")
    finally:
        await books_by(http, suite.address("omegaai"), "own")

    async def is_cancelled() -> bool:
        return await people.status_in_powerserver(placer) == "CANCELLED"

    await eventually(is_cancelled)
