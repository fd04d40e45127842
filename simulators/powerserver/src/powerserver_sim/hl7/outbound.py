"""HL7 out: the queue in the store drained over one MLLP connection, in order, until each message is acknowledged.

A message keeps its MSH-10 over all attempts. AE holds back the later messages of its lane (one appointment, one
patient) and is tried again with back-off; AR settles the message as rejected; without a connection everything waits.
"""

import asyncio
import contextlib
import sqlite3
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from hl7v2 import Ack
from hl7v2.mllp import Client, MllpError, frame
from powerserver_sim.options import Settings
from simulator_kit.misbehaviour import Misbehaviour
from simulator_kit.store import Notice, Store, Work, stamp

_BATCH: Final = 200
_LONGEST_RECONNECT_SECONDS: Final = 2.0
_WAITING: Final = "('queued', 'retrying')"
_ACCEPTED: Final = frozenset({"AA", "CA"})
_REJECTED: Final = frozenset({"AR", "CR"})
_SETTLED: Final = _ACCEPTED | _REJECTED


@dataclass(frozen=True, slots=True)
class _Item:
    id: int
    control_id: str
    lane: str
    placer: str
    type: str
    payload: bytes
    attempts: int


class Sender:
    """Started by `run`, ended by `stop`; commits that queue a message wake it."""

    def __init__(self, store: Store, settings: Settings, misbehaviour: Misbehaviour) -> None:
        self._store = store
        self._settings = settings
        self._misbehaviour = misbehaviour
        self._client: Client | None = None
        self._awake = asyncio.Event()
        self._impatient = asyncio.Event()
        self._stopping = False
        self._failures_in_a_row = 0
        store.listeners.append(self._notified)

    def stop(self) -> None:
        self._stopping = True
        self._awake.set()
        self._impatient.set()

    def _notified(self, notices: list[Notice]) -> None:
        for notice in notices:
            if notice["kind"] == "outbound" and notice["state"] == "queued":
                self._awake.set()
                if notice.get("at_once"):
                    self._impatient.set()

    async def run(self) -> None:
        try:
            while not self._stopping:
                self._awake.clear()
                batch = await self._store.read(_due)
                if batch:
                    await self._send_all(batch)
                    await self._store.write(lambda _: None)  # the marks are stored before the queue is read again
                else:
                    await _wait(self._awake, await self._store.read(_seconds_to_next))
        finally:
            await self._disconnect()

    async def _send_all(self, batch: list[_Item]) -> None:
        position = 0
        held: set[str] = set()
        while position < len(batch) and not self._stopping:
            if batch[position].lane in held:
                position += 1
                continue
            fault = self._misbehaviour.take("mllp-out")
            if fault is not None and fault.mode == "reorder" and position + 1 < len(batch):
                batch[position], batch[position + 1] = batch[position + 1], batch[position]
            item = batch[position]
            if fault is not None and fault.mode == "drop":
                self._drop(item)
            elif fault is not None and fault.mode == "cut":
                await self._send_and_cut(item)
                return
            elif (answer := await self._send(item)) is None:
                return
            elif answer not in _SETTLED:
                held.add(item.lane)
            elif fault is not None and fault.mode == "duplicate":
                await self._send(item, duplicate=True)
            position += 1

    def _drop(self, item: _Item) -> None:
        self._store.post(lambda work: _settle(work, item, "dropped", "", "dropped on request"))

    async def _send(self, item: _Item, *, duplicate: bool = False) -> str | None:
        """One attempt.

        Returns the answer's code, or None when the partner did not answer and the connection is closed.
        """
        try:
            ack = await self._connected().send(item.payload, control_id=item.control_id)
        except MllpError as problem:
            await self._disconnect()
            words = str(problem)
            self._store.post(lambda work: _retry(work, item, "", words, 0.0))
            self._failures_in_a_row += 1
            # New bookings do not shorten the pause for an absent partner; "Try again now" does.
            if not self._stopping:
                self._impatient.clear()
            await _wait(self._impatient, min(self._pause(self._failures_in_a_row), _LONGEST_RECONNECT_SECONDS))
            return None
        self._failures_in_a_row = 0
        if duplicate:
            self._store.post(lambda work: _record(work, item, ack.code, repeat=True))
        else:
            self._settle(item, ack)
        return ack.code

    def _settle(self, item: _Item, ack: Ack) -> None:
        text = ack.text or ""
        if ack.code in _ACCEPTED:
            self._store.post(lambda work: _settle(work, item, "acked", ack.code, ""))
        elif ack.code in _REJECTED:
            self._store.post(lambda work: _settle(work, item, "rejected", ack.code, text))
        else:
            pause = self._pause(item.attempts + 1)
            self._store.post(lambda work: _retry(work, item, ack.code, text, time.time() + pause))

    async def _send_and_cut(self, item: _Item) -> None:
        """Send the whole frame, but close before the answer: the partner may have processed the message."""
        await self._disconnect()
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection(self._settings.peer_host, self._settings.peer_port)
            writer.write(frame(item.payload))
            await writer.drain()
            writer.close()
            await writer.wait_closed()
        self._store.post(lambda work: _retry(work, item, "", "connection cut on request", 0.0))

    def _pause(self, attempt: int) -> float:
        """Seconds before the next attempt: doubled each time, up to the longest."""
        doubled = self._settings.retry_initial_seconds * 2.0 ** min(attempt - 1, 16)
        return min(doubled, self._settings.retry_max_seconds)

    def _connected(self) -> Client:
        if self._client is None:
            self._client = Client(
                self._settings.peer_host,
                self._settings.peer_port,
                ack_timeout_seconds=self._settings.ack_timeout_seconds,
            )
        return self._client

    async def _disconnect(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()


async def _wait(event: asyncio.Event, seconds: float | None) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)


def retry_now(work: Work, control_id: str) -> bool:
    """Make a retrying message due at once; False when it does not wait."""
    changed = work.run(
        f"UPDATE outbound SET next_attempt_at = 0 WHERE control_id = ? AND state IN {_WAITING}",  # noqa: S608 - constant
        control_id,
    ).rowcount
    if changed:
        work.notice("outbound", control_id=control_id, placer="", state="queued", at_once=True)
    return bool(changed)


def _due(work: Work) -> list[_Item]:
    """Waiting messages in queue order, without the lanes whose oldest one pauses after a refusal."""
    now = time.time()
    rows = work.all(
        "SELECT o.id, o.control_id, o.lane, o.placer, o.type, o.payload, o.attempts FROM outbound o "  # noqa: S608 - constant
        f"WHERE o.state IN {_WAITING} AND o.next_attempt_at <= ? AND NOT EXISTS (SELECT 1 FROM outbound e "
        f"WHERE e.state IN {_WAITING} AND e.lane = o.lane AND e.id < o.id AND e.next_attempt_at > ?) "
        "ORDER BY o.id LIMIT ?",
        now,
        now,
        _BATCH,
    )
    return [_item(row) for row in rows]


def _item(row: sqlite3.Row) -> _Item:
    return _Item(row["id"], row["control_id"], row["lane"], row["placer"], row["type"], row["payload"], row["attempts"])


def _seconds_to_next(work: Work) -> float | None:
    row = work.one(f"SELECT min(next_attempt_at) AS at FROM outbound WHERE state IN {_WAITING}")  # noqa: S608 - constant
    return None if row is None or row["at"] is None else max(0.01, row["at"] - time.time())


def _settle(work: Work, item: _Item, state: str, ack_code: str, problem: str) -> None:
    work.run(
        "UPDATE outbound SET state = ?, attempts = attempts + 1, ack_code = ?, problem = ?, settled_at = ? "
        "WHERE id = ?",
        state, ack_code, problem, stamp(datetime.now(UTC)), item.id,
    )  # fmt: skip
    _record(work, item, ack_code, repeat=item.attempts > 0, **({"dropped": True} if state == "dropped" else {}))
    work.notice("outbound", control_id=item.control_id, placer=item.placer, state=state)


def _retry(work: Work, item: _Item, ack_code: str, problem: str, next_attempt_at: float) -> None:
    work.run(
        "UPDATE outbound SET state = 'retrying', attempts = attempts + 1, ack_code = ?, problem = ?, "
        "next_attempt_at = ? WHERE id = ?",
        ack_code, problem, next_attempt_at, item.id,
    )  # fmt: skip
    if ack_code:
        _record(work, item, ack_code, repeat=item.attempts > 0)
    work.notice("outbound", control_id=item.control_id, placer=item.placer, state="retrying")


def _record(work: Work, item: _Item, ack_code: str, *, repeat: bool, **more: object) -> None:
    work.record(
        "out",
        "hl7.sent",
        item.control_id,
        {"type": item.type, "placer_number": item.placer, "ack_code": ack_code, "repeat": repeat, **more},
    )
