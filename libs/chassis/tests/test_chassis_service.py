"""The host: probes that tell live from ready, loops that are restarted, and a stop in order."""

import asyncio
import gc
import os
import signal
import time
import weakref
from collections.abc import Iterator
from contextlib import suppress

import httpx
import pytest

from chassis.host import Service
from chassis.host.service import STALLED_SECONDS
from chassis.loops import LoopBase
from chassis.observe import Metrics, meters
from chassis.settings import HttpSettings
from chassis.testing import eventually


class Turning(LoopBase):
    def __init__(self, name: str, order: list[str], *, fails: int = 0) -> None:
        super().__init__()
        self.name, self.order, self.fails, self.starts = name, order, fails, 0

    async def run(self) -> None:
        self.starts += 1
        if self.fails:
            self.fails -= 1
            raise RuntimeError("a bug")
        await self._stopping.wait()
        self.order.append(self.name)


async def get(one: "Service", path: str) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(one.app()), base_url="http://demo") as client:
        return await client.get(path)


def service(loops=None, checks=None) -> Service:
    http = HttpSettings(port=0)
    return Service("demo", http, Metrics(), loops or {}, checks or {})


async def _away() -> None:
    raise ConnectionError("the store does not answer")


async def _there() -> None:
    return


async def _hangs() -> None:
    await asyncio.Event().wait()


async def test_ready_names_what_does_not_answer_and_live_is_another_question(monkeypatch) -> None:
    monkeypatch.setattr("chassis.host.service.CHECK_TIMEOUT_SECONDS", 0.1)
    checks = {"store": _away, "kafka": _there, "site": _hangs}
    one = service(checks=checks)
    ready, live = await get(one, "/readyz"), await get(one, "/livez")
    assert (ready.status_code, live.status_code) == (503, 200)
    assert ready.json() == {
        "store": "the store does not answer",
        "kafka": "ready",
        "site": "no answer within 0.1 s",
    }


async def test_ready_without_a_check_that_the_asker_can_do_without() -> None:
    one = service(checks={"store": _there, "kafka": _away})
    assert (await get(one, "/readyz")).status_code == 503
    without = await get(one, "/readyz?exclude=kafka")
    assert (without.status_code, without.json()) == (200, {"store": "ready"})
    assert (await get(one, "/readyz?exclude=kafak")).status_code == 400, "a slip would check nothing, silently"


async def test_a_loop_that_does_not_turn_is_not_live() -> None:
    loop = Turning("one", [])
    loop.progressed_at = time.monotonic() - STALLED_SECONDS - 1
    answer = await get(service({"one": loop}), "/livez")
    assert (answer.status_code, answer.json()) == (503, {"live": False, "stalled": ["one"]})


async def test_metrics_are_shown() -> None:
    one = service()
    one.metrics.set(meters.OUTBOX_UNSENT, 7)
    assert "outbox_unsent 7.0" in (await get(one, "/metrics")).text


async def test_sigterm_stops_the_loops_in_order_and_a_failed_one_was_started_again(monkeypatch) -> None:
    monkeypatch.setattr("chassis.host.service.RESTART_PAUSE_SECONDS", 0.01)
    order: list[str] = []
    loops = {name: Turning(name, order, fails=int(name == "consumer")) for name in ("listener", "consumer", "relay")}
    running = asyncio.create_task(service(loops).run())

    async def all_run() -> bool:
        return [loop.starts for loop in loops.values()] == [1, 2, 1]

    await eventually(all_run, what="all loops, one of them restarted")
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(running, 60)
    assert order == ["listener", "consumer", "relay"]


class Held(Exception):  # noqa: N818 (the word is what is wrong with it)
    """An error that its own traceback keeps alive."""


class Littering(LoopBase):
    """Leaves a cycle behind at its start: an error in a variable of the frame that the error's traceback holds."""

    def __init__(self) -> None:
        super().__init__()
        self.left: weakref.ref[Held] | None = None

    async def run(self) -> None:
        self._litter()
        await self._stopping.wait()

    def _litter(self) -> None:
        kept = Held()
        self.left = weakref.ref(kept)
        with suppress(Held):
            raise kept


@pytest.fixture
def collector_as_it_was() -> Iterator[None]:
    """The host sets the collector for a process of its own; the tests that follow are not that."""
    thresholds = gc.get_threshold()
    yield
    gc.set_threshold(*thresholds)
    gc.unfreeze()


@pytest.mark.usefixtures("collector_as_it_was")
async def test_what_a_loop_leaves_in_a_cycle_is_gone_within_a_period(monkeypatch) -> None:
    monkeypatch.setattr("chassis.host.service.COLLECT_SECONDS", 0.2)
    loop = Littering()
    running = asyncio.create_task(service({"one": loop}).run())

    async def was_left() -> bool:
        return loop.left is not None

    async def is_gone() -> bool:
        return loop.left is not None and loop.left() is None

    await eventually(was_left, what="the cycle")
    assert gc.get_threshold()[0] > 10_000, "this little is far from what makes the collector look by itself"
    await eventually(is_gone, what="the end of the cycle")
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(running, 60)
