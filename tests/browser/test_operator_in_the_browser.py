"""The console shows an operator a fault; the operator corrects it and settles it there with a click."""

import re
import secrets
from datetime import UTC, datetime, timedelta

import pytest
from aiokafka import AIOKafkaProducer
from playwright.async_api import Page, expect

from chassis.testing import eventually
from demo_story.clients import Addresses, People
from demo_story.people_made_up import patient
from hl7v2.mllp import Client

pytestmark = [pytest.mark.browser, pytest.mark.stack]

BOOKED = (
    "MSH|^~\\&|RAMSOFT|FAC01|SUITE|NORTHSIDE|20261125093000-0500||SIU^S12|{id}|P|2.3.1\r"
    "SCH|P{id}^RAMSOFT|A{id}^RAMSOFT|||||CT-HEAD^CT Head^99STUDYTYPE||30|min|^^30^{start}-0500^{end}-0500"
    "||||||||||||||30^SCHEDULED^99PS\r"
    "PID|1|{id}^^^NORTHSIDE|{id}^^^NORTHSIDE||Roe^Jane||19800229|F|||||(416)555-0100^PRN^PH^jane@example.org\r"
    "PV1|1|O|RADIOLOGY^CT9^^FAC01\rRGS|1|A\rAIS|1|A|CT-HEAD^CT Head^99STUDYTYPE|{start}-0500|||30|min\r"
    "AIG|1|A|GHOST CT|CT\rAIL|1|A|RADIOLOGY^CT9^^FAC01\r"
)


def at(suite, http) -> People:
    return People(Addresses(*(suite.address(name) for name in ("powerserver", "omegaai", "mailsink"))), http)


async def console(log_in, page: Page, address: str) -> None:
    await log_in(page, f"{address}/console")
    await expect(page.locator("#live")).to_have_attribute("data-state", "on")


async def test_a_missing_setting_is_made_and_the_message_processed_again(suite, open_page, http, log_in) -> None:
    after = await at(suite, http).last_of_ledger(suite.address("omegaai"))
    number = f"9{secrets.randbelow(10**8):08}"
    start = (datetime.now(UTC) + timedelta(days=40 + secrets.randbelow(300))).replace(hour=15, minute=0)
    times = {"start": f"{start:%Y%m%d%H%M}00", "end": f"{start + timedelta(minutes=30):%Y%m%d%H%M}00"}
    sender = Client("127.0.0.1", suite.ports["scheduler-sync.mllp"])
    answer = await sender.send(BOOKED.format(id=number, **times).encode(), control_id=number)
    await sender.close()
    assert answer.code == "AE"
    assert "resource_aliases.FAC01" in answer.text

    page = await open_page()
    await console(log_in, page, suite.address("scheduler-sync"))
    row = page.locator("tr").filter(has_text=number)
    await expect(row).to_contain_text("resource 'GHOST CT' of FAC01 is not a HealthcareService")
    await expect(row).to_contain_text("resource_aliases.FAC01 in the site file")
    assert "Roe" not in await page.content()
    await row.get_by_role("button", name="Process again").click()
    await expect(page.get_by_role("alert")).to_contain_text("failed: resource 'GHOST CT'")  # nothing is corrected yet

    before = suite.site_file.read_text()
    suite.site_file.write_text(f"{before}\nresource_aliases:\n  FAC01:\n    GHOST CT: BLUME CT\n")
    try:

        async def processed() -> bool:
            """The file is checked once a second; until then the click reports again what is missing."""
            async with page.expect_navigation(url=re.compile(r"/console\?")):
                await row.get_by_role("button", name="Process again").click()
            return await page.get_by_role("status").filter(has_text="processed").is_visible()

        await eventually(processed)
        await expect(page.get_by_role("status").filter(has_text="processed")).to_be_visible()
        await expect(row).to_have_count(0)
        await expect(page.locator("[data-part=audit]")).to_contain_text("hl7.replay")

        people = at(suite, http)

        async def appointments() -> list[str]:
            rows = await people.whole_ledger(suite.address("omegaai"), after)
            created = [one["detail"] for one in rows if one["kind"] == "Appointment.created"]
            return [detail["status"] for detail in created if detail["placer_number"] == f"P{number}"]

        assert await eventually(appointments) == ["pending"]
    finally:
        suite.site_file.write_text(before)


async def test_a_mail_that_was_refused_is_sent_from_the_console_and_comes_once(suite, open_page, http, log_in) -> None:
    people = at(suite, http)
    who = patient(secrets.randbelow(10**6))
    mailsink = suite.address("mailsink")
    after = await people.last_of_ledger(mailsink)
    order = {"target": "smtp", "mode": "status", "status": 550, "count": 1}
    (await http.post(f"{mailsink}/control/misbehave", json=order)).raise_for_status()
    await people.book(who, (await people.free_slots(1))[0])

    page = await open_page()
    await console(log_in, page, suite.address("notifier"))
    row = page.locator("tr").filter(has_text="please-confirm").filter(has_text="dead")
    await expect(row).to_contain_text("answered DATA with 550")
    assert who["email"] not in await page.content()
    give_up = row.locator("summary").filter(has_text="Give up")
    never = row.get_by_role("button", name="Never send it")
    await give_up.focus()
    await page.keyboard.press("Enter")
    await expect(never).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(never).to_be_hidden()
    await expect(give_up).to_be_focused()
    await row.get_by_role("button", name="Send now").click()
    await expect(page.get_by_role("status").filter(has_text="is sent now")).to_be_visible()
    await expect(row).to_have_count(0)  # without a reload

    inbox = await open_page()
    await inbox.goto(f"{mailsink}/?to={who['email']}")
    await expect(inbox.get_by_role("link").filter(has_text=re.compile("confirm", re.IGNORECASE))).to_have_count(1)
    received = [one for one in await people.whole_ledger(mailsink, after) if one["kind"] == "mail.received"]
    assert len([one for one in received if who["email"] in one["detail"]["to"]]) == 1


async def test_poison_is_shown_handled_again_and_given_up(suite, open_page, log_in) -> None:
    kafka = suite.environment.get("KAFKA_BOOTSTRAP_SERVERS", f"127.0.0.1:{suite.ports['kafka']}")
    producer = AIOKafkaProducer(bootstrap_servers=kafka)
    await producer.start()
    await producer.send_and_wait("appointment.scheduled", b"Roe^Jane is no JSON", key=b"no-uuid")
    await producer.stop()

    page = await open_page()
    await console(log_in, page, suite.address("notifier"))
    row = page.locator("tr").filter(has_text="Invalid JSON")
    await expect(row).to_have_count(1)
    assert "Roe" not in await page.content()
    first = await row.locator("code").inner_text()
    await row.get_by_role("button", name="Handle again").click()
    await expect(page.get_by_role("status").filter(has_text="is handled again")).to_be_visible()
    await expect(row.locator("code")).not_to_have_text(first)  # it is still unreadable: a new dead letter
    await row.get_by_text("Give up …").click()
    await row.get_by_role("button", name="Never handle it").click()
    await expect(page.get_by_role("status").filter(has_text="is given up")).to_be_visible()
    await expect(row).to_have_count(0)
    await expect(page.locator("[data-part=audit]")).to_contain_text("dead-letter.drop")
