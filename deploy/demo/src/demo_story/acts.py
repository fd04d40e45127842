"""What patients and staff do after a booking, each act counted at both ends: rescheduling, booking, moving, cancelling.

A group of appointments plays each flow, all groups at once. The ledgers of the two systems say what began and ended.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from rich.console import Console

from demo_story.clients import Addresses, Patient, People, until
from demo_story.counting import flow, moment

MOST_OF_A_FLOW: Final = 8
GROUPS: Final = 4
"""The flows that need an appointment of the volume run."""
STALLED_SECONDS: Final = 90
SLOTS_LOOKED_AT: Final = 2000
TITLES: Final[Mapping[str, str]] = {
    "patient_reschedules": "reschedule asked in Blume → accepted in PowerServer → the new time in Blume",
    "patient_books": "booked in Blume → confirmed in PowerServer → Scheduled in Blume",
    "staff_moves": "moved in PowerServer → the new time in Blume",
    "patient_cancels": "cancelled in Blume → CANCELLED in PowerServer",
    "staff_cancels": "cancelled in PowerServer → Cancelled in Blume",
}


@dataclass(frozen=True, slots=True)
class Confirmed:
    """An appointment of the volume run: who it is for, and OmegaAI's id."""

    placer: str
    email: str
    appointment_id: str


@dataclass
class Counted:
    """Beginnings and ends of each flow, by OmegaAI's Appointment id."""

    starts: dict[str, dict[str, datetime]] = field(default_factory=lambda: defaultdict(dict))
    ends: dict[str, dict[str, list[datetime]]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(list)))
    extra: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """Effects at PowerServer beyond the one of each act."""

    def flows(self) -> dict[str, dict[str, Any]]:
        found = {}
        for name, title in TITLES.items():
            row = flow(self.starts[name], self.ends[name])
            found[name] = {"title": title, **row, "doubled": row["doubled"] + self.extra[name]}
        return found

    @property
    def is_complete(self) -> bool:
        return all(self.ends[name].get(key) for name in TITLES for key in self.starts[name])


class Acts:
    """Plays the flows with ``confirmed`` appointments and counts them."""

    def __init__(self, people: People, addresses: Addresses, confirmed: Sequence[Confirmed]) -> None:
        self.people = people
        self.addresses = addresses
        size = min(MOST_OF_A_FLOW, len(confirmed) // GROUPS)
        names = ("patient_reschedules", "staff_moves", "patient_cancels", "staff_cancels")
        self.groups = {name: confirmed[place * size : (place + 1) * size] for place, name in enumerate(names)}
        self.bookers = [one.email for one in confirmed[:size]]
        self.counted = Counted()
        self._flow_of: dict[str, str] = {}
        self._placers: dict[str, str] = {}
        self._answered: set[str] = set()
        self._at_powerserver: dict[tuple[str, str], int] = defaultdict(int)

    async def run(self, console: Console) -> dict[str, dict[str, Any]]:
        """The report's rows. Ends when every act is seen at its end, or when nothing has changed for a while."""
        after = {base: await self.people.last_of_ledger(base) for base in self._bases}
        for name, group in self.groups.items():
            for one in group:
                self._flow_of[one.appointment_id] = name
                self._placers[one.placer] = one.appointment_id
        free = await self._free_slots()
        with console.status("Patients and staff change their minds"):
            async with asyncio.TaskGroup() as tasks:
                for name, group in self.groups.items():
                    for one in group:
                        tasks.create_task(getattr(self, f"_{name}")(one, free))
                for email in self.bookers:
                    tasks.create_task(self._patient_books(email, free))
            await self._follow(after)
        for (name, _), times in self._at_powerserver.items():
            self.counted.extra[name] += times - 1
        return self.counted.flows()

    @property
    def _bases(self) -> tuple[str, str]:
        return self.addresses.powerserver, self.addresses.omegaai

    async def _free_slots(self) -> dict[str, list[dict[str, Any]]]:
        """Free slots by resource; whoever takes one pops it."""
        by_resource: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for slot in await self.people.free_slots(SLOTS_LOOKED_AT):
            by_resource[slot["resource"]].append(slot)
        return by_resource

    async def _slot_like(self, placer: str, free: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
        """A free slot of the appointment's resource."""
        return free[(await self.people.appointment(placer))["resource"]].pop(0)

    # ---- the acts; each notes when it began

    def _begins(self, name: str, appointment_id: str) -> None:
        self.counted.starts[name][appointment_id] = datetime.now().astimezone()

    async def _patient(self, email: str) -> Patient:
        return await until("The patient's login", lambda: self.people.log_in(email))

    async def _patient_reschedules(self, one: Confirmed, free: dict[str, list[dict[str, Any]]]) -> None:
        slot = await self._slot_like(one.placer, free)
        patient = await self._patient(one.email)
        try:
            self._begins("patient_reschedules", one.appointment_id)
            await patient.reschedule(one.appointment_id, slot["start"])
        finally:
            await patient.leave()

    async def _staff_moves(self, one: Confirmed, free: dict[str, list[dict[str, Any]]]) -> None:
        slot = await self._slot_like(one.placer, free)
        self._begins("staff_moves", one.appointment_id)
        await self.people.move(one.placer, slot)

    async def _patient_cancels(self, one: Confirmed, _: object) -> None:
        patient = await self._patient(one.email)
        try:
            self._begins("patient_cancels", one.appointment_id)
            await patient.cancel(one.appointment_id, "I cannot come")
        finally:
            await patient.leave()

    async def _staff_cancels(self, one: Confirmed, _: object) -> None:
        self._begins("staff_cancels", one.appointment_id)
        await self.people.act(one.placer, "cancelled-with-notice", "the scanner is being serviced")

    async def _patient_books(self, email: str, free: dict[str, list[dict[str, Any]]]) -> None:
        patient = await self._patient(email)
        try:
            offers = await patient.offers()
            bookable = {one["name"]: one for one in offers["services"]}
            resource = next(name for name, slots in free.items() if name in bookable and slots)
            slot = free[resource].pop(0)
            began = datetime.now().astimezone()
            booked = await patient.book(
                patient=offers["patients"][0]["id"],
                service=bookable[resource]["id"],
                study=slot["study_type"],
                start=slot["start"],
            )
            self.counted.starts["patient_books"][booked] = began
            self._flow_of[booked] = "patient_books"
        finally:
            await patient.leave()

    # ---- what the ledgers say

    async def _follow(self, after: dict[str, int]) -> None:
        moved_at = time.monotonic()
        while time.monotonic() - moved_at < STALLED_SECONDS and not self.counted.is_complete:
            for base in reversed(self._bases):  # OmegaAI first: it says which number a patient's booking got
                rows, _ = await self.people.ledger(base, after[base])
                if rows:
                    moved_at, after[base] = time.monotonic(), rows[-1]["seq"]
                for row in rows:
                    await (self._powerserver if base == self.addresses.powerserver else self._omegaai)(row)
            await asyncio.sleep(0.1)

    async def _omegaai(self, row: dict[str, Any]) -> None:
        name, detail = self._flow_of.get(row["subject"]), row["detail"]
        if name is None or row["kind"] != "Appointment.updated" or detail["by"] == "blume":
            return
        if detail.get("placer_number"):
            self._placers[detail["placer_number"]] = row["subject"]
        wanted = "cancelled" if name == "staff_cancels" else "booked"
        if name != "patient_cancels" and detail["status"] == wanted:
            self.counted.ends[name][row["subject"]].append(moment(row["at"]))

    async def _powerserver(self, row: dict[str, Any]) -> None:
        """Staff answer what patients ask for; each effect of a patient's act is counted."""
        placer, kind, detail = row["subject"], row["kind"], row["detail"]
        if kind == "request.received" and placer not in self._answered:
            self._answered.add(placer)
            await self.people.answer(placer, "accept")
        appointment = self._placers.get(placer)
        name = self._flow_of.get(appointment or "", "patient_books" if kind == "request.received" else "")
        if kind == "request.received" and name:
            self._at_powerserver[name, placer] += 1
        is_cancelled = kind == "appointment.status" and detail["to"] == "CANCELLED" and detail["by"] == "hl7"
        if is_cancelled and name == "patient_cancels" and appointment is not None:
            self.counted.ends[name][appointment].append(moment(row["at"]))
