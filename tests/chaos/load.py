"""The people around the suite: staff in PowerServer, patients in Blume, and a story for each appointment.

They act through the simulators' own interfaces and see only what these show. Most wait until they see the other side's
action before they act on it; some do not, so that both sides edit at once.
"""

import asyncio
import random
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp

from demo_story.clients import Addresses, People, StoryError
from demo_story.people_made_up import patient as made_up

FOLLOW_SECONDS: Final = 0.15
PATIENCE_SECONDS: Final = 45.0
AWAY = (aiohttp.ClientError, OSError, TimeoutError)

Act = tuple[str, str]
"""The actor and the act: ``("staff", "arrived")``, ``("patient", "confirm")``, ``("both", "confirm+move")``."""

STORIES: Final[tuple[tuple[int, tuple[Act, ...]], ...]] = (
    (24, (("patient", "confirm"),)),
    (10, (("patient", "confirm"), ("staff", "arrived"), ("staff", "ready-for-scan"))),
    (8, (("staff", "move"), ("patient", "confirm"), ("staff", "move"))),
    (8, (("staff", "move"), ("staff", "confirmed"), ("staff", "arrived"))),
    (8, (("patient", "cancel"),)),
    (6, (("patient", "confirm"), ("patient", "cancel"))),
    (6, (("patient", "confirm"), ("staff", "cancelled-with-notice"))),
    (6, (("staff", "confirmed"), ("staff", "need-to-reschedule"), ("patient", "confirm"))),
    (6, (("patient", "confirm"), ("staff", "need-to-reschedule"), ("patient", "confirm"))),
    (4, (("staff", "no-show"),)),
    (6, (("both", "confirm+move"),)),
    (4, (("both", "cancel+move"),)),
    (4, (("both", "confirm+cancelled-with-notice"),)),
)
"""Weight in percent, and the acts after the booking."""


@dataclass
class Seen:
    """The state of one appointment that the ledgers at the ends have shown so far."""

    statuses: list[str] = field(default_factory=list)
    """PowerServer's statuses, in order."""
    by_hl7: int = 0
    fhir: list[tuple[str, str]] = field(default_factory=list)
    """Status and writer (``blume`` or the suite's client) of each version."""
    appointment_id: str = ""
    patient_id: str = ""
    resource: str = ""

    @property
    def written_by_suite(self) -> int:
        return sum(1 for _, by in self.fhir if by != "blume")


@dataclass
class Answered:
    """An act that a simulator answered with success: an acknowledged input."""

    placer: str
    act: str
    at: float


class Town:
    """All people, and the ledgers through which they watch."""

    def __init__(self, addresses: dict[str, str], http: aiohttp.ClientSession, seed: int) -> None:
        self.people = People(Addresses(**addresses), http)
        self.random = random.Random(seed)
        self.seen: dict[str, Seen] = defaultdict(Seen)
        self.answered: list[Answered] = []
        self.outcomes: Counter[str] = Counter()
        self.is_closing = False
        self._emails: dict[str, str] = {}
        self._after = dict.fromkeys(addresses, 0)
        self._addresses = addresses
        self._stories: set[asyncio.Task[None]] = set()
        self._slots: list[dict[str, Any]] = []
        self._moved = asyncio.Event()
        self._follower: asyncio.Task[None] | None = None

    async def begin(self, slots: int) -> None:
        """Finds free slots and begins to follow the ledgers."""
        found = await self.people.free_slots(slots)
        self.random.shuffle(found)
        self._slots = found
        self._follower = asyncio.create_task(self._follow())

    async def live(self, until: asyncio.Event, *, per_second: float, most: int) -> None:
        """Begins new stories until told to stop, with at most ``most`` open; open stories go on."""
        for _ in range(most):
            if until.is_set():
                return
            story = asyncio.create_task(self._story())
            self._stories.add(story)
            story.add_done_callback(self._stories.discard)
            await asyncio.sleep(self.random.expovariate(per_second))

    async def go_home(self, seconds: float) -> int:
        """Lets the open stories end; stories that take too long are cut off at their next step.

        Returns their number.
        """
        if self._stories:
            await asyncio.wait(self._stories, timeout=seconds)
        self.is_closing = True
        self._moved.set()
        if self._stories:
            await asyncio.wait(self._stories, timeout=5)
        left = len(self._stories)
        for story in self._stories:
            story.cancel()
        if self._follower is not None:
            self._follower.cancel()
        await asyncio.gather(*self._stories, self._follower or asyncio.sleep(0), return_exceptions=True)
        return left

    async def _follow(self) -> None:
        while True:
            for name, take in (("powerserver", self._powerserver), ("omegaai", self._omegaai)):
                with suppress(StoryError, *AWAY):
                    rows, _ = await self.people.ledger(self._addresses[name], self._after[name])
                    for row in rows:
                        take(row)
                    if rows:
                        self._after[name] = rows[-1]["seq"]
                        self._moved.set()
            await asyncio.sleep(FOLLOW_SECONDS)

    def _powerserver(self, row: dict[str, Any]) -> None:
        detail = row["detail"]
        if row["kind"] == "appointment.booked":
            self.seen[row["subject"]].statuses.append("SCHEDULED")
            self.seen[row["subject"]].patient_id = detail["patient_id"]
            self.seen[row["subject"]].resource = detail["resource"]
        elif row["kind"] == "appointment.status":
            self.seen[row["subject"]].statuses.append(detail["to"])
            self.seen[row["subject"]].by_hl7 += detail["by"] == "hl7"

    def _omegaai(self, row: dict[str, Any]) -> None:
        if row["kind"] in {"Appointment.created", "Appointment.updated"} and row["detail"].get("placer_number"):
            seen = self.seen[row["detail"]["placer_number"]]
            seen.fhir.append((row["detail"]["status"], row["detail"]["by"]))
            seen.appointment_id = row["subject"]

    async def _until(self, condition: Callable[[], bool]) -> bool:
        """Waits until the ledgers show the condition. False when the wait is too long, or the town closes."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            if time.monotonic() > deadline or self.is_closing:
                return False
            self._moved.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._moved.wait(), 1.0)
        return True

    async def _story(self) -> None:
        (acts,) = self.random.choices([acts for _, acts in STORIES], [weight for weight, _ in STORIES])
        is_hasty = self.random.random() < 0.3
        placer = await self._book()
        if placer is None:
            return
        seen = self.seen[placer]
        written, told = 1, 0
        """How many versions the suite should have written by now, and how many statuses it should have told."""
        for who, act in acts:
            if self.is_closing:
                return
            if not (who == "staff" and is_hasty) and not await self._until(
                lambda: seen.written_by_suite >= written and seen.by_hl7 >= told  # noqa: B023 (used at once)
            ):
                self.outcomes["stories cut short"] += 1
                return
            await asyncio.sleep(self.random.uniform(0.0, 0.5))
            if who == "both":
                patients, staffs = act.split("+")
                done = await asyncio.gather(self._patient(placer, patients), self._staff(placer, staffs))
            elif who == "patient":
                done = [await self._patient(placer, act)]
                told += done[0] is True
            else:
                done = [await self._staff(placer, act)]
                written += done[0] is True
            if not all(done) or who == "both":
                return  # the expected next state is unknown
        self.outcomes["stories told to their end"] += 1

    async def _book(self) -> str | None:
        who: dict[str, Any]
        known = [placer for placer, seen in self.seen.items() if seen.patient_id and placer in self._emails]
        if known and self.random.random() < 0.15:
            former = self.random.choice(known)
            who, email = {"id": self.seen[former].patient_id}, self._emails[former]
        else:
            who = made_up(len(self._emails))
            email = who["email"]
        if not self._slots:
            return None
        slot = self._slots.pop()
        placer: str | None = await self._tried("book", lambda: self.people.book(who, slot))
        if placer is not None:
            self._emails[placer] = email
            self.answered.append(Answered(placer, "book", time.time()))
        return placer

    async def _staff(self, placer: str, act: str) -> bool:
        if act == "move":
            slot = self._slot_for(placer)
            if slot is None:
                return False

            async def move() -> bool:
                await self.people.move(placer, slot)
                return True

            done = await self._tried("staff move", move)
        else:
            done = await self._tried(f"staff {act}", lambda: self.people.act(placer, act))
        if done:
            self.answered.append(Answered(placer, act, time.time()))
        return bool(done)

    def _slot_for(self, placer: str) -> dict[str, Any] | None:
        """A free slot on the appointment's resource."""
        resource = self.seen[placer].resource
        for place, slot in enumerate(self._slots):
            if slot["resource"] == resource:
                return self._slots.pop(place)
        return None

    async def _patient(self, placer: str, act: str) -> bool:
        seen = self.seen[placer]

        async def press() -> bool:
            patient = await self.people.log_in(self._emails[placer])
            if patient is None:
                return False
            try:
                if act == "confirm":
                    await patient.confirm(seen.appointment_id)
                else:
                    await patient.cancel(seen.appointment_id, "cannot come")
            finally:
                await patient.leave()
            return True

        done = await self._tried(f"patient {act}", press)
        if done:
            self.answered.append(Answered(placer, act, time.time()))
        return bool(done)

    async def _tried(self, what: str, act: Callable[[], Awaitable[Any]]) -> Any:
        """The act's answer; None when it was refused or lost, in which case only the ledger knows."""
        try:
            answer = await act()
        except StoryError:
            self.outcomes[f"{what}: refused"] += 1
            return None
        except AWAY:
            self.outcomes[f"{what}: no answer"] += 1
            return None
        self.outcomes[f"{what}: done"] += 1
        return answer
