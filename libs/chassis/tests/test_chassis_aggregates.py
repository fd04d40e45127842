"""What repositories share: going back to a mark, and statements that write many rows."""

from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chassis.store.aggregates import Undoable, insert_many, lists_of, upsert_many
from chassis.store.names import CHASSIS, UnknownNameError

KEYS = st.sampled_from("abcd")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("load"), KEYS, st.integers()),
        st.tuples(st.just("put"), KEYS, st.integers()),
        st.tuples(st.just("mark"), st.none(), st.none()),
        st.tuples(st.just("back"), st.integers(0, 9), st.none()),
    ),
    max_size=40,
)


@settings(max_examples=300, deadline=None)
@given(STEPS)
def test_a_rollback_leaves_what_was_there_at_the_mark(steps: list[tuple[str, Any, Any]]) -> None:
    """Against whole copies. What was loaded since stays: it is the store's, whatever failed."""
    rows: Undoable[str, int] = Undoable()
    changed: dict[str, int] = {}
    loaded: dict[str, int] = {}
    marks: list[tuple[int, dict[str, int]]] = []
    for step, key, value in steps:
        if step == "load":
            if rows.get(key) is None:
                loaded[key] = value
            rows.load(key, value)
        elif step == "put":
            rows.put(key, value)
            changed[key] = value
        elif step == "mark":
            marks.append((rows.mark(), dict(changed)))
        elif marks:
            del marks[min(key, len(marks) - 1) + 1 :]
            mark, before = marks[-1]
            was = set(rows.now)
            gone = rows.rollback_to(mark)
            changed = dict(before)
            assert set(gone) == was - set(rows.now)
        assert rows.now == {**loaded, **changed}
    assert {key: rows.get(key) for key in changed} == changed
    assert sorted(rows.take_changed()) == sorted(changed.values())
    assert rows.take_changed() == []


def test_what_is_written_first_comes_first() -> None:
    rows: Undoable[str, int] = Undoable()
    for key, value in (("b", 1), ("a", 2), ("b", 3)):
        rows.put(key, value)
    assert rows.take_changed() == [3, 2]


def test_a_column_that_the_model_does_not_have_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="Inbox has no column of_old"):
        insert_many(CHASSIS.Inbox, {"consumer": "text", "of_old": "uuid"})
    with pytest.raises(UnknownNameError, match="Inbox has no column of_old"):
        upsert_many(CHASSIS.Inbox, {"consumer": "text"}, key="of_old")
    with pytest.raises(UnknownNameError, match="no model Inboxes"):
        _ = CHASSIS.Inboxes


@pytest.mark.stack
async def test_many_rows_are_inserted_and_changed_by_one_statement(store) -> None:
    bugs = CHASSIS.DeliveryBugs
    types = {bugs.destination: "text", bugs.in_a_row: "int", bugs.reason: "text"}
    upsert = upsert_many(bugs, types, key=bugs.destination, kept=[bugs.reason], extra=f"{bugs.at} = 'epoch'")
    await store.pool.execute(insert_many(bugs, types), *lists_of([("one", 1, "first"), ("two", 2, "first")]))
    await store.pool.execute(upsert, *lists_of([("two", 3, "second"), ("three", 4, "second")]))
    found = await store.pool.fetch(f"SELECT destination, in_a_row, reason, at = 'epoch' FROM {bugs} ORDER BY in_a_row")
    assert [tuple(row) for row in found] == [
        ("one", 1, "first", False), ("two", 3, "first", True), ("three", 4, "second", False),
    ]  # fmt: skip


@pytest.mark.stack
async def test_lists_of_different_lengths_and_json_travel_whole(store) -> None:
    await store.pool.execute("CREATE TABLE operator_audit_of_lists (id uuid, marks text[], shown jsonb)")

    class Lists:
        id, marks, shown = "id", "marks", "shown"

        def __str__(self) -> str:
            return "operator_audit_of_lists"

    types = {"id": "uuid", "marks": "text", "shown": "jsonb"}
    rows = [(UUID(int=1), '["a", "b"]', '{"x": 1}'), (UUID(int=2), "[]", "null")]
    statement = insert_many(Lists(), types, arrays={"marks": "text"})  # type: ignore[arg-type]
    await store.pool.execute(statement, *lists_of(rows))
    found = await store.pool.fetch("SELECT marks, shown FROM operator_audit_of_lists ORDER BY id")
    assert [tuple(row) for row in found] == [(["a", "b"], '{"x": 1}'), ([], "null")]
