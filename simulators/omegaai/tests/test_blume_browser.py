"""Blume in a real browser: cards come and change by themselves, and the reader is left in peace."""

import asyncio
import re
from collections.abc import AsyncIterator

import pytest
from omegaai_browser_checks import CONTRAST, FITS
from playwright.async_api import Page, Route, expect

pytestmark = pytest.mark.browser

JANE = "jane.roe@example.org"


async def _log_in(page: Page, base: str) -> None:
    await page.goto(f"{base}/blume/login")
    await page.get_by_test_id("email").fill(JANE)
    await page.get_by_test_id("pin").fill("246810")
    await page.get_by_test_id("pin").press("Enter")
    await page.wait_for_url(f"{base}/blume")


@pytest.fixture
async def phone(omegaai, browser) -> AsyncIterator[Page]:
    await omegaai.create(omegaai.patient(JANE))
    profile = await browser.new_context(viewport={"width": 360, "height": 740})
    page = await profile.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda line: problems.append(line.text) if line.type == "error" else None)
    await _log_in(page, omegaai.base)
    await expect(page.locator("html[data-live-state=open]")).to_be_attached()
    yield page
    await profile.close()
    assert problems == []


async def test_a_card_comes_changes_and_is_confirmed_without_a_reload(omegaai, phone):
    await phone.evaluate("() => { window.isTheSamePage = true; }")
    await expect(phone.get_by_text("No appointments to come")).to_be_visible()
    stored = await omegaai.book(JANE)
    card = phone.get_by_test_id("appointment-P100045")
    await expect(card.get_by_test_id("label")).to_have_text("Pending")
    await expect(phone.get_by_text("No appointments to come")).to_have_count(0)
    await expect(phone.get_by_test_id("unread")).to_be_visible()
    moved = {**stored, "start": "2036-12-02T10:00:00-05:00", "end": "2036-12-02T10:30:00-05:00"}
    await omegaai.update(moved, 1)
    await expect(card.get_by_test_id("when")).to_contain_text("10:00 AM")
    await card.get_by_test_id("confirm").click()
    await expect(card.get_by_test_id("label")).to_have_text("Scheduled")
    await expect(phone.get_by_test_id("toast")).to_contain_text("Appointment Confirmation")
    await expect(card.get_by_test_id("confirm")).to_have_count(0)
    await expect(card.locator("h3")).to_be_focused()  # the button is gone, the card is still where the reader is
    assert await phone.evaluate("() => window.isTheSamePage")


async def test_what_one_types_survives_what_changes(omegaai, phone):
    stored = await omegaai.book(JANE)
    card = phone.get_by_test_id("appointment-P100045")
    await card.get_by_test_id("cancel").click()
    reason = card.get_by_test_id("reason")
    await reason.fill("I have to work")
    top = await reason.evaluate("field => field.getBoundingClientRect().top")
    # One above it, then the card itself under the typing: in this order there is something to scroll back when the card
    # loses a button, whether the page learns of both at once or one by one.
    await omegaai.book(JANE, start="2036-11-01T09:00:00-05:00", end="2036-11-01T09:30:00-05:00")
    await omegaai.update({**stored, "status": "booked"}, 1)
    await expect(card.get_by_test_id("label")).to_have_text("Scheduled")
    await expect(phone.get_by_test_id("appointment-P100046")).to_be_attached()
    await expect(reason).to_be_focused()
    await expect(reason).to_have_value("I have to work")
    assert abs(await reason.evaluate("field => field.getBoundingClientRect().top") - top) <= 1
    await reason.press("Enter")
    await expect(card.get_by_test_id("label")).to_have_text("Cancelled")
    await expect(card.get_by_test_id("reason-given")).to_have_text("I have to work")


async def test_what_one_looks_at_stays_where_it_is(omegaai, phone):
    for day in (5, 6, 7):
        await omegaai.book(JANE, start=f"2036-12-0{day}T09:00:00-05:00", end=f"2036-12-0{day}T09:30:00-05:00")
    last = phone.get_by_test_id("appointment-P100047")
    await expect(last).to_be_attached()
    await last.evaluate("card => scrollTo(0, card.offsetTop - 100)")
    top = await last.evaluate("card => card.getBoundingClientRect().top")
    await omegaai.book(JANE, start="2036-12-01T09:00:00-05:00", end="2036-12-01T09:30:00-05:00")
    await expect(phone.get_by_test_id("appointment-P100048")).to_be_attached()
    assert abs(await last.evaluate("card => card.getBoundingClientRect().top") - top) <= 1


async def test_bell_and_card_work_by_keyboard(omegaai, phone):
    await omegaai.book(JANE)
    await expect(phone.get_by_test_id("unread")).to_be_visible()
    await phone.get_by_test_id("bell").focus()
    await phone.keyboard.press("Enter")
    await expect(phone.get_by_test_id("notifications").locator("li").first).to_contain_text("Exam scheduled")
    await phone.keyboard.press("Escape")
    await expect(phone.get_by_test_id("notifications")).to_be_hidden()
    await expect(phone.get_by_test_id("unread")).to_have_count(0)
    await expect(phone.get_by_test_id("bell")).to_be_focused()
    card = phone.get_by_test_id("appointment-P100045")
    for _ in range(12):
        await phone.keyboard.press("Tab")
        if await card.get_by_test_id("confirm").evaluate("button => button === document.activeElement"):
            break
    await phone.keyboard.press("Space")
    await expect(card.get_by_test_id("label")).to_have_text("Scheduled")


async def test_a_session_that_ended_leads_to_the_login(omegaai, phone):
    await omegaai.book(JANE)
    await expect(phone.get_by_test_id("appointment-P100045")).to_be_visible()
    await phone.context.clear_cookies()
    await omegaai.book(JANE)
    await phone.wait_for_url(re.compile("/blume/login$"))


async def test_without_scripts_the_forms_do_it(omegaai, browser):
    await omegaai.book(JANE)
    await omegaai.book(JANE)
    profile = await browser.new_context(java_script_enabled=False, viewport={"width": 360, "height": 740})
    page = await profile.new_page()
    await _log_in(page, omegaai.base)
    await page.get_by_test_id("appointment-P100045").get_by_test_id("confirm").click()
    await expect(page.get_by_test_id("toast")).to_contain_text("Appointment Confirmation")
    await expect(page.get_by_test_id("appointment-P100045").get_by_test_id("label")).to_have_text("Scheduled")
    other = page.get_by_test_id("appointment-P100046")
    await other.get_by_test_id("cancel").click()
    await other.get_by_test_id("reason").fill("ill")
    await other.get_by_test_id("cancel-submit").click()
    await expect(page.get_by_test_id("appointment-P100046").get_by_test_id("label")).to_have_text("Cancelled")
    await profile.close()


async def test_it_fits_a_narrow_phone_and_words_stand_out(omegaai, browser):
    for status in ("pending", "booked", "proposed", "cancelled", "fulfilled"):
        await omegaai.book(JANE, status=status)
    profile = await browser.new_context(viewport={"width": 320, "height": 640})
    page = await profile.new_page()
    await page.goto(f"{omegaai.base}/blume/login")
    assert await page.evaluate(FITS)
    await _log_in(page, omegaai.base)
    assert await page.evaluate(FITS)
    for scheme in ("light", "dark"):
        await page.emulate_media(color_scheme=scheme)
        ratios = await page.locator(".label, .soft, .button, .card h3, .card dd a, .lead").evaluate_all(CONTRAST)
        assert len(ratios) > 20
        assert min(ratios) >= 4.5
    sizes = await page.locator("button:visible, summary:visible").evaluate_all(
        "all => all.map(one => one.offsetHeight)"
    )
    assert min(sizes) >= 24
    await profile.close()


async def test_the_staffs_list_follows(omegaai, browser):
    page = await (await browser.new_context()).new_page()
    await page.goto(f"{omegaai.base}/login")
    await page.get_by_test_id("login-name").fill("admin")
    await page.get_by_test_id("login-password").fill("development")
    await page.get_by_test_id("login-submit").click()
    await expect(page.locator("html[data-live-state=open]")).to_be_attached()
    stored = await omegaai.book(JANE)
    row = page.get_by_test_id("row-P100045")
    await expect(row).to_contain_text("Pending")
    await omegaai.update({**stored, "status": "booked"}, 1)
    await expect(row).to_contain_text("Scheduled")
    await page.context.close()


async def test_what_changes_before_the_page_listens_is_shown(omegaai, phone):
    listens = asyncio.Event()

    async def wait(route: Route) -> None:
        await listens.wait()
        await route.continue_()

    await phone.route("**/blume/events", wait)
    await phone.goto(f"{omegaai.base}/blume")
    await expect(phone.get_by_text("No appointments to come")).to_be_visible()
    await omegaai.book(JANE)
    listens.set()
    await expect(phone.get_by_test_id("appointment-P100045")).to_be_visible()
