"""A person logs in to a console with two clicks, is named on every page, and logs out with one click."""

import pytest
from playwright.async_api import expect

pytestmark = [pytest.mark.browser, pytest.mark.stack]
ACT = "{address}/console/dead-letters/00000000-0000-0000-0000-000000000000/replay"


@pytest.mark.parametrize(("role", "name"), [("viewer", "vera"), ("operator", "olga")])
async def test_two_clicks_come_in_and_one_goes(suite, open_page, log_in, role, name) -> None:
    page = await open_page()
    address = suite.address("notifier")
    await log_in(page, f"{address}/messages", role)
    await expect(page.locator("header")).to_contain_text(f"{name} · {role}")
    cookies = {one["name"]: one for one in await page.context.cookies()}
    session = cookies["session-notifier"]
    assert (session["httpOnly"], session["sameSite"]) == (True, "Lax")
    assert "login-notifier" not in cookies

    await page.goto(f"{address}/console")
    await expect(page.locator("#live")).to_have_attribute("data-state", "on")
    post = "async url => (await fetch(url, {method: 'POST'})).status"
    status = await page.evaluate(post, ACT.format(address=address))
    assert (status == 403) is (role == "viewer")

    await page.get_by_role("button", name="Log out").click()
    await page.wait_for_url(f"{address}/logged-out")
    await expect(page.get_by_role("heading", name="You are logged out")).to_be_visible()
    await page.go_back()
    await page.goto(f"{address}/console")
    await expect(page.get_by_role("link", name="Log in")).to_be_visible()
    # A copy of the session's cookie is no longer valid.
    await page.context.add_cookies([session])
    await page.goto(f"{address}/console")
    await expect(page.get_by_role("link", name="Log in")).to_be_visible()


async def test_somebody_without_a_role_is_told_so_in_one_line(suite, open_page, log_in) -> None:
    page = await open_page()
    address = suite.address("notifier")
    await page.goto(f"{address}/console")
    await page.get_by_role("link", name="Log in").click()
    await page.get_by_test_id("as-none").click()
    await expect(page.get_by_role("alert")).to_contain_text("says nothing in the claim roles")
    await page.goto(f"{address}/console")
    await expect(page.get_by_role("link", name="Log in")).to_be_visible()
