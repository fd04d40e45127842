"""The pages of messages and Tasks, from the parts of the running service."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from uuid import UUID

from chassis.hl7 import InboundHl7, replay_edited, replay_message
from chassis.messaging import BatchExecutor, Replayed
from chassis.store import Store
from omegaai.tasks import UnclaimedTask
from scheduler_sync.adapters.omegaai.tasks import TaskQueue
from scheduler_sync.inbound import TaskInbound
from scheduler_sync.replay import replay_tasks
from scheduler_sync.resources import ResourceDirectory
from scheduler_sync.site import Site
from scheduler_sync.store.message_details import MessageDetails
from scheduler_sync.store.messages import Messages
from scheduler_sync.store.views import Views
from scheduler_sync.web.content import Reader
from scheduler_sync.web.messages import MessagePages
from scheduler_sync.web.tasks import TaskPages

Hl7Executor = BatchExecutor[InboundHl7, Any, Any]


async def replayed(store: Store, executor: Hl7Executor, journal_id: UUID, actor: str) -> Replayed:
    """Processes a kept HL7 message again, for the named actor. KeyError when it does not wait."""
    return await replay_message(store, executor, journal_id, actor=actor)


def message_pages(
    store: Store,
    site: Site,
    directory: ResourceDirectory,
    executor: Hl7Executor,
    consoles: Mapping[str, str] | None = None,
) -> MessagePages:
    """The search of messages and the pages of each one."""

    async def replay(journal_id: UUID, actor: str) -> Replayed:
        return await replayed(store, executor, journal_id, actor)

    async def edit(journal_id: UUID, raw: bytes, actor: str) -> tuple[UUID, Replayed]:
        return await replay_edited(store, executor, journal_id, raw, actor=actor)

    return MessagePages(
        store,
        Messages(store, site.file.site),
        MessageDetails(store),
        Views(store),
        Reader(lambda: site.file, directory),
        replay=replay,
        edit=edit,
        consoles=consoles,
    )


def task_pages(
    store: Store,
    queue: TaskQueue,
    inbound: TaskInbound,
    unclaimed: Callable[[int], Awaitable[list[UnclaimedTask]]],
    consoles: Mapping[str, str] | None = None,
) -> TaskPages:
    """The desk of OmegaAI's Tasks."""

    async def read_again(task_id: str, actor: str) -> object:
        return await replay_tasks(store, queue, inbound, [task_id], actor=actor)

    return TaskPages(store, Views(store), read_again=read_again, unclaimed=unclaimed, consoles=consoles)
