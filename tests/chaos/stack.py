"""The suite's processes under the harness' control: started, killed, paused, restarted at once.

It does not use the supervisor of ``make up``, because the death and the restart of a process are under test. A process
that ended for any reason is restarted immediately, and the time until it serves again is measured.
"""

import asyncio
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import psutil

from demo_story.clients import Addresses
from local_stack import kafka
from local_stack.kafka import EmbeddedKafka
from local_stack.postgres import EmbeddedPostgres
from local_stack.processes import Process, answers, module_command, postgres_data, processes, spawner
from local_stack.processes import environment as environment_of
from local_stack.provision import provision
from local_stack.servers import JARS
from local_stack.settings import Ports, Settings
from local_stack.supervisor import last_line
from roster import roster
from tests.chaos import chimes, quick_java
from tests.chaos.wires import Wire

SERVICES = tuple(one.name for one in roster().services)
SERVERS = ("postgres", "kafka")
CHIMES = chimes.NAME
"""The harness' own service with timers; it is no member of the suite."""
SIMULATORS = tuple(one.name for one in roster().simulators)
WIRES = {"scheduler-sync.mllp": "hl7-in", "powerserver.mllp": "hl7-out", "omegaai": "fhir", "mailsink.smtp": "smtp"}
"""Names of the wires by destination; the wire to any other partner has that partner's name."""
WATCH_SECONDS = 0.03
ASK_SECONDS = 0.15
"""The pause between two checks whether a process serves again: each check costs both processes time."""
START_SECONDS = 180
TAKEOVER_SECONDS = 60
_PATIENCE = {
    # Short pauses, so that minutes of a run show what hours of an installation show.
    "SCHEDULER_SYNC_RETRY__LONGEST_SECONDS": "2",
    "SCHEDULER_SYNC_BREAKER__OPEN_SECONDS": "1",
    "SCHEDULER_SYNC_OMEGAAI__TIMEOUT_SECONDS": "3",
    "SCHEDULER_SYNC_OMEGAAI__POLL_SECONDS": "1",
    "SCHEDULER_SYNC_POWERSERVER__ACK_TIMEOUT_SECONDS": "2",
    "NOTIFIER_RETRY__LONGEST_SECONDS": "2",
    "NOTIFIER_BREAKER__OPEN_SECONDS": "1",
    "NOTIFIER_SMTP__TIMEOUT_SECONDS": "3",
    "POWERSERVER_SIM_ACK_TIMEOUT_SECONDS": "4",
    "POWERSERVER_SIM_RETRY_INITIAL_SECONDS": "0.2",
    "POWERSERVER_SIM_RETRY_MAX_SECONDS": "1",
}


class ChaosError(RuntimeError):
    """The harness could not continue; the text says where to look."""


def listening_port() -> int:
    """A free port outside the range of outgoing connections: a killed listener finds its port free again."""
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for _ in range(1000):
        port = random.SystemRandom().randrange(10_000, min(lowest, 30_000))
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise ChaosError("no free port below the ephemeral range")


@dataclass
class Kill:
    """One kill and the time until the process served again."""

    name: str
    how: str
    recovery_seconds: float | None = None
    cpu_seconds: float = 0.0
    """The processor time of the restart so far: on a busy machine the rest is waiting."""
    is_alone: bool = True
    """No dependency of the process was down meanwhile."""


@dataclass
class Member:
    """One process that is kept running."""

    process: Process
    log: Path
    child: "subprocess.Popen[bytes] | None" = None
    is_healthy: bool = False
    is_wanted: bool = True
    is_stopped: bool = False
    """Stopped by SIGSTOP."""
    fail_points: str = ""
    """For the next start only."""
    armed: str = ""
    expected: str = ""
    """The reason for which its end is expected, until it ends."""
    ends: list[str] = field(default_factory=list)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def name(self) -> str:
        return self.process.name

    @property
    def service(self) -> str:
        """The service whose replica this is."""
        return self.name.rstrip("0123456789").removesuffix("-") if self.name[-1].isdigit() else self.name

    @property
    def is_alive(self) -> bool:
        return self.child is not None and self.child.poll() is None

    def tree(self) -> list[psutil.Process]:
        if self.child is None:
            return []
        with suppress(psutil.NoSuchProcess):
            top = psutil.Process(self.child.pid)
            return [top, *top.children(recursive=True)]
        return []


class ChaosStack:
    """The whole suite with a wire in front of every link."""

    def __init__(self, base: Path, *, replicas: int = 1, sabotage: str = "") -> None:
        jars = Path(os.environ.get("KAFKA_JARS_DIR", JARS))
        kafka.fetch_jars(jars)
        os.environ["KAFKA_JARS_DIR"] = str(jars)
        base.mkdir(parents=True, exist_ok=True)
        base.chmod(0o755)  # Postgres runs as nobody when the harness runs as root
        self.ports = Ports.each(listening_port)
        self.settings = Settings(base, self.ports)
        for folder in (self.settings.logs, self.settings.data):
            folder.mkdir(parents=True, exist_ok=True)
        self.kills: list[Kill] = []
        self.takeovers: list[float] = []
        """Seconds without an active relay after the kill of its holder; only with replicas."""
        self.disturbed: dict[str, float] = {}
        """The last time at which a server that others need was known to be down."""
        self.bent: dict[str, float] = {}
        """The end of each wire's last fault, by name."""
        targets = {str(target) for member in roster().members for target in member.talks_to}
        self.wires, wired = {}, dict(self.ports.numbers)
        for target in [*WIRES, *sorted(targets - WIRES.keys()), *SERVERS]:
            name = WIRES.get(target, target)
            self.wires[name] = Wire(name, listening_port(), [self.ports[target]])
            wired[target] = self.wires[name].port
        self.behind_wires = Settings(base, Ports(wired))
        self.postgres = EmbeddedPostgres(postgres_data(self.settings), self.ports["postgres"])
        self.kafka = EmbeddedKafka(
            self.settings.data / "kafka", self.ports["kafka"], self.ports["kafka.controller"], jars,
            advertised_port=self.wires["kafka"].port, jvm_options=quick_java.options(jars),
        )  # fmt: skip
        self.members = {one.name: one for one in self._members(replicas, sabotage)}
        self._watchers: list[asyncio.Task[None]] = []

    def _members(self, replicas: int, sabotage: str) -> list[Member]:
        found = []
        for process in processes(self.settings):
            if process.name == "kafka":
                found.append(self._member(replace(process, spawn=self.kafka.spawn)))
            elif process.name in SERVICES:
                numbers = range(1, replicas + 1)
                found += [self._member(self._replica(process, number, sabotage)) for number in numbers]
            elif process.name in SIMULATORS:
                found.append(self._member(process.changed(environment=self._environment(process.name))))
            else:
                found.append(self._member(process))
        return [*found, *(self._member(self._chimes(number)) for number in range(1, replicas + 1))]

    def chimes_url(self, settings: Settings) -> str:
        """The URL of the database of ``chimes``;

        ``settings`` has the port of Postgres, or of the wire in front of it.
        """
        return f"postgresql://{CHIMES}:{CHIMES}@127.0.0.1:{settings.ports['postgres']}/{CHIMES}"

    def _chimes(self, number: int) -> Process:
        http = listening_port()
        environment = {
            "CHIMES_STORE__URL": self.chimes_url(self.behind_wires),
            "CHIMES_KAFKA__BOOTSTRAP_SERVERS": self.behind_wires.kafka_bootstrap,
            "CHIMES_HTTP__PORT": str(http),
        }
        arguments = ("tests.chaos.chimes",)
        return Process(
            CHIMES if number == 1 else f"{CHIMES}-{number}",
            spawner(module_command(*arguments), environment),
            answers(f"http://127.0.0.1:{http}/readyz"),
            {"http": http},
            environment=environment,
            arguments=arguments,
        )

    def _member(self, process: Process) -> Member:
        return Member(process, self.settings.logs / f"{process.name}.log")

    def _environment(self, name: str) -> dict[str, str]:
        """A member's settings: its partners, store and Kafka behind their wires, and short time-outs."""
        return {**environment_of(self.settings, roster().by_name[name], self.behind_wires), **_PATIENCE}

    def _replica(self, process: Process, number: int, sabotage: str) -> Process:
        service = roster().by_name[process.name]
        environment = self._environment(process.name)
        health = ""
        if number > 1:
            http = listening_port()
            environment[f"{service.prefix}_HTTP__PORT"] = str(http)
            health = f"http://127.0.0.1:{http}/readyz"
            for port in service.listens:
                listening = listening_port()
                environment[f"{service.prefix}_{port.upper()}__PORT"] = str(listening)
                target = str(service.target(port))
                if wire := self.wires.get(WIRES.get(target, target)):
                    wire.targets.append(listening)
        arguments = ("tests.chaos.sabotage", sabotage, *process.arguments) if sabotage else process.arguments
        name = process.name if number == 1 else f"{process.name}-{number}"
        return process.changed(name=name, arguments=arguments, environment=environment, health=health)

    def addresses(self) -> dict[str, str]:
        """The simulators' own addresses: people do not use the wires."""
        return {one.name: f"http://127.0.0.1:{self.ports[one.name]}" for one in fields(Addresses)}

    def replicas_of(self, service: str) -> list[Member]:
        return [one for one in self.members.values() if one.service == service]

    async def start(self) -> None:
        """Starts everything and waits until it is healthy.

        Raises ``ChaosError`` naming the log of the failed process.
        """
        for server in (self.postgres, self.kafka):
            await asyncio.to_thread(server.prepare)
        for wire in self.wires.values():
            await wire.open()
        first = [*SERVERS, *SIMULATORS]
        for name in first:
            self._spawn(self.members[name])
        for name in first:
            await self.until_healthy(name)
        await provision(self.postgres.admin_url, {**self.settings.passwords(), CHIMES: CHIMES})
        # Each service's jobs run in their order; the services run in parallel.
        await asyncio.gather(*(self._jobs(self.members[name]) for name in SERVICES))
        for name, member in self.members.items():
            if name not in first:
                self._spawn(member)
        for name in self.members:
            await self.until_healthy(name)
        self._watchers = [asyncio.create_task(self._watch(member)) for member in self.members.values()]

    async def _jobs(self, member: Member) -> None:
        for job in member.process.jobs:
            await self._job(member, job)

    async def _job(self, member: Member, job: tuple[str, ...]) -> None:
        with member.log.open("ab") as output:
            child = await asyncio.create_subprocess_exec(
                *module_command(*job), env={**os.environ, **member.process.environment}, stdout=output, stderr=output
            )
        if await child.wait() != 0:
            raise ChaosError(f"{' '.join(job)} failed: {last_line(member.log)} ({member.log})")

    async def until_healthy(self, name: str) -> None:
        """Raises ``ChaosError`` after ``START_SECONDS``."""
        member = self.members[name]
        deadline = time.monotonic() + START_SECONDS
        while not await member.process.healthy():
            if time.monotonic() > deadline:
                raise ChaosError(f"{name} did not become healthy: {last_line(member.log)} ({member.log})")
            await asyncio.sleep(0.1)
        member.is_healthy = True

    async def unhealthy(self) -> list[str]:
        """The members that do not serve at this moment."""
        return [one.name for one in self.members.values() if not (one.is_alive and await one.process.healthy())]

    def _spawn(self, member: Member) -> None:
        member.armed, member.fail_points = member.fail_points, ""
        process = member.process
        if member.armed:
            process = process.changed(environment={"FAILPOINTS": member.armed})
        member.is_healthy = False
        member.child = process.spawn(member.log)

    async def _watch(self, member: Member) -> None:
        """Restarts the member whenever it ended, and measures the time until it serves."""
        kill: Kill | None = None
        ended = asked = 0.0
        while True:
            if member.is_wanted and not member.is_alive:
                ended = time.monotonic()
                kill = self._judge(member)
                if kill is None:
                    await asyncio.sleep(0.3)  # it ended by itself, such as when its store is down at the start
                self._spawn(member)
            elif not member.is_wanted or member.is_healthy or time.monotonic() - asked < ASK_SECONDS:
                pass
            elif not await member.process.healthy():
                asked = time.monotonic()
            else:
                member.is_healthy = True
                if member.name in SERVERS:
                    self.disturbed[member.name] = time.monotonic()
                if kill is not None:
                    kill.recovery_seconds = round(time.monotonic() - ended, 3)
                    kill.cpu_seconds = round(cpu_seconds(member.tree()), 3)
                    needed = SERVERS if member.service in (*SERVICES, CHIMES) else ()
                    # A server is also asked through its wire: Kafka advertises the wire's address.
                    is_bent = self.bent.get(member.name, 0.0) > ended
                    kill.is_alone = not is_bent and all(self.disturbed.get(name, 0.0) < ended - 1.0 for name in needed)
            await asyncio.sleep(WATCH_SECONDS)

    def _judge(self, member: Member) -> Kill | None:
        """The cause of its end: the harness, a fail point, or the process itself."""
        code = member.child.returncode if member.child is not None else 0
        how, member.expected = member.expected, ""
        if not how and code == -signal.SIGKILL and member.armed:
            how = f"fail point {member.armed.partition('=')[0]}"
        if not how:
            member.ends.append(f"exit code {code}")
            return None
        if member.name in SERVERS:
            self.disturbed[member.name] = time.monotonic()
        kill = Kill(member.name, how)
        if "SIGTERM" not in how:
            self.kills.append(kill)
        return kill

    async def kill(self, member: Member) -> bool:
        """``kill -9`` of the process and all of its children. False when it was not running."""
        if not member.is_alive:
            return False
        tree = member.tree()
        member.expected, member.is_stopped = "kill -9", False
        for one in tree:
            with suppress(psutil.NoSuchProcess):
                one.kill()
        return True

    async def restart(self, member: Member) -> None:
        """An orderly stop; the watcher restarts the process."""
        if member.child is None or not member.is_alive:
            return
        member.expected = "SIGTERM"
        with suppress(ProcessLookupError):
            os.killpg(member.child.pid, member.process.stop_signal)
        deadline = time.monotonic() + 30
        child = member.child
        while child.poll() is None and time.monotonic() < deadline:
            await asyncio.sleep(WATCH_SECONDS)
        if child.poll() is None:
            await self.kill(member)

    async def holds_relay(self, member: Member) -> bool:
        """Whether the member's relay is the active one of its service."""
        port = next(value for name, value in member.process.environment.items() if name.endswith("_HTTP__PORT"))
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(2):
                reader, writer = await asyncio.open_connection("127.0.0.1", int(port))
                try:
                    writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
                    return b"\noutbox_relay_active 1" in await reader.read(2**20)
                finally:
                    writer.close()
        return False

    async def measure_takeover(self, service: str) -> None:
        """Measures the time until a replica's relay is active again, if no dependency is down meanwhile."""
        began = time.monotonic()
        while time.monotonic() - began < TAKEOVER_SECONDS:
            for member in self.replicas_of(service):
                if member.is_alive and not member.is_stopped and await self.holds_relay(member):
                    if all(self.disturbed.get(name, 0.0) < began - 1.0 for name in SERVERS):
                        self.takeovers.append(round(time.monotonic() - began, 2))
                    return
            await asyncio.sleep(WATCH_SECONDS)

    async def pause(self, member: Member, seconds: float) -> None:
        """Sends SIGSTOP, waits, and sends SIGCONT, to the process and its children."""
        tree = member.tree()
        member.is_stopped = True
        if member.name in SERVERS:
            self.disturbed[member.name] = time.monotonic() + seconds
        for one in tree:
            with suppress(psutil.NoSuchProcess):
                one.send_signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        for one in tree:
            with suppress(psutil.NoSuchProcess):
                one.send_signal(signal.SIGCONT)
        member.is_stopped = False

    async def close(self) -> None:
        """Stops everything, whatever state it is in."""
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)
        groups = ([], [], [])  # type: tuple[list[Member], ...]
        for member in self.members.values():
            groups[0 if member.service in (*SERVICES, CHIMES) else 2 if member.name in SERVERS else 1].append(member)
        for group in groups:
            await asyncio.gather(*(self._stop(member) for member in group))
        for wire in self.wires.values():
            await wire.close()

    async def _stop(self, member: Member) -> None:
        if member.child is None:
            return
        tree = member.tree()
        for one in tree:
            with suppress(psutil.NoSuchProcess):
                one.send_signal(signal.SIGCONT)
        with suppress(ProcessLookupError):
            os.killpg(member.child.pid, member.process.stop_signal)
        _, left = await asyncio.to_thread(psutil.wait_procs, tree, 10)
        for one in left:
            with suppress(psutil.NoSuchProcess):
                one.kill()
        await asyncio.to_thread(member.child.wait)


def cpu_seconds(tree: Iterable[psutil.Process]) -> float:
    """The processor time of the running processes; ended processes are left out."""
    total = 0.0
    for one in tree:
        with suppress(psutil.NoSuchProcess):
            times = one.cpu_times()
            total += times.user + times.system
    return total


def versions() -> str:
    return f"Python {sys.version.split()[0]}, Apache Kafka {kafka.KAFKA_VERSION}, embedded PostgreSQL"
