"""scheduler-sync's reader of OmegaAI's Task queue."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final

from chassis.clock import Clock, utc_now
from chassis.errors import Permanent, Transient
from chassis.observe import Metrics
from chassis.store import Exclusive
from omegaai import tasks
from omegaai.client import FhirClient
from omegaai.tasks.reader import UNCLAIMED_AFTER, Apply
from scheduler_sync.adapters.omegaai import reader
from scheduler_sync.adapters.omegaai.askers import Askers
from scheduler_sync.commands import ReceiveOmegaAIAppointment

SERVICE: Final = "scheduler-sync"
TaskItem = tasks.TaskItem[ReceiveOmegaAIAppointment]


def claims(unread_types: Iterable[str] = ()) -> Mapping[str, str]:
    """Which service handles which type, where scheduler-sync completes the Tasks about ``unread_types`` as well."""
    return {**tasks.CLAIMS, **dict.fromkeys(unread_types, SERVICE)}


class TaskQueue(tasks.TaskReader[ReceiveOmegaAIAppointment]):
    """Takes Appointments over. A Task about a Patient is completed unread: the suite itself writes patients there.

    ``issuers``: the site's issuer of each of OmegaAI's identifier systems.
    """

    def __init__(
        self,
        client: FhirClient,
        apply: Apply[ReceiveOmegaAIAppointment],
        *,
        issuers: Callable[[], Mapping[str, str]] = dict,
        unread_types: Iterable[str] = (),
        cursor: tasks.Cursor | None = None,
        exclusive: Exclusive | None = None,
        now: Clock = utc_now,
        poll_seconds: float = 5.0,
        look_seconds: float = 60.0,
        unclaimed_after: timedelta = UNCLAIMED_AFTER,
        page_size: int = 200,
        most_at_once: int = 1_000,
        metrics: Metrics | None = None,
    ) -> None:
        super().__init__(
            client,
            apply,
            service=SERVICE,
            reads={"Appointment": reader.appointment, "Patient": None, **dict.fromkeys(unread_types, None)},
            claims=claims(unread_types),
            cursor=cursor,
            exclusive=exclusive,
            now=now,
            poll_seconds=poll_seconds,
            look_seconds=look_seconds,
            unclaimed_after=unclaimed_after,
            page_size=page_size,
            most_at_once=most_at_once,
            metrics=metrics,
        )
        self._askers = Askers(client, issuers)

    async def look_up(self, items: Sequence[TaskItem]) -> list[TaskItem]:
        """Reads the patient and the service of each request that began in Blume."""
        return [await self._looked_up(item) for item in items]

    async def _looked_up(self, item: TaskItem) -> TaskItem:
        if item.command is None:
            return item
        try:
            return replace(item, command=await self._askers.complete(item.command))
        except Transient as error:
            return replace(item, put_off=error)
        except Permanent as error:
            return tasks.parked(item, error)
        finally:
            self.beat()
