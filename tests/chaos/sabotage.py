"""``python -m tests.chaos.sabotage MODE service run``: a service with one broken promise, to see the harness fail.

inbox-off: a claimed message is handled again. mark-before-send: the relay marks events as sent before it sends them.
ack-before-commit: HL7 is acknowledged, and Kafka's offsets move, before anything is committed.
"""

import asyncio
import dataclasses
import runpy
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from chassis.hl7 import InboundHl7, inbound, journal
from chassis.messaging import Duplicate, Held, consumer, outbox
from chassis.messaging import statements as messaging_sql

WINDOW_SECONDS: Final = 0.5
"""The time between mark and send: long enough for a short run to hit it."""

Claims = Sequence[Duplicate | Held | None]


def inbox_off() -> None:
    """Every duplicate counts as new, in the HL7 journal and in the inbox."""

    def deaf(intake: Any) -> None:
        claim = intake.claim

        async def claims(self: Any, connection: Any, items: Sequence[Any]) -> Claims:
            return [None if isinstance(one, Duplicate) else one for one in await claim(self, connection, items)]

        intake.claim = claims

    deaf(journal.JournalIntake)
    deaf(consumer.InboxIntake)


def mark_before_send() -> None:
    """The relay marks events first: events on their way when it dies are lost."""
    send = outbox.Relay._send

    async def marks_first(self: Any, connection: Any, producer: Any, rows: Sequence[Any]) -> bool:
        await connection.execute(messaging_sql.MARK_SENT, [row["id"] for row in rows])
        await asyncio.sleep(WINDOW_SECONDS)
        return await send(self, connection, producer, rows)

    outbox.Relay._send = marks_first  # type: ignore[method-assign]


def ack_before_commit() -> None:
    """AA leaves when a message has been read, and offsets move when a batch has been fetched."""
    on_batch = consumer.Consumer._on_batch

    async def accepts(self: Any, raw: bytes, _peer: Any = None) -> bytes:
        item = InboundHl7.of(raw, datetime.now(UTC))
        waiting = inbound._Waiting(item, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        self._arrived.set()
        return self._answer(item.message, Duplicate())

    async def acknowledges(self: Any, message: Any) -> None:
        await message.ack()
        await on_batch(self, dataclasses.replace(message) if dataclasses.is_dataclass(message) else message)

    inbound.Hl7Listener.accept = accepts  # type: ignore[method-assign]
    consumer.Consumer._on_batch = acknowledges  # type: ignore[method-assign]


MODES: Final[dict[str, Callable[[], None]]] = {
    "inbox-off": inbox_off,
    "mark-before-send": mark_before_send,
    "ack-before-commit": ack_before_commit,
}


if __name__ == "__main__":
    MODES[sys.argv[1]]()
    module, sys.argv = sys.argv[2], sys.argv[2:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
