"""Tasks that failed by themselves: each is tried again alone, after a growing pause."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import structlog

from chassis.backoff import pause_seconds
from chassis.errors import reason_of
from omegaai.tasks.model import Task

_log = structlog.get_logger(__name__)
LONGEST_PAUSE_SECONDS: Final = 30.0
_MOST: Final = 500


@dataclass(frozen=True, slots=True)
class _Failed:
    task: Task
    failures: int
    until: float
    """``time.monotonic``: tried again from then on."""


class PutOff:
    """The Tasks that are put off."""

    def __init__(self) -> None:
        self._failed: dict[str, _Failed] = {}

    def __contains__(self, task_id: object) -> bool:
        return task_id in self._failed

    @property
    def is_full(self) -> bool:
        """Whether the reader must not pass Tasks in the hope that this remembers them."""
        return len(self._failed) >= _MOST

    @property
    def oldest_change(self) -> datetime | None:
        """The earliest time of a change among them."""
        return min((at for one in self._failed.values() if (at := one.task.updated_at) is not None), default=None)

    def failures(self, task_id: str) -> int:
        return self._failed[task_id].failures if task_id in self._failed else 0

    def due(self, most: int) -> list[Task]:
        """Those whose pause is over, at most ``most``."""
        now = time.monotonic()
        return [one.task for one in self._failed.values() if one.until <= now][:most]

    def forget(self, task_id: str) -> None:
        self._failed.pop(task_id, None)

    def note(self, outcomes: Sequence[tuple[Task, Exception | None]]) -> dict[str, Exception]:
        """Remembers the Tasks that failed and forgets the others. The errors by Task."""
        failed = {}
        for task, error in outcomes:
            before = self._failed.pop(task.id, None)
            if error is not None:
                failures = 1 if before is None else before.failures + 1
                pause = pause_seconds(failures, longest_seconds=LONGEST_PAUSE_SECONDS)
                self._failed[task.id] = _Failed(task, failures, time.monotonic() + pause)
                failed[task.id] = error
        if failed:
            _log.warning("task-queue.put-off", tasks=len(failed), reason=reason_of(next(iter(failed.values()))))
        return failed
