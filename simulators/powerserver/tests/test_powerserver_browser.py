"""The scheduler in a real browser: every way to book, the menus by mouse and keyboard, and changes that arrive live."""

import asyncio
import contextlib
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvicorn
from playwright.async_api import Page, Route, async_playwright, expect
from powerserver_requests import PLACER, asked, confirmed

from powerserver_sim.settings import catalogue

pytestmark = pytest.mark.browser

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--remote-debugging-port=0",
]
DAY = "2026-12-01"
RESOURCE = {
    "name": "BLUME PT", "modality": "PT", "department": "RADIOLOGY", "room": "CT1", "opens": "09:00", "closes": "17:30",
    "default_minutes": "60",
}  # fmt: skip


class Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


HEAD_BELOW_THE_TOP = """(calendar) => {
    calendar.scrollTop = calendar.scrollHeight;
    const head = calendar.querySelector("h2").getBoundingClientRect();
    const distance = head.top - calendar.getBoundingClientRect().top;
    calendar.scrollTop = 0;
    return distance;
}"""
"""Pixels between the calendar's top and a resource's name, with the calendar scrolled to its end: its border."""


@dataclass
class Desk:
    """A browser page, logged in, on the calendar of a day."""

    page: Page
    base: str

    async def calendar(self, facility: str = "FAC01") -> None:
        await self.page.goto(f"{self.base}/scheduler?facility={facility}&day={DAY}")
        await expect(self.page.locator("html")).to_have_attribute("data-live-state", "open")

    async def fill_order(self, patient: str, study_type: str) -> None:
        await self.page.get_by_test_id("patient-search").fill(patient)
        await self.page.get_by_test_id(f"patient-option-{patient}").check()
        await self.page.get_by_test_id("study-type-1").select_option(study_type)
        await self.page.get_by_test_id("referring").select_option("1001")


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One browser for all tests here; each test has its own profile in it. Gives the address of its DevTools."""
    if not Path(CHROMIUM).exists():
        pytest.skip(f"needs a Chromium at {CHROMIUM}")
    profile = tmp_path_factory.mktemp("chromium")
    command = [CHROMIUM, *ARGUMENTS, f"--user-data-dir={profile}"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as browser:
        assert browser.stderr is not None
        yield next(line.split()[-1] for line in browser.stderr if line.startswith("DevTools listening on"))
        browser.terminate()


@pytest.fixture
async def desk(bench, chromium) -> AsyncIterator[Desk]:
    server = Server(uvicorn.Config(bench.simulator.app, port=0, log_level="warning", lifespan="off", ws="none"))
    serving = asyncio.create_task(server.serve())
    async with asyncio.timeout(60):
        while not server.started:
            await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    expect.set_options(timeout=60_000)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.connect_over_cdp(chromium)
        profile = await browser.new_context(viewport={"width": 1440, "height": 1400})
        page = await profile.new_page()
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda line: problems.append(line.text) if "Content Security Policy" in line.text else None)
        base = f"http://127.0.0.1:{port}"
        login = {"name": "admin", "password": "development"}
        await page.request.post(f"{base}/login", form=login, max_redirects=0)
        yield Desk(page, base)
        await profile.close()
        assert problems == []
    bench.simulator.services.live.close()
    server.should_exit = True
    await serving


async def test_booking_by_double_click_menu_key_and_enter(bench, desk) -> None:
    page = desk.page
    await desk.calendar()
    await page.set_viewport_size({"width": 1440, "height": 700})
    assert await page.get_by_test_id("calendar").evaluate(HEAD_BELOW_THE_TOP) == 1, "the names scroll away"
    await page.set_viewport_size({"width": 1440, "height": 1400})
    await page.get_by_test_id("slot-BLUME-CT-10:30").dblclick()
    await desk.fill_order("4711", "CT-HEAD")
    await page.get_by_test_id("add-study").click()
    await page.get_by_test_id("study-type-2").select_option("CT-CHEST")
    await page.get_by_test_id("order-ok").click()
    block = page.get_by_test_id("appointment-P100008")
    await expect(block).to_contain_text("SCHEDULED")
    await expect(block).to_contain_text("10:30–11:30")

    await page.get_by_test_id("slot-BLUME-MR-09:00").click(button="right")
    await page.get_by_test_id("menu-create-appointment").click()
    await desk.fill_order("4713", "MR-KNEE")
    await page.get_by_test_id("order-ok").click()
    await expect(page.get_by_test_id("appointment-P100009")).to_be_visible()

    slot = page.get_by_test_id("slot-BLUME-US-08:00")
    await slot.focus()
    await page.keyboard.press("ArrowDown")
    await expect(page.get_by_test_id("slot-BLUME-US-08:15")).to_be_focused()
    await page.keyboard.press("Enter")
    await page.get_by_test_id("patient-new").check()
    for name, value in {
        "family": "Doe",
        "given": "Sam",
        "birth-date": "1990-01-02",
        "email": "sam@example.org",
    }.items():
        await page.get_by_test_id(f"field-{name}").fill(value)
    await page.get_by_test_id("field-sex").select_option("M")
    await page.get_by_test_id("study-type-1").select_option("US-ABDOMEN")
    await page.get_by_test_id("order-ok").click()
    await expect(page.get_by_test_id("appointment-P100010")).to_contain_text("Doe, Sam")
    await bench.partner.has(3)
    assert [message.get("AIG-3") for message in bench.partner.received] == ["BLUME CT", "BLUME MR", "BLUME US"]


async def test_a_patient_who_is_chosen_stays_chosen_when_an_answer_of_the_search_comes_late(desk) -> None:
    page, asked, answers = desk.page, asyncio.Event(), asyncio.Event()

    async def late(route: Route) -> None:
        asked.set()
        await answers.wait()
        await route.continue_()

    await page.route("**/patients/options*", late)
    await desk.calendar()
    await page.get_by_test_id("slot-BLUME-CT-10:15").dblclick()
    await page.get_by_test_id("patient-search").fill("4712")
    await asyncio.wait_for(asked.wait(), 60)
    await page.get_by_test_id("patient-option-4712").check()
    async with page.expect_response("**/patients/options*"):
        answers.set()
    await page.evaluate("fetch('/patients/options?q=4712').then((later) => later.text())")
    await expect(page.get_by_test_id("patient-option-4712")).to_be_checked()


async def test_a_refused_booking_says_why_and_keeps_the_form(bench, desk) -> None:
    await bench.book(start=f"{DAY}T10:30:00-05:00")
    await desk.calendar()
    await desk.page.get_by_test_id("slot-BLUME-CT-10:15").dblclick()
    await desk.fill_order("4712", "CT-HEAD")
    await desk.page.get_by_test_id("order-ok").click()
    await expect(desk.page.get_by_test_id("order-problem")).to_contain_text("taken")
    await expect(desk.page.get_by_test_id("study-type-1")).to_have_value("CT-HEAD")


async def test_dragging_an_ordered_study_and_moving_an_appointment(bench, desk) -> None:
    page = desk.page
    await desk.calendar()
    await page.get_by_test_id("worklist-P100001").drag_to(page.get_by_test_id("slot-BLUME-MR-09:00"))
    await expect(page.get_by_test_id("toast-problem")).to_contain_text("MR resource")
    await page.get_by_test_id("worklist-P100001").drag_to(page.get_by_test_id("slot-BLUME-CT-09:00"))
    await expect(page.get_by_test_id("appointment-P100001")).to_contain_text("SCHEDULED")
    await expect(page.get_by_test_id("worklist-P100001")).to_have_count(0)
    await page.get_by_test_id("appointment-P100001").drag_to(page.get_by_test_id("slot-BLUME-CT-12:00"))
    await expect(page.get_by_test_id("appointment-P100001")).to_have_attribute("data-clock", "12:00")
    await bench.partner.has(2)
    assert [message.trigger for message in bench.partner.received] == ["S12", "S13"]

    await page.get_by_test_id("schedule-P100004").click()
    await page.get_by_test_id("time-resource").select_option("BLUME US")
    await page.get_by_test_id("time-time").fill("13:00")
    await page.get_by_test_id("time-ok").click()
    await expect(page.get_by_test_id("appointment-P100004")).to_have_attribute("data-resource", "BLUME US")


async def test_keys_pick_a_study_up_move_it_drop_it_and_put_it_back(bench, desk) -> None:
    page, keys = desk.page, desk.page.keyboard
    taken = await bench.book(start=f"{DAY}T08:15:00-05:00")
    await desk.calendar()
    news = page.get_by_test_id("carry-news")
    await page.get_by_test_id("pick-up-P100001").focus()
    await keys.press("Enter")
    await expect(news).to_contain_text("Picked up Roe, Jane, P100001.")
    await expect(page.get_by_test_id("slot-BLUME-CT-08:00")).to_be_focused()
    await expect(page.get_by_test_id("resource-BLUME-MR")).to_have_class("column cannot")

    await keys.press("Escape")
    await expect(news).to_have_text("Roe, Jane, P100001 is back in its place.")
    await expect(page.get_by_test_id("pick-up-P100001")).to_be_focused()
    await expect(page.get_by_test_id("carry")).to_be_hidden()

    await keys.press("Enter")
    await keys.press("Enter")  # 08:00 to 08:30 meets the appointment at 08:15
    await expect(page.get_by_test_id("toast-problem")).to_contain_text("BLUME CT is taken at that time")
    await expect(page.get_by_test_id("carry")).to_be_visible()
    await keys.press("PageDown")
    await expect(page.get_by_test_id("carry-where")).to_have_text("BLUME CT, 09:00, free")
    await keys.press("ArrowRight")  # over MR, XR and US, which do not fit
    await expect(page.get_by_test_id("slot-GHOST-CT-09:00")).to_be_focused()
    await keys.press("ArrowLeft")
    await keys.press(" ")
    block = page.get_by_test_id("appointment-P100001")
    await expect(block).to_contain_text("SCHEDULED")
    await expect(block).to_be_focused()
    await expect(news).to_contain_text("Dropped. P100001 is on BLUME CT, Tue 1 Dec, 09:00.")

    await keys.press(" ")
    await keys.press("ArrowDown")
    await keys.press("Enter")
    await expect(block).to_have_attribute("data-clock", "09:15")
    await bench.partner.has(3)
    assert [message.trigger for message in bench.partner.received] == ["S12", "S12", "S13"]
    assert await bench.status(taken) == 30


async def test_a_request_is_answered_by_the_menu_and_a_new_resource_waits_for_refresh_data(bench, desk) -> None:
    page = desk.page
    placer = await confirmed(bench)
    await bench.hl7(asked("SIU^S13", "R2", placer=placer, start="20261201160000-0500"), "R2")
    await bench.hl7(asked(start="20261201110000-0500"), "R1")
    await desk.calendar()
    await expect(page.get_by_test_id(f"appointment-{placer}")).to_contain_text("SCHEDULED STATUS")
    wanted = page.get_by_test_id(f"wish-{placer}")
    await expect(wanted).to_have_attribute("data-clock", "16:00")
    await wanted.focus()
    await page.keyboard.press("Enter")
    await expect(page.get_by_test_id("menu-request-accept")).to_be_focused()
    await expect(page.get_by_test_id("menu-request-accept")).to_have_text("Confirm the wanted time")
    await page.keyboard.press("Enter")
    await expect(wanted).to_have_count(0)
    await expect(page.get_by_test_id(f"appointment-{placer}")).to_have_attribute("data-clock", "16:00")
    await expect(page.get_by_test_id(f"appointment-{placer}")).to_have_attribute("data-status", "50")

    await page.get_by_test_id(f"decline-{PLACER}").click()
    await page.get_by_test_id("off-reason").fill("Please see your physician first")
    await page.keyboard.press("Enter")
    await expect(page.get_by_test_id(f"appointment-{PLACER}")).to_have_attribute("data-status", "80")
    await expect(page.get_by_test_id(f"asked-{PLACER}")).to_have_count(0)

    await bench.simulator.services.store.write(
        lambda work: catalogue.save_resource(work, "FAC01", catalogue.read_resource(RESOURCE), None)
    )
    await expect(page.get_by_test_id("not-loaded")).to_contain_text("BLUME PT is new.")
    await expect(page.get_by_test_id("resource-BLUME-PT")).to_have_count(0)
    await page.get_by_test_id("refresh-data").click()
    await expect(page.get_by_test_id("resource-BLUME-PT")).to_be_visible()
    await expect(page.get_by_test_id("not-loaded")).to_have_count(0)

    await page.get_by_test_id("slot-BLUME-MR-09:00").click(button="right")
    await page.get_by_test_id("menu-resources-layout-editor").click()
    await page.get_by_test_id("up-BLUME-PT").click()
    await page.get_by_test_id("show-BLUME-US").uncheck()
    await page.get_by_test_id("layout-ok").click()
    await expect(page.get_by_test_id("resource-BLUME-US")).to_have_count(0)
    await expect(page.locator(".column").nth(3)).to_have_attribute("data-resource", "BLUME PT")


async def test_the_menu_works_by_mouse_and_by_keys(bench, desk) -> None:
    placer = await bench.book(start=f"{DAY}T10:30:00-05:00")
    await desk.calendar()
    block = desk.page.get_by_test_id(f"appointment-{placer}")
    await block.click(button="right")
    await desk.page.get_by_test_id("menu-confirmed").click()
    await expect(block).to_contain_text("CONFIRMED")
    await block.focus()
    await desk.page.keyboard.press("Shift+F10")
    await expect(desk.page.get_by_test_id("menu-confirmed")).to_be_focused()
    await desk.page.keyboard.press("ArrowDown")
    await desk.page.keyboard.press("Enter")
    await expect(block).to_contain_text("ARRIVED")
    await expect(block).to_be_focused()
    await desk.page.keyboard.press("ContextMenu")
    await desk.page.keyboard.press("Escape")
    await expect(desk.page.get_by_test_id("context-menu")).to_be_hidden()
    await expect(block).to_be_focused()
    await desk.page.keyboard.press("Enter")
    await desk.page.keyboard.press("r")
    await expect(desk.page.get_by_test_id("menu-ready-for-scan")).to_be_focused()
    await desk.page.keyboard.press("Enter")
    await expect(block).to_contain_text("READY FOR SCAN")
    await desk.page.keyboard.press("Enter")
    await desk.page.get_by_test_id("menu-cancelled-with-notice").press("Enter")
    await desk.page.get_by_test_id("off-reason").fill("The scanner is broken")
    await desk.page.keyboard.press("Enter")
    await expect(block).to_contain_text("CANCELLED")
    await bench.partner.has(5)
    assert bench.partner.received[-1].get("SCH-6.2") == "The scanner is broken"
    await desk.page.keyboard.press("Enter")
    await desk.page.get_by_test_id("menu-arrived").click()
    await expect(desk.page.get_by_test_id("toast-problem")).to_contain_text("takes no further change")


async def test_a_confirmation_from_the_suite_shows_without_a_refresh(bench, desk) -> None:
    placer = await bench.book(start=f"{DAY}T10:30:00-05:00")
    await desk.calendar()
    block = desk.page.get_by_test_id(f"appointment-{placer}")
    await expect(block).to_have_attribute("data-status", "30")
    await desk.page.evaluate("window.stays = true")
    message = (
        "MSH|^~\\&|SUITE|NORTHSIDE|RAMSOFT|FAC01|20261125093000-0500||SIU^S14|SUITE-1|P|2.3.1\r"
        f"SCH|{placer}^RAMSOFT{'|' * 24}50^CONFIRMED^99PS"
    )
    assert (await bench.hl7(message.encode(), "SUITE-1")).code == "AA"
    await expect(block).to_have_attribute("data-status", "50")
    await expect(block).to_contain_text("CONFIRMED")
    assert await desk.page.evaluate("window.stays") is True


async def test_no_page_is_wider_than_a_phone(bench, desk) -> None:
    placer = await bench.book()
    await bench.partner.has(1)
    await desk.page.set_viewport_size({"width": 320, "height": 700})
    for path in (
        "/", f"/scheduler?facility=FAC01&day={DAY}", "/orders/new", "/patients", "/patients/new", "/patients/1",
        f"/appointments/{placer}", "/messages", "/messages/out/1", "/settings/facilities", "/settings/facilities/FAC01",
        "/settings/facilities/FAC01/resources/1", "/settings/users", "/worklist", f"/waiting-room?day={DAY}", "/portal",
        "/portal/launcher", "/settings/statuses", "/settings/priorities", "/settings/hl7",
    ):  # fmt: skip
        await desk.page.goto(desk.base + path)
        width = await desk.page.evaluate("document.documentElement.scrollWidth")
        assert width <= 320, path
