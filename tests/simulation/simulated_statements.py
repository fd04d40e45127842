"""The effect of each statement of the chassis, in Python.

The texts come from the chassis, so that a statement changed there without its counterpart here fails in the comparison
with Postgres.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import asyncpg
from simulated_postgres import Row, Session, Statement

from chassis.deliveries import statements as lines
from chassis.messaging import outbox
from chassis.messaging import statements as messaging_sql
from chassis.store import exclusive, transaction
from chassis.store import statements as store_sql
from chassis.timers import statements as timers

LOAD_THINGS = "SELECT id, applied FROM things WHERE id = ANY($1) ORDER BY id FOR UPDATE"
SAVE_THING = "INSERT INTO things VALUES ($1, $2, $3) ON CONFLICT (id) DO UPDATE SET revision = $2, applied = $3"
STATEMENTS: dict[str, Statement] = {}


def answers(*texts: str) -> Any:
    def enter(statement: Statement) -> Statement:
        for text in texts:
            STATEMENTS[" ".join(text.split())] = statement
        return statement

    return enter


# ---- the outbox


@answers("SELECT pg_try_advisory_lock($1)")
async def _try_lock(session: Session, values: tuple[Any, ...]) -> list[Row]:
    holder = session.database.advisory.setdefault(values[0], session)
    return [{"pg_try_advisory_lock": holder is session}]


@answers(outbox._BY_INDEX)
async def _nothing_changes(session: Session, values: tuple[Any, ...]) -> list[Row]:
    return []


@answers(messaging_sql.UNSENT)
async def _unsent(session: Session, values: tuple[Any, ...]) -> list[Row]:
    rows = [row for row in session.rows("outbox") if row["sent_at"] is None]
    earlier = sum(row["id"] <= values[0] for row in rows)
    later = sorted((row for row in rows if row["id"] > values[0]), key=lambda row: row["id"])
    return [
        {**row, "key": str(row["aggregate_id"]).encode(), "due_at": row["created_at"], "earlier": earlier}
        for row in later[: outbox.BATCH_ROWS]
    ]


@answers(exclusive._STANDING_STILL)
async def _nobody_stands_still(session: Session, values: tuple[Any, ...]) -> list[Row]:
    """Does nothing: processes die here but never freeze, and a dead process's session ends."""
    return []


@answers("SELECT 1")
async def _one(session: Session, values: tuple[Any, ...]) -> list[Row]:
    return [{"?column?": 1}]


@answers(messaging_sql.MARK_NOTHING)
async def _mark_nothing(session: Session, values: tuple[Any, ...]) -> list[Row]:
    unsent = [row["id"] for row in session.rows("outbox") if row["sent_at"] is None]
    if unsent:
        await session.change("outbox", min(unsent), lambda _: True, sent_at=None)
    return []


@answers(messaging_sql.MARK_SENT_LATE)
async def _mark_late(session: Session, values: tuple[Any, ...]) -> list[Row]:
    marked = []
    for identifier, created_at in zip(*values, strict=True):

        def is_it(row: Row, created_at: Any = created_at) -> bool:
            return row["created_at"] == created_at and row["sent_at"] is None

        if await session.change("outbox", identifier, is_it, sent_at=session.database.now()):
            marked.append({"id": identifier})
    return marked


@answers(messaging_sql.MARK_SENT)
async def _mark(session: Session, values: tuple[Any, ...]) -> list[Row]:
    for identifier in sorted(values[0]):
        await session.change("outbox", identifier, lambda _: True, sent_at=session.database.now())
    return []


@answers(messaging_sql.WAITING_IN_OUTBOX)
async def _outbox_waiting(session: Session, values: tuple[Any, ...]) -> list[Row]:
    since = [row["created_at"].timestamp() for row in session.rows("outbox") if row["sent_at"] is None]
    return [{"unsent": len(since), "age": session.database.now() - min(since) if since else 0.0}]


# ---- what is staged for the flush


async def _write_outbox(session: Session, values: Sequence[Any]) -> None:
    database = session.database
    for topic, aggregate_id, revision, message_id, value, headers, traceparent in zip(*values, strict=True):
        identifier = next(database.sequences["outbox"])
        row = {
            "id": identifier, "topic": topic, "aggregate_id": aggregate_id, "revision": revision,
            "message_id": message_id, "value": value, "headers": headers, "traceparent": traceparent,
            "created_at": database.time(), "sent_at": None,
        }  # fmt: skip
        if not await session.insert("outbox", identifier, row, (aggregate_id, revision)):
            raise asyncpg.UniqueViolationError("uq_outbox_aggregate_id")


async def _write_deliveries(session: Session, values: Sequence[Any]) -> None:
    database = session.database
    for identifier, destination, key, kind, payload, headers, idempotency_key, traceparent, subject in zip(
        *values, strict=True
    ):
        row = {
            "id": identifier, "sequence": next(database.sequences["deliveries"]), "destination": destination,
            "key": key, "kind": kind, "payload": payload, "headers": headers, "idempotency_key": idempotency_key,
            "state": "pending", "attempts": 0, "next_attempt_at": database.now(), "lease_token": None,
            "lease_until": None, "last_error": None, "receipt": None, "traceparent": traceparent,
            "created_at": database.time(), "done_at": None, "subject": subject,
        }  # fmt: skip
        await session.insert("deliveries", identifier, row, (destination, idempotency_key))


# ---- deliveries


def _pending(session: Session, destination: str) -> list[Row]:
    rows = session.rows("deliveries")
    return sorted(
        (row for row in rows if row["destination"] == destination and row["state"] == "pending"),
        key=lambda row: row["sequence"],
    )


@answers(lines.CLAIM)
async def claim(session: Session, values: tuple[Any, ...], *, in_order: bool = True) -> list[Row]:
    """``in_order`` off is a mutation: any pending row of a key may be claimed, not only the first."""
    destination, limit, token, lease_seconds = values
    now = session.database.now()

    def may_go(row: Row) -> bool:
        is_free = row["lease_until"] is None or row["lease_until"] < now
        return row["state"] == "pending" and row["next_attempt_at"] <= now and is_free

    claimed: list[Row] = []
    keys: set[Any] = set()
    for row in _pending(session, destination):
        if in_order and row["key"] in keys:
            continue
        keys.add(row["key"])
        if len(claimed) == limit or not may_go(row):
            continue
        if await session.lock(("deliveries", row["id"]), "u", skip=True):
            until = now + lease_seconds
            changed = {**row, "lease_token": token, "lease_until": until, "attempts": row["attempts"] + 1}
            session.write("deliveries", row["id"], changed)
            claimed.append(changed)
    return claimed


@answers(lines.RENEW)
async def _renew(session: Session, values: tuple[Any, ...]) -> list[Row]:
    tokens, lease_seconds = values
    held = [row for row in session.rows("deliveries") if row["lease_token"] in tokens and row["state"] == "pending"]
    for row in held:
        if await session.lock(("deliveries", row["id"]), "u", skip=True):
            until = session.database.now() + lease_seconds
            session.write("deliveries", row["id"], {**row, "lease_until": until})
    return []


async def _settle(session: Session, identifier: Any, token: Any, **values: Any) -> bool:
    if session.row("deliveries", identifier) is None:
        return False
    changed = await session.change(
        "deliveries",
        identifier,
        lambda row: row["lease_token"] == token and row["state"] == "pending",
        lease_token=None,
        lease_until=None,
        **values,
    )
    return changed is not None


@answers(lines.DONE)
async def _done(session: Session, values: tuple[Any, ...]) -> list[Row]:
    done: list[Row] = []
    for identifier, token, receipt in zip(*values, strict=True):
        now = session.database.now()
        if await _settle(session, identifier, token, state="done", done_at=now, receipt=receipt, last_error=None):
            done.append({"id": identifier})
    return done


@answers(lines.AGAIN)
async def _again(session: Session, values: tuple[Any, ...]) -> list[Row]:
    identifier, token, reason, pause = values
    await _settle(session, identifier, token, last_error=reason, next_attempt_at=session.database.now() + pause)
    return []


@answers(lines.DEAD)
async def _dead(session: Session, values: tuple[Any, ...]) -> list[Row]:
    identifier, token, reason = values
    await _settle(session, identifier, token, state="dead", done_at=session.database.now(), last_error=reason)
    return []


@answers(lines.WAITING)
async def _deliveries_waiting(session: Session, values: tuple[Any, ...]) -> list[Row]:
    pending = _pending(session, values[0])
    dead = [row for row in session.rows("deliveries") if row["destination"] == values[0] and row["state"] == "dead"]
    oldest = min((row["created_at"].timestamp() for row in pending), default=session.database.now())
    age = session.database.now() - oldest
    return [{"pending": len(pending), "dead": len(dead), "age": age, "bugs": _bugs(session, values[0])}]


def _bugs(session: Session, destination: str) -> int:
    row = session.row("delivery_bugs", destination)
    return 0 if row is None else int(row["in_a_row"])


@answers(lines.BUGS)
async def _bugs_in_a_row(session: Session, values: tuple[Any, ...]) -> list[Row]:
    return [{"bugs": _bugs(session, values[0])}]


@answers(lines.NO_BUGS)
async def _no_bugs(session: Session, values: tuple[Any, ...]) -> list[Row]:
    await session.delete("delivery_bugs", values[0])
    return []


@answers(lines.DEAD_OF_A_BUG)
async def _dead_of_a_bug(session: Session, values: tuple[Any, ...]) -> list[Row]:
    identifier, token, reason, destination, limit = values
    await session.insert("delivery_bugs", destination, {"in_a_row": 0})
    counted = await session.change(
        "delivery_bugs", destination, lambda row: row["in_a_row"] < limit, in_a_row=_bugs(session, destination) + 1
    )
    if counted is None:
        return []
    now = session.database.now()
    was_ours = await _settle(session, identifier, token, state="dead", done_at=now, last_error=reason, receipt=None)
    return [{"in_a_row": counted["in_a_row"]}] if was_ours else []


@answers(lines.HELD_BACK)
async def _held_back(session: Session, values: tuple[Any, ...]) -> list[Row]:
    identifier, token, reason, pause, receipt = values
    kept = {} if receipt is None else {"receipt": receipt}
    await _settle(session, identifier, token, last_error=reason, next_attempt_at=session.database.now() + pause, **kept)
    return []


# ---- the inbox and parking


@answers(messaging_sql.HOLD_KEYS)
async def _hold(session: Session, values: tuple[Any, ...]) -> list[Row]:
    name, keys = values
    found = []
    for key in sorted(keys):
        if session.row("parked_keys", (name, key)) is None:
            continue
        await session.lock(("parked_keys", (name, key)), "k")
        if session.row("parked_keys", (name, key)) is not None:
            found.append({"key": key})
    return found


@answers(messaging_sql.CLAIM)
async def _claim_messages(session: Session, values: tuple[Any, ...]) -> list[Row]:
    name, ids = values
    dead = {
        row["message_id"]
        for row in session.rows("dead_letters")
        if row["consumer"] == name and row["state"] != "replayed"
    }
    return [
        {"message_id": one}
        for one in ids
        if one not in dead and await session.insert("inbox", (name, one), {"consumer": name, "message_id": one})
    ]


async def _release(session: Session, values: Sequence[Any]) -> None:
    name, ids = values
    for one in ids:
        if session.row("inbox", (name, one)) is not None:
            await session.delete("inbox", (name, one))


@answers(messaging_sql.PARK_KEYS)
async def _park_keys(session: Session, values: tuple[Any, ...]) -> list[Row]:
    name, keys, reasons, pauses = values
    parked = []
    for key, reason, pause in zip(keys, reasons, pauses, strict=True):
        due = session.database.now() + pause
        row = {"consumer": name, "key": key, "reason": reason, "attempts": 1, "next_attempt_at": due}
        if await session.insert("parked_keys", (name, key), row):
            parked.append({"key": key})
    return parked


async def _park_messages(session: Session, values: Sequence[Any]) -> None:
    name = values[0]
    for key, message_id, topic, partition, offset, value, headers in zip(*values[1:], strict=True):
        sequence = next(session.database.sequences["parked_messages"])
        row = {
            "sequence": sequence, "consumer": name, "key": key, "message_id": message_id, "topic": topic,
            "partition": partition, "kafka_offset": offset, "value": value, "headers": headers,
        }  # fmt: skip
        await session.insert("parked_messages", sequence, row, (name, message_id))


@answers(messaging_sql.TAKE_KEY)
async def _take(session: Session, values: tuple[Any, ...]) -> list[Row]:
    now = session.database.now()
    due = [row for row in session.rows("parked_keys") if row["consumer"] == values[0] and row["next_attempt_at"] <= now]
    for row in sorted(due, key=lambda row: row["next_attempt_at"]):
        if await session.lock(("parked_keys", (row["consumer"], row["key"])), "n", skip=True):
            return [{"key": row["key"], "attempts": row["attempts"]}]
    return []


def _line_of(session: Session, name: str, key: Any) -> list[Row]:
    line = [row for row in session.rows("parked_messages") if row["consumer"] == name and row["key"] == key]
    return sorted(line, key=lambda row: row["sequence"])


@answers(messaging_sql.LINE_OF_KEY)
async def _line(session: Session, values: tuple[Any, ...]) -> list[Row]:
    return _line_of(session, *values)[: messaging_sql.LARGEST_TURN]


@answers(messaging_sql.FORGET_PARKED)
async def _unpark_message(session: Session, values: tuple[Any, ...]) -> list[Row]:
    if session.row("parked_messages", values[0]) is not None:
        await session.delete("parked_messages", values[0])
    return []


@answers(messaging_sql.TRY_KEY_LATER)
async def _later(session: Session, values: tuple[Any, ...]) -> list[Row]:
    name, key, failures, reason, pause = values
    row = session.row("parked_keys", (name, key))
    if row is not None:
        changed = {
            "attempts": row["attempts"] + failures,
            "reason": row["reason"] if reason is None else reason,
            "next_attempt_at": session.database.now() + pause,
        }
        await session.change("parked_keys", (name, key), lambda _: True, **changed)
    return []


@answers(messaging_sql.HAVE_KEY_ALONE)
async def _have_alone(session: Session, values: tuple[Any, ...]) -> list[Row]:
    name, key = values
    if session.row("parked_keys", (name, key)) is None:
        return []
    return [{"key": key}] if await session.lock(("parked_keys", (name, key)), "u", skip=True) else []


@answers(messaging_sql.UNPARK)
async def _unpark(session: Session, values: tuple[Any, ...]) -> list[Row]:
    name, key = values
    if session.row("parked_keys", (name, key)) is not None and not _line_of(session, name, key):
        await session.delete("parked_keys", (name, key))
    return []


@answers(messaging_sql.PARKED_KEYS)
async def _standing(session: Session, values: tuple[Any, ...]) -> list[Row]:
    due = [row["next_attempt_at"] for row in session.rows("parked_keys") if row["consumer"] == values[0]]
    return [{"parked": len(due), "due_in_seconds": min(due) - session.database.now() if due else None}]


# ---- dead letters


@answers(messaging_sql.COUNT_DEAD_LETTERS)
async def _count_dead(session: Session, values: tuple[Any, ...]) -> list[Row]:
    rows = session.rows("dead_letters")
    return [{"count": sum(row["consumer"] == values[0] and row["state"] == "open" for row in rows)}]


_DEAD_COLUMNS = (
    "id", "kind", "reason", "topic", "partition", "kafka_offset", "message_id", "key", "value", "headers",
)  # fmt: skip


async def _keep(session: Session, values: Sequence[Any]) -> None:
    name = values[0]
    for one in zip(*values[1:], strict=True):
        row = {**dict(zip(_DEAD_COLUMNS, one, strict=True)), "consumer": name, "attempts": 1, "state": "open"}
        await session.insert(
            "dead_letters", row["id"], row, (name, row["topic"], row["partition"], row["kafka_offset"])
        )


# ---- timers: rows by (kind, key, name, revision)


def _words_about(session: Session, kind: str, key: Any, name: str) -> list[Row]:
    return [row for row in session.rows("timers") if (row["kind"], row["key"], row["name"]) == (kind, key, name)]


def _waiting(session: Session, kinds: Sequence[str]) -> list[Row]:
    return [row for row in session.rows("timers") if row["kind"] in kinds and row["state"] == "waiting"]


@answers(timers.CLAIM)
async def claim_timers(session: Session, values: tuple[Any, ...], *, is_early: bool = False) -> list[Row]:
    """``is_early`` is a mutation: it ignores the earliest allowed time."""
    kinds, earliest, limit = values
    now, waiting, claimed = session.database.now(), _waiting(session, kinds), []
    for row in sorted(waiting, key=lambda row: row["next_attempt_at"]):
        is_due = row["next_attempt_at"] <= now and (is_early or row["due_at"] <= earliest)
        is_first = row["due_at"] == min(one["due_at"] for one in waiting if one["key"] == row["key"])
        if len(claimed) < limit and is_due and is_first and await session.lock(_place(row), "u", skip=True):
            claimed.append(row)
    return sorted(claimed, key=lambda row: (row["due_at"], row["kind"], row["name"]))


def _identity(row: Row) -> tuple[Any, ...]:
    return row["kind"], row["key"], row["name"], row["revision"]


def _place(row: Row) -> tuple[str, Any]:
    return "timers", _identity(row)


@answers(timers.NEXT)
async def _next_timer(session: Session, values: tuple[Any, ...]) -> list[Row]:
    at = [row["next_attempt_at"] for row in _waiting(session, values[0])]
    return [{"due_in_seconds": min(at) - session.database.now() if at else None}]


@answers(timers.SUPERSEDED)
async def _superseded(session: Session, values: tuple[Any, ...]) -> list[Row]:
    return [
        {"place": place}
        for place, (*timer, revision) in enumerate(zip(*values, strict=True), 1)
        if max(row["revision"] for row in _words_about(session, *timer)) > revision
    ]


@answers(timers.DEAD)
async def _count_dead_timers(session: Session, values: tuple[Any, ...]) -> list[Row]:
    return [{"count": sum(row["state"] == "dead" for row in session.rows("timers"))}]


@answers(timers.COUNTS)
async def _count_timers(session: Session, values: tuple[Any, ...]) -> list[Row]:
    return [{"waiting": 0, "overdue": 0, "age": 0.0, "unknown": 0, "dead": 0}]  # only for a gauge; unused here


async def _mark_timers(session: Session, values: Sequence[Any]) -> None:
    now = session.database.now()
    for kind, key, name, revision, state, reason, pause in zip(*values, strict=True):
        row = session.row("timers", (kind, key, name, revision))
        if row is None:
            continue
        changed = {
            "state": state, "attempts": row["attempts"] + 1, "last_error": reason,
            "next_attempt_at": now + pause if state == "waiting" else row["next_attempt_at"],
        }  # fmt: skip
        await session.change("timers", (kind, key, name, revision), lambda _: True, **changed)


async def _write_timers(session: Session, values: Sequence[Any]) -> None:
    now = session.database.time()
    for kind, key, name, revision, due_at, payload, traceparent in zip(*values, strict=True):
        known = max((row["revision"] for row in _words_about(session, kind, key, name)), default=-1)
        if known >= revision:
            continue
        due = due_at or now
        row = {
            "kind": kind, "key": key, "name": name, "revision": revision, "payload": payload,
            "state": "waiting" if due_at else "cancelled", "due_at": due, "next_attempt_at": due.timestamp(),
            "attempts": 0, "last_error": None, "traceparent": traceparent,
        }  # fmt: skip
        await session.insert("timers", (kind, key, name, revision), row)


async def _forget_older_timers(session: Session, values: Sequence[Any]) -> None:
    for kind, key, name, revision in zip(*values, strict=True):
        for row in _words_about(session, kind, key, name):
            if row["revision"] < revision and await session.lock(_place(row), "u", skip=True):
                session.write("timers", _identity(row), None)


# ---- the flush: what is staged, in the order of its staging, as one statement

_STAGED: dict[str, Any] = {
    messaging_sql.RELEASE: _release,
    messaging_sql.KEEP_DEAD_LETTERS: _keep,
    messaging_sql.PARK_MESSAGES: _park_messages,
    timers.MARK: _mark_timers,
    store_sql.FORGET_OLDER_TIMERS: _forget_older_timers,
    store_sql.WRITE_OUTBOX: _write_outbox,
    store_sql.WRITE_DELIVERIES: _write_deliveries,
    store_sql.WRITE_TIMERS: _write_timers,
}
# A batch of timers may drop overtaken events, and later the events that its own events overtake.
_IN_ORDER = (*_STAGED, store_sql.FORGET_OLDER_TIMERS)


def _flush_of(texts: tuple[str, ...]) -> Statement:
    counts = [len(set(transaction._PARAMETER.findall(text))) for text in texts]

    async def flush(session: Session, values: tuple[Any, ...]) -> list[Row]:
        *rows, channels = values
        for text, count in zip(texts, counts, strict=True):
            await _STAGED[text](session, rows[:count])
            del rows[:count]
        session.notices += channels
        return []

    return flush


for _number in range(1, len(_IN_ORDER) + 1):
    for _texts in set(itertools.combinations(_IN_ORDER, _number)):
        answers(transaction._as_one(_texts, None))(_flush_of(_texts))


# ---- the simulated services' own table


@answers(LOAD_THINGS)
async def _load_things(session: Session, values: tuple[Any, ...]) -> list[Row]:
    found = []
    for identifier in sorted(values[0]):
        if session.row("things", identifier) is None:
            continue
        await session.lock(("things", identifier), "u")
        row = session.row("things", identifier)
        if row is not None:
            found.append(row)
    return found


@answers(SAVE_THING)
async def _save_thing(session: Session, values: tuple[Any, ...]) -> list[Row]:
    identifier, revision, applied = values
    row = {"id": identifier, "revision": revision, "applied": tuple(applied)}
    if not await session.insert("things", identifier, row):
        await session.change("things", identifier, lambda _: True, revision=revision, applied=tuple(applied))
    return []
