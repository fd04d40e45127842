"""The set-up, the Scheduler and the booking in a real browser: usable, followed live, readable by everybody."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from omegaai_browser_checks import CONTRAST, FITS, PROBLEMS
from playwright.async_api import Page, expect

pytestmark = pytest.mark.browser

JANE = "jane.roe@example.org"
TORONTO = ZoneInfo("America/Toronto")
START = (datetime.now(TORONTO) + timedelta(days=30)).replace(hour=9, minute=0, second=0, microsecond=0)
CHOSEN = "study=CT-HEAD&location=Toronto%2C+ON&service=11"


@pytest.fixture
async def profile(browser):
    made = await browser.new_context(viewport={"width": 1280, "height": 900})
    yield made
    await made.close()


@pytest.fixture
async def desk(omegaai, profile) -> Page:
    page = await profile.new_page()
    await page.goto(f"{omegaai.base}/login")
    await page.get_by_test_id("login-name").fill("admin")
    await page.get_by_test_id("login-password").fill("development")
    await page.get_by_test_id("login-submit").click()
    await page.wait_for_url(f"{omegaai.base}/")
    return page


async def blume(omegaai, profile) -> tuple[Page, str]:
    """Jane's browser, logged in, and her Patient's id."""
    person = (await omegaai.create(omegaai.patient(JANE))).json()
    page = await profile.new_page()
    await page.goto(f"{omegaai.base}/blume/login")
    await page.get_by_test_id("email").fill(JANE)
    await page.get_by_test_id("pin").fill("246810")
    await page.get_by_test_id("pin").press("Enter")
    await page.wait_for_url(f"{omegaai.base}/blume")
    return page, person["id"]


async def live(page: Page, address: str) -> None:
    await page.goto(address)
    await expect(page.locator("html[data-live-state=open]")).to_be_attached()


async def test_a_healthcare_service_is_made_and_verified(omegaai, profile, desk):
    listed = await profile.new_page()
    await live(listed, f"{omegaai.base}/scheduler/settings/resources")
    await desk.get_by_test_id("nav-scheduler").click()
    await desk.get_by_test_id("edit-services").click()
    await desk.get_by_test_id("new-service").click()
    await expect(desk.get_by_test_id("field-duration")).to_have_value("01:00")
    await desk.get_by_test_id("field-organization").fill("Lakeshore Imaging")
    await desk.get_by_test_id("field-name").fill("Lake CT")
    await desk.get_by_test_id("field-modality").select_option("CT")
    await desk.get_by_test_id("field-duration").fill("1h")
    await desk.get_by_test_id("field-overbooking").check()
    await desk.get_by_test_id("field-sat").check()
    await desk.get_by_test_id("field-sat-closes").fill("12:00")
    await desk.get_by_test_id("save").click()
    await desk.get_by_test_id("problem").get_by_role("link").click()  # to the field that is wrong
    await expect(desk.get_by_test_id("field-duration")).to_be_focused()
    await desk.keyboard.press("ControlOrMeta+a")
    await desk.keyboard.type("00:30")
    await desk.keyboard.press("Enter")
    saved = desk.get_by_test_id("saved")
    await expect(saved).to_contain_text("Mon–Fri 08:00–17:00, Sat 08:00–12:00")
    await expect(saved).to_contain_text("nearly or exactly this name: “LAKE CT”")
    row = listed.get_by_test_id("service-100")
    await expect(row).to_contain_text("Lake CT")  # without a reload
    await expect(row).to_contain_text("30 min")
    await desk.get_by_test_id("field-active").uncheck()
    await desk.get_by_test_id("save").click()
    await expect(saved).to_contain_text("It is not active")


async def test_a_deleted_appointment_leaves_the_board_without_a_reload(omegaai, profile, desk):
    stored = await omegaai.book(start=START.isoformat(), end=(START + timedelta(minutes=30)).isoformat())
    board = await profile.new_page()
    await live(board, f"{omegaai.base}/scheduler?day={START:%Y-%m-%d}")
    await expect(board.get_by_test_id("booking-P100045")).to_contain_text("Scheduled")
    await omegaai.update({**stored, "status": "arrived"}, 1)
    await expect(board.get_by_test_id("booking-P100045")).to_contain_text("Arrived")
    await desk.goto(f"{omegaai.base}/appointments/{stored['id']}")
    await desk.get_by_test_id("delete").click()
    await desk.get_by_test_id("delete-submit").click()
    await expect(desk.get_by_test_id("deleted")).to_be_visible()
    await expect(board.get_by_test_id("booking-P100045")).to_have_count(0)
    await expect(board.get_by_test_id("order-P100045")).to_be_visible()


async def test_choices_and_times_follow_what_others_do(omegaai, profile):
    page, patient = await blume(omegaai, profile)
    await live(page, f"{omegaai.base}/blume/book?patient={patient}&{CHOSEN}")
    await expect(page.get_by_test_id("provider-11")).to_be_checked()
    await omegaai.api.post("/control/organizations/2", json={"enablePublicBooking": False})
    await expect(page.get_by_test_id("other-11")).to_contain_text("It takes no bookings online.")
    await omegaai.api.post("/control/organizations/2", json={"enablePublicBooking": True})
    await expect(page.get_by_test_id("provider-11")).to_be_visible()
    await live(page, f"{omegaai.base}/blume/book/times?patient={patient}&{CHOSEN}&day={START:%Y-%m-%d}")
    await page.get_by_test_id("slot-10:00").check()
    await page.get_by_test_id("book-note").fill("I am early")
    end = (START + timedelta(minutes=30)).isoformat()
    await omegaai.book("other@example.org", start=START.isoformat(), end=end)
    await expect(page.get_by_test_id("slot-09:00")).to_have_count(0)
    await expect(page.get_by_test_id("slot-10:00")).to_be_checked()
    await expect(page.get_by_test_id("book-note")).to_have_value("I am early")
    taken = START.replace(hour=10)
    await omegaai.book("other@example.org", start=taken.isoformat(), end=(taken + timedelta(minutes=30)).isoformat())
    await expect(page.get_by_test_id("slot-10:00")).to_have_count(0)
    await page.get_by_test_id("next-month").click()
    await expect(page.get_by_test_id("next-month")).to_be_focused()
    await expect(page.get_by_test_id("month")).to_have_text(f"{(START.replace(day=1) + timedelta(days=32)):%B %Y}")


STAFF_PAGES = (
    "/scheduler", "/scheduler?view=week", "/scheduler/settings/organization", "/services", "/services/new",
    "/organizations", "/organizations/2", "/organizations/issuers/1", "/study-types", "/study-types/1",
    "/study-types/codes/1",
)  # fmt: skip


async def check(page: Page, address: str) -> None:
    """A page fits a narrow window, its words stand out in both schemes, and its parts have names."""
    await page.set_viewport_size({"width": 320, "height": 640})
    await page.goto(address)
    assert await page.evaluate(FITS), address
    assert await page.evaluate(PROBLEMS) == [], address
    for scheme in ("light", "dark"):
        await page.emulate_media(color_scheme=scheme)
        words = page.locator("main :is(p, label, legend, .button, .soft, td, th, dd, dt, h1, h2, a, .chip *, .hint)")
        ratios = await words.evaluate_all(CONTRAST)
        assert min(ratios) >= 4.5, (address, scheme)


async def test_the_staffs_pages_are_readable_by_everybody(omegaai, desk):
    today = datetime.now(TORONTO).replace(hour=9, minute=0, second=0, microsecond=0)
    for number, status in enumerate(("proposed", "pending", "booked", "arrived", "checked-in", "noshow")):
        start = today + timedelta(hours=number)
        await omegaai.book(status=status, start=start.isoformat(), end=(start + timedelta(minutes=30)).isoformat())
    for path in STAFF_PAGES:
        await check(desk, f"{omegaai.base}{path}")


async def test_the_booking_pages_are_readable_by_everybody(omegaai, profile):
    page, patient = await blume(omegaai, profile)
    end = (START + timedelta(minutes=30)).isoformat()
    booked = omegaai.appointment(patient, status="booked", start=START.isoformat(), end=end)
    stored = (await omegaai.create(booked)).json()
    for path in (
        "?tab=completed",
        "?show=scheduled",
        f"/book?patient={patient}&{CHOSEN}",
        "/book/times?study=CT-HEAD",
        f"/book/times?patient={patient}&{CHOSEN}",
        f"/appointments/{stored['id']}/reschedule",
    ):
        await check(page, f"{omegaai.base}/blume{path}")
