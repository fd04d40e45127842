"""Faults: planned from the seed before the run begins, then done to the stack.

The plan is the same for the same seed and options. When a fault's target is not running (it is just restarting), the
fault waits for a while. The plan lists the intended faults, the report the actual ones.
"""

import asyncio
import importlib.util
import random
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp

import omegaai.failpoints
from chassis import failpoints
from chassis.store.store import ERRORS
from roster import Member as Service
from roster import roster
from tests.chaos.stack import CHIMES, SERVERS, SERVICES, SIMULATORS, ChaosStack, Member
from tests.chaos.store_faults import ROLE_SETTINGS, StoreFaults

READY_SECONDS: Final = 12.0
USUAL_WEIGHT: Final = 10
FAIL_POINT_SECONDS: Final = 12.0
"""The time in which a process that is to end at a fail point is not disturbed."""
RUTHLESS: Final = 0.25
"""The share of kills that do not wait until their victim serves again after its last kill."""

_VICTIMS: Final = {
    # The weight of each fault; a member without its own number gets the default.
    **dict.fromkeys([*SERVICES, *SIMULATORS], USUAL_WEIGHT),
    "scheduler-sync": 32,
    "notifier": 22,
    "powerserver": 13,
    "omegaai": 13,
    "mailsink": 10,
    CHIMES: 15,
    "postgres": 7,
    "kafka": 3,
}


def reached_by(service: Service) -> list[str]:
    """The fail points that a service reaches: its own, and the libraries' according to its file."""
    comes_to = {
        "consumer.": bool(service.hears),
        "relay.": bool(service.produces),
        "inbound.": "mllp" in service.listens,
        "delivery.": bool(service.talks_to),
        "timer.": False,  # no service of the suite has timers yet
        "merge.": False,  # the load merges nobody, and no reconciliation begins within a run
        "reconcile.": False,
    }
    left_out = tuple(place for place, comes in comes_to.items() if not comes)
    own = f"{service.package}.failpoints"
    own_points = failpoints.names_in(importlib.import_module(own)) if importlib.util.find_spec(own) else ()
    return [
        *(name for name in failpoints.names_in(failpoints) if not name.startswith(left_out)),
        *(name for name in own_points if not name.startswith(left_out)),
        *(failpoints.names_in(omegaai.failpoints) if "omegaai" in service.talks_to else ()),
    ]


_FAIL_POINTS: Final = {
    **{service.name: reached_by(service) for service in roster().services},
    CHIMES: [name for name in failpoints.names_in(failpoints) if name.startswith(("timer.", "batch.", "consumer."))],
}
_REPLICATED: Final = (*SERVICES, CHIMES)
_OTHERS: Final = {"pause": 12, "restart": 8, "wire": 26, "misbehave": 44, "store": 16, "standstill": 4}
STANDSTILL_SECONDS: Final = 15.0
_STORE: Final = ("cancel statements", "cancel statements", "lock tables", *ROLE_SETTINGS, "read-only")
_WIRES: Final = ("cut", "half-open", "deaf", "lose answers", "slow", "refuse")
MISBEHAVIOUR: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    ("powerserver", {"target": "mllp-out", "mode": "duplicate", "count": 5}),
    ("powerserver", {"target": "mllp-out", "mode": "reorder", "count": 2}),
    ("powerserver", {"target": "mllp-out", "mode": "cut", "count": 2}),
    ("powerserver", {"target": "mllp-in", "mode": "status", "status": "AE", "count": 3}),
    ("powerserver", {"target": "mllp-in", "mode": "late-ack", "seconds": 3.0, "count": 1}),
    ("powerserver", {"target": "mllp-in", "mode": "wrong-ack", "count": 2}),
    ("powerserver", {"target": "mllp-in", "mode": "no-ack", "count": 1}),
    ("powerserver", {"target": "mllp-in", "mode": "accept-then-cut", "count": 2}),
    ("powerserver", {"target": "mllp-in", "mode": "slow", "seconds": 0.5, "count": 3}),
    ("omegaai", {"target": "fhir", "mode": "status", "status": 429, "count": 8}),
    ("omegaai", {"target": "fhir", "mode": "status", "status": 500, "count": 8}),
    ("omegaai", {"target": "fhir", "mode": "status", "status": 503, "count": 8}),
    ("omegaai", {"target": "fhir", "mode": "accept-then-timeout", "seconds": 4.0, "count": 4}),
    ("omegaai", {"target": "fhir", "mode": "cut", "count": 5}),
    ("omegaai", {"target": "fhir", "mode": "slow", "seconds": 1.0, "count": 5}),
    ("omegaai", {"target": "fhir", "mode": "status", "status": 403, "count": 4}),
    ("omegaai", {"target": "fhir", "mode": "redirect", "count": 4}),
    ("omegaai", {"target": "fhir", "mode": "page", "count": 4}),
    ("omegaai", {"target": "fhir", "mode": "endless", "count": 2}),
    ("omegaai", {"target": "token", "mode": "status", "status": 503, "count": 2}),
    ("omegaai", {"target": "token", "mode": "refuse", "count": 2}),
    ("omegaai", {"target": "feed", "mode": "drop", "count": 10}),
    ("omegaai", {"target": "feed", "mode": "duplicate", "count": 10}),
    ("omegaai", {"target": "feed", "mode": "reorder", "count": 10}),
    ("omegaai", {"target": "feed", "mode": "cut", "count": 1}),
    ("mailsink", {"mode": "status", "status": 421, "count": 2}),
    ("mailsink", {"mode": "status", "status": 451, "count": 4}),
    ("mailsink", {"mode": "status", "status": 530, "count": 2}),
    ("mailsink", {"mode": "accept-then-cut", "count": 2}),
    ("mailsink", {"mode": "slow", "seconds": 1.0, "count": 3}),
)


@dataclass(frozen=True)
class Fault:
    """One fault, ``at`` seconds after the start; ``kind`` names the fault, ``target`` its victim."""

    at: float
    kind: str
    target: str
    mode: str = ""
    seconds: float = 0.0
    number: int = 0
    again: tuple[float, ...] = ()
    """Pauses before a just restarted victim is killed again: a crash loop."""
    order: dict[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        return " ".join(filter(None, (self.kind, self.target, self.mode)))


def plan(seed: int, *, seconds: float, kills: int, others: int, replicas: int, burst: int = 1) -> list[Fault]:
    """The run's faults in order of time. Each of the ``kills`` comes 1 to 2 × ``burst`` - 1 times in a row."""
    rng = random.Random(seed)
    points = {name: _in_turn(rng, names) for name, names in _FAIL_POINTS.items()}
    found = [_kill(rng, at, replicas, burst, points) for at in _times(rng, kills, seconds)]
    kinds, weights = list(_OTHERS), list(_OTHERS.values())
    for at in _times(rng, others, seconds):
        (kind,) = rng.choices(kinds, weights)
        found.append(_other(rng, at, kind, replicas))
    return sorted(found, key=lambda fault: fault.at)


def _times(rng: random.Random, number: int, seconds: float) -> list[float]:
    return [round(rng.uniform(0.0, seconds), 2) for _ in range(number)]


def _in_turn(rng: random.Random, names: list[str]) -> Iterator[str]:
    """Each item once per round, in random order: a run of some length leaves no item out."""
    while True:
        yield from rng.sample(names, len(names))


def _victim(rng: random.Random, name: str, replicas: int) -> str:
    number = rng.randint(1, replicas) if name in _REPLICATED else 1
    return name if number == 1 else f"{name}-{number}"


def _kill(rng: random.Random, at: float, replicas: int, burst: int, points: dict[str, Iterator[str]]) -> Fault:
    (name,) = rng.choices(list(_VICTIMS), list(_VICTIMS.values()))
    mode, number = "", 0
    if name in _REPLICATED and rng.random() < 0.7:
        mode, number = next(points[name]), min(rng.randint(1, 8), rng.randint(1, 8))
    seconds = READY_SECONDS if rng.random() > RUTHLESS else 0.0
    times = rng.randint(1, 2 * burst - 1) - 1 if name not in SERVERS else 0
    again = tuple(round(rng.uniform(0.02, 0.7), 2) for _ in range(times))
    return Fault(at, "kill", _victim(rng, name, replicas), mode, seconds, number, again)


def _other(rng: random.Random, at: float, kind: str, replicas: int) -> Fault:
    if kind == "pause":
        name = rng.choice([*_REPLICATED, *SERVICES, *SERVERS, *SIMULATORS])
        return Fault(at, kind, _victim(rng, name, replicas), seconds=round(rng.uniform(0.3, 7.0), 1))
    if kind == "restart":
        return Fault(at, kind, _victim(rng, rng.choice([*_REPLICATED, *SERVICES, "postgres"]), replicas))
    if kind == "store":
        mode, seconds = rng.choice(_STORE), round(rng.uniform(1.0, 4.0), 1)
        return Fault(at, kind, rng.choice(SERVICES), mode, seconds)
    if kind == "standstill":
        return Fault(at, kind, "scheduler-sync", "relay", STANDSTILL_SECONDS)
    if kind == "wire":
        name = rng.choice(["hl7-in", "hl7-in", "hl7-out", "hl7-out", "fhir", "fhir", "smtp", "postgres", "kafka"])
        return Fault(at, kind, name, rng.choice(_WIRES), round(rng.uniform(0.5, 4.0), 1))
    target, order = rng.choice(MISBEHAVIOUR)
    return Fault(
        at, kind, target, " ".join(str(order[key]) for key in ("target", "mode", "status") if key in order), order=order
    )


class Mischief:
    """Carries the plan out on a stack."""

    def __init__(self, stack: ChaosStack, http: aiohttp.ClientSession, say: Callable[[str], None]) -> None:
        self._stack = stack
        self._http = http
        self._say = say
        self._store_faults = StoreFaults(stack.postgres.admin_url)
        self.done: Counter[str] = Counter()
        self.missed: Counter[str] = Counter()

    async def run(self, faults: list[Fault]) -> None:
        """Returns when every fault has happened and has been undone."""
        started = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for fault in faults:
                await asyncio.sleep(max(0.0, started + fault.at - time.monotonic()))
                group.create_task(self._do(fault))

    async def heal(self) -> None:
        """Undoes every fault that is still in force."""
        for wire in self._stack.wires.values():
            wire.heal()
        for name in SERVICES:
            await self._store_faults.reset_role(name.replace("-", "_"))
        for address in self._stack.addresses().values():
            with suppress(aiohttp.ClientError, OSError, TimeoutError):
                await self._http.delete(f"{address}/control/misbehave")

    async def _do(self, fault: Fault) -> None:
        ways: dict[str, Callable[[Fault], Coroutine[Any, Any, bool]]] = {
            "kill": self._kill,
            "pause": self._pause,
            "restart": self._restart,
            "wire": self._wire,
            "misbehave": self._misbehave,
            "store": self._store,
            "standstill": self._standstill,
        }
        happened = await ways[fault.kind](fault)
        (self.done if happened else self.missed)[fault.label] += 1
        self._say(fault.label if happened else f"{fault.label}: not there to be hurt")

    async def _there(self, member: Member, seconds: float) -> bool:
        """Waits until the target serves, as long as the fault has patience; after that it must at least be alive."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not (member.is_alive and member.is_healthy):
            await asyncio.sleep(0.05)
        while time.monotonic() < deadline + READY_SECONDS and not member.is_alive:
            await asyncio.sleep(0.05)
        return member.is_alive

    async def _kill(self, fault: Fault) -> bool:
        member = self._stack.members[fault.target]
        async with member.lock:
            if not await self._there(member, fault.seconds):
                return False
            others = [one for one in self._stack.replicas_of(member.service) if one is not member and one.is_healthy]
            is_holder = bool(others) and member.service != CHIMES and await self._stack.holds_relay(member)
            lives = [0.0, *fault.again]
            happened = False
            for number, pause in enumerate(lives, start=1):
                await asyncio.sleep(pause)
                if not await self._there(member, 0.0):
                    break
                if fault.mode and number == len(lives):
                    # The victim's next life ends by itself, at a point between a commit and a send.
                    member.fail_points = f"{fault.mode}=kill@{fault.number}"
                happened = await self._stack.kill(member) or happened
            deadline = time.monotonic() + FAIL_POINT_SECONDS
            while (member.fail_points or member.armed) and time.monotonic() < deadline:
                await asyncio.sleep(0.05)
        if happened and is_holder:
            await self._stack.measure_takeover(member.service)
        return happened

    async def _pause(self, fault: Fault) -> bool:
        member = self._stack.members[fault.target]
        async with member.lock:
            if not await self._there(member, READY_SECONDS):
                return False
            await self._stack.pause(member, fault.seconds)
            return True

    async def _standstill(self, fault: Fault) -> bool:
        """Stops the process with the active relay for longer than a standby waits."""
        for member in self._stack.replicas_of(fault.target):
            async with member.lock:
                if not (member.is_alive and await self._stack.holds_relay(member)):
                    continue
                others = [one for one in self._stack.replicas_of(fault.target) if one is not member and one.is_healthy]
                stopped = asyncio.create_task(self._stack.pause(member, fault.seconds))
                await asyncio.sleep(0)  # now the target is there
                if others:
                    await self._stack.measure_takeover(member.service)
                await stopped
                return True
        return False

    async def _store(self, fault: Fault) -> bool:
        name = fault.target.replace("-", "_")
        server, victims = self._stack.members["postgres"], self._stack.replicas_of(fault.target)
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline and not (server.is_healthy and any(one.is_healthy for one in victims)):
            await asyncio.sleep(0.05)
        self._stack.disturbed["postgres"] = time.monotonic() + fault.seconds
        with suppress(*ERRORS):
            match fault.mode:
                case "cancel statements":
                    return await self._store_faults.cancel_statements(name, fault.seconds)
                case "lock tables":
                    return await self._store_faults.lock_tables(name)
                case _:
                    return await self._store_faults.set_role(name, fault.mode, fault.seconds)
        return False  # Postgres itself was away

    async def _restart(self, fault: Fault) -> bool:
        member = self._stack.members[fault.target]
        async with member.lock:
            if not await self._there(member, READY_SECONDS):
                return False
            await self._stack.restart(member)
            return True

    async def _wire(self, fault: Fault) -> bool:
        wire = self._stack.wires[fault.target]
        match fault.mode:
            case "cut":
                return wire.cut() > 0
            case "half-open":
                return wire.half_open() > 0
            case "deaf":
                wire.is_deaf = True
            case "lose answers":
                wire.loses_answers = True
            case "slow":
                wire.delay_seconds = 0.1
            case _:
                wire.is_refusing = True
        self._stack.bent[fault.target] = time.monotonic() + fault.seconds
        if fault.target in SERVERS:
            self._stack.disturbed[fault.target] = time.monotonic() + fault.seconds
        await asyncio.sleep(fault.seconds)
        wire.heal()
        return True

    async def _misbehave(self, fault: Fault) -> bool:
        url = f"{self._stack.addresses()[fault.target]}/control/misbehave"
        with suppress(aiohttp.ClientError, OSError, TimeoutError):
            async with self._http.post(url, json=fault.order) as response:
                return response.status in {200, 201}
        return False
