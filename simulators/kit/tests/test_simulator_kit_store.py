"""The store: what is written is on disk before it is answered, and a refused write takes no other down."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from simulator_kit import ledger
from simulator_kit.feature import Feature, open_store
from simulator_kit.store import Store, Work

TABLES = "CREATE TABLE IF NOT EXISTS thing (name TEXT PRIMARY KEY) STRICT;"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await Store.open(tmp_path / "folder" / "store.sqlite3", [TABLES])
    yield opened
    await opened.close()


def put(name: str):
    def change(work: Work) -> int:
        work.run("INSERT INTO thing VALUES (?)", name)
        work.record("effect", "thing.made", name, {"name": name})
        work.notice("thing", name=name)
        return work.next_number("thing")

    return change


async def test_a_write_is_on_disk_when_it_is_answered(store: Store, tmp_path: Path) -> None:
    assert await store.write(put("a")) == 1
    file = sqlite3.connect(tmp_path / "folder" / "store.sqlite3")
    assert file.execute("SELECT name FROM thing").fetchall() == [("a",)]
    assert file.execute("SELECT subject FROM ledger").fetchall() == [("a",)]
    file.close()


async def test_a_refused_write_leaves_nothing_and_takes_no_other_down(store: Store) -> None:
    heard: list[str] = []
    store.listeners.append(lambda notices: heard.extend(notice["name"] for notice in notices))
    answers = await asyncio.gather(*(store.write(put(name)) for name in "abab"), return_exceptions=True)
    assert [answer for answer in answers if isinstance(answer, int)] == [1, 2]
    assert [type(answer) for answer in answers if not isinstance(answer, int)] == [sqlite3.IntegrityError] * 2
    assert heard == ["a", "b"]
    rows = (await store.read(lambda work: ledger.rows(work, after=0, limit=10, filters={})))["rows"]
    assert [row["subject"] for row in rows] == ["a", "b"]


async def test_a_question_cannot_write(store: Store) -> None:
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        await store.read(put("a"))


async def test_the_ledger_is_append_only_and_finds_by_kind_and_subject(store: Store) -> None:
    for name in "abc":
        await store.write(put(name))
    found = await store.read(lambda work: ledger.rows(work, after=1, limit=10, filters={"subject": "b"}))
    assert [(row["seq"], row["detail"]) for row in found["rows"]] == [(2, {"name": "b"})]
    assert found["last"] == 3
    for statement in ("DELETE FROM ledger", "UPDATE ledger SET subject = ''"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            await store.write(lambda work, text=statement: work.run(text))


async def test_what_is_queued_at_the_end_is_kept(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "store.sqlite3", [TABLES])
    for number in range(600):
        store.post(put(str(number)))
    await store.close()
    store = await Store.open(tmp_path / "store.sqlite3", [TABLES])
    assert (await store.read(lambda work: work.one("SELECT count(*) AS n FROM thing")))["n"] == 600
    await store.close()


async def test_hooks_run_in_the_transaction_of_the_change(tmp_path: Path) -> None:
    def follow(work: Work, name: str) -> None:
        work.run("INSERT INTO follower VALUES (?)", name)
        if name == "b":
            raise ValueError(name)

    (tmp_path / "follower").mkdir()
    (tmp_path / "follower" / "tables.sql").write_text("CREATE TABLE IF NOT EXISTS follower (name TEXT) STRICT;")
    store = await open_store(tmp_path / "store.sqlite3", [Feature(tmp_path / "follower", hooks={"thing": follow})])
    await store.write(lambda work: work.changed("thing", "a"))
    with pytest.raises(ValueError, match="b"):
        await store.write(lambda work: work.changed("thing", "b"))
    await store.write(lambda work: work.changed("nobody cares", "c"))
    assert [row["name"] for row in await store.read(lambda work: work.all("SELECT name FROM follower"))] == ["a"]
    await store.close()


async def test_a_column_that_an_older_store_lacks_is_added_once(store: Store) -> None:
    await store.write(put("a"))

    def prepare(work: Work) -> None:
        work.add_column("thing", "size", "INTEGER NOT NULL DEFAULT 2")
        work.add_column("thing", "area", "INTEGER GENERATED ALWAYS AS (size * size)")

    for _ in range(2):
        await store.write(prepare)
    row = await store.read(lambda work: work.one("SELECT * FROM thing"))
    assert row is not None
    assert dict(row) == {"name": "a", "size": 2, "area": 4}
