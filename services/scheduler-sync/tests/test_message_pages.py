"""Messages on pages: outcomes for viewers, contents for operators with an audit of each look, replay and edit."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html import unescape
from uuid import UUID

import httpx
import pytest
from pydantic import SecretStr
from sync_harness import listening, send
from sync_samples import siu

from chassis.settings import HttpSettings
from chassis.web.guard import Guard
from hl7v2.mllp import Client
from scheduler_sync.bootstrap import Core
from scheduler_sync.store.message_details import MessageDetails
from scheduler_sync.web.building import message_pages

pytestmark = pytest.mark.stack
PEOPLE = "olga:operator:olga's words\nvera:viewer:vera's words"
OLGA, VERA = ("olga", "olga's words"), ("vera", "vera's words")
GHOST = siu(placer="P7", control_id="G7", resource="GHOST CT")


class Desk:
    """The pages of a listening service, as a person sees them."""

    def __init__(self, core: Core, line: Client, browser: httpx.AsyncClient) -> None:
        self.core, self.line, self._browser = core, line, browser

    async def get(self, path: str, who: tuple[str, str] = OLGA) -> httpx.Response:
        return await self._browser.get(path, auth=who)

    async def post(self, path: str, who: tuple[str, str] = OLGA, **form: str) -> httpx.Response:
        """The answer itself: redirects are looked at, not followed."""
        return await self._browser.post(path, data=form, auth=who, headers={"Sec-Fetch-Site": "same-origin"})

    async def waiting(self) -> UUID:
        """A message that names a resource that nobody has."""
        assert (await send(self.line, GHOST)).code == "AE"
        found: UUID = await self.core.store.pool.fetchval("SELECT id FROM hl7_journal WHERE control_id = 'G7'")
        return found

    async def audit(self) -> list[tuple[str, str]]:
        rows = await self.core.store.pool.fetch("SELECT actor, action FROM operator_audit ORDER BY id")
        return [(row["actor"], row["action"]) for row in rows]

    async def states(self) -> dict[UUID, str]:
        return {
            row["id"]: row["state"] for row in await self.core.store.pool.fetch("SELECT id, state FROM hl7_journal")
        }


@asynccontextmanager
async def desk_on(url: str) -> AsyncIterator[Desk]:
    async with listening(url) as (core, line):
        pages = message_pages(core.store, core.site, core.directory, core.listener.executor)
        app = Guard(pages.routes(), HttpSettings(people=SecretStr(PEOPLE)))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as browser:
            yield Desk(core, line, browser)


async def test_what_is_searched_for_stands_in_no_address(migrated_url: str):
    async with desk_on(migrated_url) as desk:
        message_id = await desk.waiting()
        found = await desk.post("/messages/search", VERA, patient="4711", since="2h", kind="hl7-in")
        assert found.status_code == 303
        address = found.headers["location"]
        assert "4711" not in address
        UUID(address.rpartition("/")[2])
        page = await desk.get(address, VERA)
        assert f"/messages/in/{message_id}" in page.text
        assert 'value="4711"' in page.text
        assert "Roe" not in page.text
        assert (await desk.get(address, OLGA)).status_code == 404  # another person's
        assert 'value="4711"' not in (await desk.get(address, OLGA)).text
        nothing = await desk.post("/messages/search", VERA, patient="4712")
        assert "No message fits the search" in (await desk.get(nothing.headers["location"], VERA)).text
        kept = await desk.core.store.pool.fetchval("SELECT wanted FROM message_searches ORDER BY made_at LIMIT 1")
        assert "2h" not in kept  # a fixed time: the pages of one search agree


INVALID = [
    ({"since": "yesterday"}, "That is no time"),
    ({"kind": "mail"}, "Choose a kind"),
    ({"order": "x" * 201}, "longer than 200"),
    ({"order": "a\x00b"}, "not allowed"),
    ({"patient": "x" * 5000}, "too long"),
]
NO_PLACES = [
    "x", "[]", "1", '["2026-11-30T12:00:00Z", "task", "99999999999999999999"]', '["2026-11-30T12:00:00Z", [], "1"]',
    '["2026-11-30T12:00:00Z", "parked-task", "a\\u0000"]', '["2026-11-30T12:00:00Z", "parked-task", "\\ud800"]',
    '["9999-12-31T23:59:59.999999-14:00", "hl7-in", "00000000-0000-0000-0000-000000000000"]',
    '["0001-01-01T00:00:00+14:00", "hl7-in", "00000000-0000-0000-0000-000000000000"]',
    '["2026-11-30T12:00:00Z", "fhir", 5]', '["2026-11-30T12:00:00", "task", "1"]',
    '["2026-11-30T12:00:00Z", "task", "x"]', "[" * 9999,
]  # fmt: skip


async def test_what_is_not_valid_is_answered_and_not_kept(migrated_url: str):
    async with desk_on(migrated_url) as desk:
        for form, words in INVALID:
            page = await desk.post("/messages/search", **form)
            assert (page.status_code, words in page.text) == (400, True), form
        assert await desk.core.store.pool.fetchval("SELECT count(*) FROM message_searches") == 0
        message_id = await desk.waiting()
        for place in NO_PLACES:
            for name in ("older", "newer"):
                page = await desk.get(str(httpx.URL("/messages", params={name: place})))
                assert f"/messages/in/{message_id}" in page.text, place


async def test_a_viewer_sees_the_outcome_and_an_operators_every_look_is_audited(migrated_url: str):
    async with desk_on(migrated_url) as desk:
        message_id = await desk.waiting()
        page = await desk.get(f"/messages/in/{message_id}", VERA)
        assert page.status_code == 200
        assert "needs setup" in page.text
        assert "resource_aliases.FAC01" in page.text
        assert "Roe" not in page.text
        for path, method in (("content", desk.get), ("replay", desk.post), ("edit", desk.post)):
            assert (await method(f"/messages/in/{message_id}/{path}", VERA)).status_code == 403
        assert await desk.audit() == []
        for looks in (1, 2):
            page = await desk.get(f"/messages/in/{message_id}/content")
            assert "PID|1|4711^^^NORTHSIDE" in unescape(page.text)
            assert "Fields read" in page.text  # the explanation
            assert "GHOST CT" in page.text
            assert await desk.audit() == [("olga", "hl7.show")] * looks
            assert "data-events" not in page.text  # a page that redraws itself would look again and again


async def test_what_was_sent_is_shown_with_its_content_to_operators(migrated_url: str):
    async with desk_on(migrated_url) as desk:
        assert (await send(desk.line, siu())).code == "AA"
        rows = await desk.core.store.pool.fetch("SELECT id, kind FROM deliveries")
        link = await desk.core.store.pool.fetchval("SELECT id FROM appointment_links")
        journal = await desk.core.store.pool.fetchval("SELECT id FROM hl7_journal")
        page = (await desk.get(f"/messages/in/{journal}", VERA)).text
        assert f"/links/{link}" in page
        for row in rows:
            assert f"/messages/out/{row['id']}" in page
            shown = await desk.get(f"/messages/out/{row['id']}", VERA)
            assert (shown.status_code, "Roe" in shown.text) == (200, False)
            assert (await desk.get(f"/messages/out/{row['id']}/content", VERA)).status_code == 403
        of_patient = next(row["id"] for row in rows if row["kind"].startswith("patient"))
        assert "Roe" in (await desk.get(f"/messages/out/{of_patient}/content")).text
        assert await desk.audit() == [("olga", "delivery.show")]


async def test_a_message_is_processed_again_from_its_page(migrated_url: str):
    async with desk_on(migrated_url) as desk:
        message_id = await desk.waiting()
        again = await desk.post(f"/messages/in/{message_id}/replay")
        page = unescape((await desk.get(again.headers["location"])).text)
        assert f"Message {message_id}: failed: resource 'GHOST CT'" in page
        assert ("olga", "hl7.replay") in await desk.audit()


async def test_an_edited_message_has_its_effect_once_beside_the_one_that_came(migrated_url: str):
    async with desk_on(migrated_url) as desk:
        message_id = await desk.waiting()
        text = GHOST.decode().replace("\r", "\r\n")
        unchanged = await desk.post(f"/messages/in/{message_id}/edit", text=text)
        assert (unchanged.status_code, "unchanged" in unchanged.text) == (400, True)
        broken = await desk.post(f"/messages/in/{message_id}/edit", text="hello")
        assert broken.status_code == 400
        assert "hello</textarea>" in broken.text  # a person's work is not lost
        assert await desk.states() == {message_id: "needs_setup"}

        still_wrong = await desk.post(f"/messages/in/{message_id}/edit", text=text.replace("GHOST CT", "GHOST 2"))
        assert "failed: resource" in unescape((await desk.get(still_wrong.headers["location"])).text)
        assert (await desk.states())[message_id] == "needs_setup"
        mended = await desk.post(f"/messages/in/{message_id}/edit", text=text.replace("GHOST CT", "BLUME CT"))
        page = (await desk.get(mended.headers["location"])).text
        assert f"The edited copy of message {message_id}: processed." in page
        assert page.count("a copy that a person edited") == 2
        states = await desk.states()
        assert states[message_id] == "dropped"
        assert sorted(states.values()) == ["accepted", "dropped", "needs_setup"]
        raw = await desk.core.store.pool.fetchval("SELECT raw FROM hl7_journal WHERE id = $1", message_id)
        assert raw == GHOST
        edited = await desk.core.store.pool.fetchval("SELECT raw FROM hl7_journal WHERE state = 'accepted'")
        assert edited == GHOST.replace(b"GHOST CT", b"BLUME CT")
        audit = await desk.core.store.pool.fetch("SELECT detail FROM operator_audit WHERE action = 'hl7.edit'")
        assert [("begun" in row["detail"], "Roe" in row["detail"]) for row in audit] == [
            (one, False) for one in (True, False) * 2
        ]

        for _ in range(2):  # the sender repeats the message: nobody's effect comes twice
            assert (await send(desk.line, GHOST)).code == "AA"
        late = await desk.post(f"/messages/in/{message_id}/edit", text=text.replace("GHOST CT", "BLUME MR"))
        assert "does not wait" in (await desk.get(late.headers["location"])).text
        assert await desk.core.store.pool.fetchval("SELECT count(*) FROM appointment_links") == 1
        assert await desk.core.store.pool.fetchval("SELECT count(*) FROM link_history") == 1


async def test_a_text_outside_the_messages_character_set_is_refused(migrated_url: str):
    async with desk_on(migrated_url) as desk:
        latin = GHOST.replace(b"UNICODE UTF-8", b"8859/1").replace(b"Roe", "Röe".encode("latin-1"))
        assert (await send(desk.line, latin)).code == "AE"
        message_id = await desk.core.store.pool.fetchval("SELECT id FROM hl7_journal")
        assert "Röe" in (await desk.get(f"/messages/in/{message_id}/content")).text
        text = latin.decode("latin-1").replace("GHOST CT", "BLUME CT")
        refused = await desk.post(f"/messages/in/{message_id}/edit", text=text.replace("Röe", "Ωmega"))
        assert (refused.status_code, "character set" in refused.text) == (400, True)
        await desk.post(f"/messages/in/{message_id}/edit", text=text)
        kept = await desk.core.store.pool.fetchval("SELECT raw FROM hl7_journal WHERE state = 'accepted'")
        assert kept == latin.replace(b"GHOST CT", b"BLUME CT")


async def test_the_list_is_drawn_anew_when_a_message_comes_or_is_settled(migrated_url: str):
    async with desk_on(migrated_url) as desk:
        details = MessageDetails(desk.core.store)
        seen = [await details.version()]
        await desk.waiting()
        seen.append(await details.version())
        assert (await send(desk.line, siu())).code == "AA"
        seen.append(await details.version())
        await desk.core.store.pool.execute("UPDATE deliveries SET state = 'done', done_at = now()")
        seen.append(await details.version())
        assert len(set(seen)) == 4
        assert await details.version() == seen[-1]
