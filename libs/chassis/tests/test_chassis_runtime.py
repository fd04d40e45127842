"""What every service runs on: the order of its stop, what is closed, and a command that keeps the service away."""

import asyncio
import os
import signal

import asyncpg
import pytest
from chassis_bench_domain import open_store

from chassis.deliveries import Delivery, Receipt
from chassis.errors import StoreUnavailable
from chassis.host import Consumes, RecoveryRefused, Runtime, Service, StoreGuard
from chassis.loops import LoopBase
from chassis.messaging.outbox import NAME as RELAY
from chassis.settings import ServiceSettings, SettingsError
from chassis.store import server as store_server
from chassis.testing import eventually

pytestmark = pytest.mark.stack


class Recorded(LoopBase):
    """Says when it has stopped."""

    def __init__(self, name: str, stopped: list[str]) -> None:
        super().__init__()
        self.name, self.stopped = name, stopped

    async def run(self) -> None:
        while not self.stopping:
            await self.pause(3600)

    async def stop(self) -> None:
        self.stopped.append(self.name)
        await super().stop()


async def _sent(_delivery: Delivery) -> Receipt | None:
    return None


async def _settled(*_arguments: object) -> None:
    return None


@pytest.fixture
async def settings(database_url: str, kafka_bootstrap: str) -> ServiceSettings:
    await (await open_store(database_url)).close()  # the tables
    return ServiceSettings(
        store={"url": database_url}, kafka={"bootstrap_servers": kafka_bootstrap}, http={"port": 0}, _env_file=None
    )


async def _composed(runtime: Runtime, stopped: list[str], closed: list[str]) -> Service:
    async def close() -> None:
        closed.append("own")

    runtime.deliver("partner", _sent, settled=_settled, concurrency=1)
    guard = StoreGuard(
        runtime.store,
        runtime.settings.kafka,
        service="demo",
        belongs_to={},
        metrics=runtime.metrics,
        consumes=Consumes("demo", ()),
    )
    return await runtime.service(
        guard=guard,
        intakes={"first": Recorded("first", stopped), "second": Recorded("second", stopped)},
        watches={"watch": Recorded("watch", stopped)},
        checks={},
        closers=[close],
    )


async def test_a_service_stops_in_the_order_in_which_the_work_goes(settings: ServiceSettings) -> None:
    stopped: list[str] = []
    closed: list[str] = []
    runtime = await Runtime.open("demo", settings)
    service = await _composed(runtime, stopped, closed)
    for name, loop in service.loops.items():
        recorded = _recording(name, loop.stop, stopped)
        if not isinstance(loop, Recorded):
            loop.stop = recorded  # type: ignore[method-assign]
    running = asyncio.create_task(service.run())

    async def has_started() -> bool:
        return bool(service._running)

    await eventually(has_started, timeout_seconds=60, what="the loops")
    os.kill(os.getpid(), signal.SIGTERM)
    assert await asyncio.wait_for(running, 60) == 0
    assert stopped == [
        "first", "second", "watch", "clock", "housekeeping", "store-server", "relay", "to-partner",
    ]  # fmt: skip
    assert closed == ["own"]
    with pytest.raises(asyncpg.InterfaceError):
        await runtime.store.pool.fetchval("SELECT 1")


def _recording(name: str, stop, stopped: list[str]):
    async def call() -> None:
        stopped.append(name)
        await stop()

    return call


async def test_a_service_whose_server_is_refused_leaves_nothing_open(settings, monkeypatch) -> None:
    async def refuse(*_arguments: object) -> None:
        raise SettingsError(["the store's server: fsync=off"])

    monkeypatch.setattr(store_server, "accept", refuse)
    closed: list[str] = []
    runtime = await Runtime.open("demo", settings)
    with pytest.raises(SettingsError):
        await _composed(runtime, [], closed)
    assert closed == ["own"]
    with pytest.raises(asyncpg.InterfaceError):
        await runtime.store.pool.fetchval("SELECT 1")


async def test_a_store_whose_time_cannot_be_read_is_closed_again(settings, monkeypatch) -> None:
    opened = []

    async def away(self: object) -> None:
        opened.append(self._store)
        raise StoreUnavailable("the store does not answer")

    monkeypatch.setattr("chassis.store.clock.StoreClock.start", away)
    with pytest.raises(StoreUnavailable):
        await Runtime.open("demo", settings)
    with pytest.raises(asyncpg.InterfaceError):
        await opened[0].pool.fetchval("SELECT 1")


async def test_a_command_is_alone_or_refused(settings: ServiceSettings) -> None:
    runtime = await Runtime.open("demo", settings)
    try:
        async with runtime.alone() as connection:
            assert await connection.fetchval("SELECT 1") == 1
        other = await asyncpg.connect(settings.store.url, server_settings={"application_name": f"suite-{RELAY}"})
        with pytest.raises(RecoveryRefused, match="a demo works on this store"):
            async with runtime.alone():
                pass
        await other.close()
    finally:
        await runtime.close()
