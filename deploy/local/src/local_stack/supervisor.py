"""One process that starts, watches, restarts and stops the other processes in order.

After every change it writes its state to ``run/state.json``, which the commands read. A process that ends is started
again after a growing pause. When a process does not become healthy at the first start, the start fails and everything
started is stopped.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from local_stack.processes import Process, module_command, processes, servers
from local_stack.provision import provision
from local_stack.settings import Settings

START_SECONDS = 180
"""The longest first start of one process, or of one job before it; generous, for a busy machine."""
STOP_SECONDS = 20
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 5.0
STEADY_SECONDS = 30
"""A process that ran for this long restarts without a pause."""


class StartError(RuntimeError):
    """A process did not start; the text names it, the reason and its log."""


@dataclass
class Running:
    """The state of one process: waiting, starting, healthy, restarting or stopped."""

    process: Process
    status: str = "waiting"
    child: "subprocess.Popen[bytes] | None" = None
    restarts: int = 0
    since: float = 0.0

    def row(self) -> dict[str, Any]:
        alive = self.child is not None and self.child.poll() is None
        identity = _identity(self.child.pid) if self.child and alive else {"pid": None}
        return {
            "name": self.process.name,
            "status": self.status,
            **identity,
            "restarts": self.restarts,
            "since": self.since,
            "address": self.process.address,
        }


class Supervisor:
    """Runs the stack until it is told to stop."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.running = {process.name: Running(process) for process in processes(settings)}
        self.stopping = asyncio.Event()
        self.phase = "starting"
        self.failure = ""

    async def run(self) -> int:
        """Starts everything, watches it, and stops it on SIGTERM or SIGINT. Returns the exit code."""
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, self.stopping.set)
        self._save()
        try:
            if await self._start_all():
                self.phase = "up"
                self._save()
                await self._watch()
        finally:
            await self._stop_all()
        return 1 if self.failure else 0

    async def _start_all(self) -> bool:
        start = asyncio.ensure_future(self._start_in_order())
        stop = asyncio.ensure_future(self.stopping.wait())
        await asyncio.wait({start, stop}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if not start.done():
            start.cancel()
        try:
            await start
        except asyncio.CancelledError:
            return False
        except StartError as error:
            self.failure = str(error)
            self._save()
            return False
        return True

    async def _start_in_order(self) -> None:
        given = self.settings.given
        if given:
            admin_url = given.postgres_admin_url
        else:
            postgres, kafka = servers(self.settings)
            for server in (postgres, kafka):
                try:
                    await asyncio.to_thread(server.prepare)
                except (RuntimeError, OSError) as error:
                    raise StartError(str(error)) from error
            admin_url = postgres.admin_url
        first = [r for r in self.running.values() if not r.process.after]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._first_start(r)) for r in first]
        _raise_first(tasks)
        await provision(admin_url, self.settings.passwords())
        rest = [r for r in self.running.values() if r.process.after]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._first_start(r)) for r in rest]
        _raise_first(tasks)

    async def _first_start(self, running: Running) -> StartError | None:
        """Starts one process the first time. Errors are returned, so that the other starts end in order."""
        try:
            for job in running.process.jobs:
                await self._job(running, job)
            await self._spawn_and_wait(running)
        except StartError as error:
            return error
        return None

    async def _job(self, running: Running, arguments: tuple[str, ...]) -> None:
        log = self._log(running.process.name)
        running.status = arguments[-1]
        self._save()
        with log.open("ab") as output:
            child = await asyncio.create_subprocess_exec(
                *module_command(*arguments), env={**os.environ, **running.process.environment},
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip
        try:
            async with asyncio.timeout(START_SECONDS):
                code = await child.wait()
        except TimeoutError:
            raise StartError(f"{' '.join(arguments)} did not end within {START_SECONDS} s ({log})") from None
        finally:
            if child.returncode is None:
                child.kill()
        if code != 0:
            raise StartError(f"{' '.join(arguments)} failed: {last_line(log)} ({log})")

    async def _spawn_and_wait(self, running: Running) -> None:
        log = self._log(running.process.name)
        running.child = running.process.spawn(log)
        running.status, running.since = "starting", time.time()
        self._save()
        deadline = time.monotonic() + START_SECONDS
        while not await running.process.healthy():
            if running.child.poll() is not None:
                code = running.child.returncode
                raise StartError(f"{running.process.name} ended with {code}: {last_line(log)} ({log})")
            if time.monotonic() > deadline:
                name = running.process.name
                raise StartError(f"{name} was not healthy after {START_SECONDS} s: {last_line(log)} ({log})")
            await asyncio.sleep(0.1)
        running.status = "healthy"
        self._save()

    async def _watch(self) -> None:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._keep(running)) for running in self.running.values()]
            await self.stopping.wait()
            for task in tasks:
                task.cancel()

    async def _keep(self, running: Running) -> None:
        """Restarts one process whenever it ends, and keeps its health in the state file."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            child = running.child
            if child is not None and child.poll() is None:
                status = "healthy" if await running.process.healthy() else "not answering"
                if status != running.status:
                    running.status = status
                    self._save()
                await asyncio.sleep(0.25)
                continue
            if time.time() - running.since > STEADY_SECONDS:
                pause = FIRST_PAUSE_SECONDS
            running.status = "restarting"
            self._save()
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
            running.restarts += 1
            running.child = running.process.spawn(self._log(running.process.name))
            running.since = time.time()

    async def _stop_all(self) -> None:
        """Stops users before what they use: services, then simulators, then Kafka and Postgres."""
        self.phase = "stopping"
        self._save()
        groups: list[list[Running]] = [[], [], []]
        for running in self.running.values():
            server = running.process.name in {"postgres", "kafka"}
            groups[0 if running.process.after else 2 if server else 1].append(running)
        for group in groups:
            await asyncio.gather(*(self._stop(running) for running in group))
        self.phase = "down"
        self._save()

    async def _stop(self, running: Running) -> None:
        child = running.child
        if child is not None and child.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, running.process.stop_signal)
            deadline = time.monotonic() + STOP_SECONDS
            while child.poll() is None and time.monotonic() < deadline:
                await asyncio.sleep(0.05)
            if child.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
                await asyncio.to_thread(child.wait)
        running.status = "stopped"
        self._save()

    def _log(self, name: str) -> Path:
        return self.settings.logs / f"{name}.log"

    def _save(self) -> None:
        state = {
            "supervisor": _identity(os.getpid()),
            "phase": self.phase,
            "failure": self.failure,
            "processes": [running.row() for running in self.running.values()],
        }
        path = self.settings.state_file
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps(state, indent=1))
        fresh.replace(path)


def _raise_first(tasks: list["asyncio.Task[StartError | None]"]) -> None:
    for task in tasks:
        error = task.result()
        if error is not None:
            raise error


def _identity(pid: int) -> dict[str, float]:
    """A pid and its start time, so that another program with a reused pid is not taken for ours."""
    return {"pid": pid, "began": psutil.Process(pid).create_time()}


def read_state(settings: Settings) -> Mapping[str, Any] | None:
    """The state written by the last supervisor, or None."""
    with suppress(FileNotFoundError, json.JSONDecodeError):
        state: dict[str, Any] = json.loads(settings.state_file.read_text())
        return state
    return None


def alive(state: Mapping[str, Any] | None) -> bool:
    """Whether the supervisor that wrote ``state`` is running."""
    return state is not None and _runs(state["supervisor"])


def _runs(identity: Mapping[str, Any]) -> bool:
    """Whether the process of ``_identity`` is running."""
    with suppress(psutil.Error):
        found = psutil.Process(int(identity["pid"]))
        return abs(found.create_time() - identity["began"]) < 1 and found.status() != psutil.STATUS_ZOMBIE
    return False


def orphans(state: Mapping[str, Any] | None) -> Mapping[str, psutil.Process]:
    """The processes that a killed supervisor left running, by name."""
    found = {}
    for row in (state or {}).get("processes", []):
        # Without a pid, the supervisor stopped the process; with another start time, the pid is a stranger's.
        if row["pid"] is not None and _runs(row):
            with suppress(psutil.Error):
                found[row["name"]] = psutil.Process(row["pid"])
    return found


def stop_orphans(state: Mapping[str, Any] | None) -> list[str]:
    """Stops the processes that a killed supervisor left running. Returns their names."""
    found = orphans(state)
    for name, child in found.items():
        with suppress(psutil.Error):
            child.send_signal(signal.SIGINT if name == "postgres" else signal.SIGTERM)
    _, left = psutil.wait_procs(list(found.values()), timeout=STOP_SECONDS)
    for child in left:
        with suppress(psutil.Error):
            child.kill()
    return list(found)


def last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    return lines[-1][:300] if lines else "its log is empty"


def main() -> int:
    return asyncio.run(Supervisor(Settings.from_environment()).run())


if __name__ == "__main__":
    sys.exit(main())
