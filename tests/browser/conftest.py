"""A browser for tests that click; the pages report every complaint of the browser."""

import os
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest
from playwright.async_api import Browser, Page, async_playwright, expect

sys.path.insert(0, str(Path(__file__).parent))  # for browser_pages
STEP_MILLISECONDS = 60_000
OpenPage = Callable[[], Awaitable[Page]]
LogIn = Callable[..., Awaitable[None]]


def chromium() -> str | None:
    return os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    path = chromium()
    if path is None and os.environ.get("REQUIRE_BROWSER"):
        pytest.fail("REQUIRE_BROWSER is set and there is no Chromium: apt-get install chromium, or set CHROMIUM")
    if path is None:
        pytest.skip("there is no Chromium on this machine: apt-get install chromium, or set CHROMIUM to one")
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    async with async_playwright() as playwright:
        running = await playwright.chromium.launch(executable_path=path, args=arguments)
        yield running
        await running.close()


@pytest.fixture
async def open_page(browser: Browser) -> AsyncIterator[OpenPage]:
    """Opens a page with its own cookies. At the end, no page may have broken a script or the content policy."""
    expect.set_options(timeout=STEP_MILLISECONDS)
    problems: list[str] = []

    async def opened() -> Page:
        context = await browser.new_context(viewport={"width": 1280, "height": 900}, timezone_id="America/Toronto")
        page = await context.new_page()
        page.set_default_timeout(STEP_MILLISECONDS)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda line: problems.append(line.text) if "Content Security Policy" in line.text else None)
        return page

    yield opened
    assert problems == []


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
def log_in() -> LogIn:
    """Opens a page of a console and logs in through the development identity provider with two clicks."""

    async def come_in(page: Page, address: str, role: str = "operator") -> None:
        await page.goto(address)
        await page.get_by_role("link", name="Log in").click()
        await page.get_by_test_id(f"as-{role}").click()
        await page.wait_for_url(address)

    return come_in
