"""All dead deliveries to a partner again: counted first, one audited act, in order, by command line and console."""

import asyncio
import json
import re
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest
from test_chassis_cli import CommandLine, operator
from test_chassis_console import OURS, client, state_of
from test_chassis_deliveries import Partner, all_are, stage, working

from chassis import deliveries
from chassis.deliveries import Selection, retry_selected

__all__ = ["operator"]  # a fixture
pytestmark = pytest.mark.stack


async def dead(store, *, destination: str = "partner", reason: str = "OmegaAI answered 403", hours: float = 1,
               key: UUID | None = None, payload: bytes = b"1") -> UUID:  # fmt: skip
    """One that died so many hours ago."""
    await stage(store, (key or uuid4(), payload), destination=destination)
    return await store.pool.fetchval(
        "UPDATE deliveries SET state = 'dead', last_error = $1, attempts = 1,"
        " done_at = clock_timestamp() - $2 * interval '1 hour'"
        " WHERE sequence = (SELECT max(sequence) FROM deliveries) RETURNING id",
        reason, hours,
    )  # fmt: skip


async def pending(store) -> list[UUID]:
    rows = await store.pool.fetch("SELECT id FROM deliveries WHERE state = 'pending' ORDER BY sequence")
    return [row["id"] for row in rows]


async def audit(store) -> list[tuple[str, str, str, dict[str, object]]]:
    rows = await store.pool.fetch("SELECT actor, action, subject, detail FROM operator_audit ORDER BY id")
    return [(row["actor"], row["action"], row["subject"], json.loads(row["detail"])) for row in rows]


async def test_all_dead_ones_of_one_destination_go_again_and_nothing_else(store, operator: CommandLine) -> None:
    wanted = [await dead(store) for _ in range(3)]
    other = await dead(store, destination="other")
    keys = await store.pool.fetch("SELECT id, idempotency_key, sequence FROM deliveries ORDER BY id")
    code, lines = await operator("deliveries", "retry", "--all", "--destination", "partner", "--yes")
    assert code == 0
    assert lines[0].startswith("3 dead deliveries to partner, that died from 20")
    assert lines[-1] == "3 deliveries to partner are sent again"
    assert await pending(store) == wanted
    assert await state_of(store, "deliveries", other) == "dead"
    assert await store.pool.fetch("SELECT id, idempotency_key, sequence FROM deliveries ORDER BY id") == keys
    ((actor, action, subject, detail),) = await audit(store)
    assert (actor, action, subject, detail["number"]) == ("ops", "delivery.retry-all", "partner", 3)
    code, lines = await operator("deliveries", "retry", "--all", "--destination", "partner", "--yes")
    assert (code, lines) == (0, ["0 dead deliveries to partner: nothing to send again"])
    assert len(await audit(store)) == 1


async def test_since_and_reason_choose(store, operator: CommandLine) -> None:
    old = await dead(store, hours=30)
    refused = await dead(store, reason="OmegaAI answered 422: Appointment.start")
    fits = await dead(store, reason="OmegaAI answered 403: the client has no scope")
    code, lines = await operator(
        "deliveries", "retry", "--all", "--destination", "partner", "--since", "2h", "--reason", "NO scope", "--yes"
    )
    assert (code, lines[-1]) == (0, "1 delivery to partner is sent again")
    assert await pending(store) == [fits]
    at = await store.pool.fetchval("SELECT done_at - interval '1 second' FROM deliveries WHERE id = $1", refused)
    arguments = ("deliveries", "retry", "--all", "--destination", "partner", "--since", at.isoformat())
    assert (await operator(*arguments))[0] == 0, "one needs no question"
    assert await pending(store) == [refused, fits]
    assert await state_of(store, "deliveries", old) == "dead"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "name one delivery, or --all with --destination"),
        (("--all",), "--all needs --destination: this service delivers to partner"),
        (("--all", "--destination", "omegaia"), "no destination 'omegaia': this service delivers to partner"),
        (("--all", "--destination", "partner", "--since", "yesterday"), "--since: 'yesterday' is no time: write 2h"),
        (("--all", "--destination", "partner", "--since", "999999d"), "--since: '999999d' is no time"),
        (("--all", "--destination", "partner", "--since", "9999-01-01"), "--since: 9999-01-01 is still to come"),
        (("--all", "--destination", "partner", "--since", "0001-01-01T00:00+23:00"), "is no time"),
        (("--all", "--destination", "partner", "--reason", " "), "--reason is empty"),
        (("--all", "--destination", "partner", str(UUID(int=7))), "not both"),
        ((str(UUID(int=7)), "--destination", "partner"), "--destination goes with --all"),
        (("--all", "--destination", "partner"), "say --yes to send 2 again: there is no terminal"),
    ],
)
async def test_what_means_nothing_is_refused_in_one_line_and_changes_nothing(store, operator, words, said) -> None:
    await dead(store)
    await dead(store)
    code, _ = await operator("deliveries", "retry", *words)
    assert code == 2
    assert said in operator.errors
    assert len(operator.errors.splitlines()) == 1
    assert await pending(store) == []
    assert await audit(store) == []


@pytest.mark.parametrize("case", [("y", 0, 2), ("", 1, 0), ("n", 1, 0)])
async def test_at_a_terminal_it_asks(store, operator, monkeypatch, case) -> None:
    answer, code, number = case
    await dead(store)
    await dead(store)
    asked = []
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda words: asked.append(words) or answer)
    assert (await operator("deliveries", "retry", "--all", "--destination", "partner"))[0] == code
    assert asked == ["send these 2 again? [y/N] "]
    assert len(await pending(store)) == number


async def test_many_say_how_far_they_are_and_are_one_act(store, operator) -> None:
    await store.pool.execute(
        "INSERT INTO deliveries (id, destination, key, kind, payload, idempotency_key, state, done_at)"
        " SELECT gen_random_uuid(), 'partner', gen_random_uuid(), 'k', '', n, 'dead', clock_timestamp()"
        " FROM generate_series(1, 2500) AS n"
    )
    code, lines = await operator("deliveries", "retry", "--all", "--destination", "partner", "--yes")
    assert code == 0
    assert lines[1:] == ["1000 …", "2000 …", "2500 …", "2500 deliveries to partner are sent again"]
    assert [detail["number"] for _, _, _, detail in await audit(store)] == [2500]


async def test_what_died_after_the_look_is_not_sent_again(store) -> None:
    await dead(store, hours=2)
    until = (await deliveries.count_dead(store, Selection("partner"))).now
    later = await dead(store, hours=-1)
    assert await retry_selected(store, Selection("partner", until=until), actor="ops") == 1
    assert await state_of(store, "deliveries", later) == "dead"


async def test_those_sent_again_go_before_later_ones_of_their_key_that_still_wait(store) -> None:
    key = uuid4()
    await dead(store, key=key, payload=b"1")
    await dead(store, key=key, payload=b"2")
    await stage(store, (key, b"3"), (key, b"4"))
    partner = Partner()
    partner.hangs.clear()
    await retry_selected(store, Selection("partner"), actor="ops")
    partner.hangs.set()
    async with working(store, partner):
        await all_are(store, "done")
    assert [payload for _, payload in partner.taken] == [b"1", b"2", b"3", b"4"]


async def test_steps_of_one_act_are_seen_at_once(store, database_url, monkeypatch) -> None:
    """Were the first step seen alone, a later delivery of a key could pass an earlier one of the second step."""
    monkeypatch.setattr("chassis.deliveries.operate.ROWS_A_STEP", 2)
    for _ in range(5):
        await dead(store)
    seen: list[int] = []

    async def look() -> int:
        connection = await asyncpg.connect(database_url)
        try:
            return int(await connection.fetchval("SELECT count(*) FROM deliveries WHERE state = 'pending'"))
        finally:
            await connection.close()

    with ThreadPoolExecutor() as others:

        def told(_number: int) -> None:
            seen.append(others.submit(asyncio.run, look()).result())  # while the act stands still

        assert await retry_selected(store, Selection("partner"), actor="ops", told=told) == 5
    assert seen == [0, 0, 0]
    assert len(await pending(store)) == 5


async def test_the_console_shows_what_it_would_do_and_does_that(store) -> None:
    old, fits = await dead(store, hours=30), await dead(store, reason="OmegaAI answered 403: no scope")
    await dead(store, reason="OmegaAI answered 422")
    async with client(store) as browser:
        browser.headers.update(OURS)
        page = (await browser.get("/console")).text
        assert 'href="/console/deliveries?destination=partner"' in page
        page = (await browser.get("/console/deliveries")).text
        assert "Choose a destination" in page
        assert "<form" in page
        page = (await browser.get("/console/deliveries?destination=partner&reason=no+scope&since=2h")).text
        assert "1 dead delivery to partner" in page
        assert str(fits) in page
        assert str(old) not in page
        form = fields(page)
        assert (form["destination"], form["reason"]) == ("partner", "no scope")
        later = await dead(store, reason="OmegaAI answered 403: no scope", hours=-1)
        answer = await browser.post("/console/deliveries/retry", data=form)
        assert answer.status_code == 303
        page = (await browser.get(answer.headers["location"])).text
        assert "1 delivery to partner is sent again." in page
        await store.pool.execute("DELETE FROM operator_audit")
        page = (await browser.get(answer.headers["location"] + "&said=Call+us&refused=Call+us")).text
        assert "sent again." not in page
        assert "Call us" not in page
        await store.pool.execute("INSERT INTO operator_audit (actor, action, subject, detail) VALUES "
                                 "('console', 'delivery.retry-all', 'partner', '{}')")  # fmt: skip
    assert await pending(store) == [fits]
    assert await state_of(store, "deliveries", later) == "dead"
    ((actor, action, subject, _),) = await audit(store)
    assert (actor, action, subject) == ("console", "delivery.retry-all", "partner")


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("destination=omegaia", "That is no destination of this service. It delivers to partner"),
        ("destination=partner&since=yesterday", "That is no time"),
        ("destination=partner&since=%00", "That is no time"),
    ],
)
async def test_the_console_says_what_it_does_not_understand(store, query, said) -> None:
    await dead(store)
    async with client(store) as browser:
        browser.headers.update(OURS)
        answer = await browser.get(f"/console/deliveries?{query}")
        assert answer.status_code == 400
        assert said in answer.text
        assert "Send" not in answer.text
        answer = await browser.post("/console/deliveries/retry", data=dict(httpx.QueryParams(query)))
        assert said in answer.text
    assert answer.status_code == 400
    assert await pending(store) == []


def fields(page: str) -> dict[str, str]:
    """The hidden fields of the form that acts."""
    form = page[page.index('action="/console/deliveries/retry"') :]
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', form[: form.index("</form>")]))
