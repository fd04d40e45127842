"""What browser tests ask of every page: reached by keyboard, named, in order, no wider than the window."""

import pytest
from playwright.async_api import Locator, Page

MOST_TABS = 150
FAULTS = """() => {
  const faults = [];
  const named = (one) => one.labels?.length || one.getAttribute('aria-label') || one.getAttribute('aria-labelledby')
    || one.textContent.trim();
  document.querySelectorAll('input:not([type=hidden]), select, textarea, button, a[href]').forEach((one) => {
    if (!named(one)) faults.push('no name: ' + one.outerHTML);
  });
  const ids = [...document.querySelectorAll('[id]')].map((one) => one.id);
  ids.filter((id, at) => ids.indexOf(id) !== at).forEach((id) => faults.push('id twice: ' + id));
  document.querySelectorAll('[aria-labelledby]').forEach((one) => {
    const label = document.getElementById(one.getAttribute('aria-labelledby'));
    if (!label) faults.push('labelled by nothing: ' + one.outerHTML);
  });
  document.querySelectorAll('th:not([scope])').forEach((one) => faults.push('no scope: ' + one.outerHTML));
  const levels = [...document.querySelectorAll('h1, h2, h3')].map((one) => Number(one.tagName[1]));
  if (levels.filter((one) => one === 1).length !== 1) faults.push('headings: ' + levels);
  levels.forEach((one, at) => { if (at && one > levels[at - 1] + 1) faults.push('heading left out: ' + levels); });
  if (document.documentElement.scrollWidth > window.innerWidth) faults.push('wider than the window');
  return faults;
}"""


async def reach(page: Page, wanted: Locator) -> None:
    """Tab until ``wanted`` has the focus, as a person without a mouse does."""
    await wanted.first.wait_for()
    for _ in range(MOST_TABS):
        if await wanted.first.evaluate("one => one === document.activeElement"):
            return
        await page.keyboard.press("Tab")
    pytest.fail(f"{wanted} is not reached with the keyboard")


async def press(page: Page, wanted: Locator) -> None:
    """Reach it with the keyboard, and press Enter."""
    await reach(page, wanted)
    await page.keyboard.press("Enter")


async def sound(page: Page) -> None:
    assert await page.evaluate(FAULTS) == []
