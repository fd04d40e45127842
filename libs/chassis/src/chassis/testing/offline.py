"""A service as its composition root builds it, without a server, for checks before it runs."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from chassis.host import Service
from chassis.settings import ServiceSettings
from chassis.store import Store, StoreClock
from chassis.store import server as store_server


async def built_offline(build: Callable[[Any], Awaitable[Service]], settings: ServiceSettings) -> Service:
    """The result of ``build``. Nothing is asked of Postgres or Kafka; the service must not be run."""
    with _without_a_store():
        return await build(settings)


@contextmanager
def _without_a_store() -> Iterator[None]:
    async def opened(settings: Any) -> Store:
        return Store(_NoPool(), str(settings.url))

    async def nothing(*_arguments: object) -> None:
        return

    with (
        patch.object(Store, "open", opened),
        patch.object(StoreClock, "start", nothing),
        patch.object(store_server, "accept", nothing),
    ):
        yield


class _NoPool:
    """Replaces a pool: it can only be closed."""

    async def close(self) -> None:
        return
