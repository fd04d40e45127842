"""The story in volume: many appointments at once, followed in the ledgers, with a progress bar for each end."""

import asyncio
import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from demo_story.acts import Confirmed
from demo_story.clients import Addresses, People, until
from demo_story.counting import MAILS_PER_APPOINTMENT, Tally
from demo_story.people_made_up import patient as made_up

STAFF_AT_WORK = 8
PATIENTS_AT_ONCE = 8
STALLED_SECONDS = 90
"""Longer than the lease of a mail (55 s): the mails of a killed sender are sent again only after their lease."""


class VolumeRun:
    """Books ``count`` appointments; each patient confirms after the mail that asks for it. Counts every step."""

    def __init__(self, people: People, addresses: Addresses, count: int) -> None:
        self.people = people
        self.addresses = addresses
        self.count = count
        self.tally = Tally(set())
        self._emails: dict[str, str] = {}
        self._confirming: set[str] = set()
        self._confirm_slots = asyncio.Semaphore(PATIENTS_AT_ONCE)
        self._after: dict[str, int] = {}

    async def run(self, console: Console) -> Tally:
        """Returns the tally when every step is seen at its end, or when nothing has changed for a minute."""
        ends = (self.addresses.powerserver, self.addresses.omegaai, self.addresses.mailsink)
        self._after = {base: await self.people.last_of_ledger(base) for base in ends}
        slots = await self.people.free_slots(self.count)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console) as progress:
            bars = {
                "booked": progress.add_task("  booked in PowerServer", total=len(slots)),
                "pending": progress.add_task("  Pending in Blume", total=len(slots)),
                "confirmed": progress.add_task("  CONFIRMED in PowerServer", total=len(slots)),
                "mails": progress.add_task("  mails received", total=len(slots) * MAILS_PER_APPOINTMENT),
            }
            async with asyncio.TaskGroup() as group:
                group.create_task(self._book_all(slots, progress, bars["booked"]))
                group.create_task(self._follow(len(slots), group, progress, bars))
        return self.tally

    def confirmed(self) -> list[Confirmed]:
        """The appointments that are confirmed at both ends, the latest first."""
        placers = [placer for placer in self.tally.confirmed if placer in self.tally.appointment_ids]
        return [
            Confirmed(placer, self._emails[placer], self.tally.appointment_ids[placer]) for placer in reversed(placers)
        ]

    async def _book_all(self, slots: list[dict[str, Any]], progress: Progress, bar: TaskID) -> None:
        waiting = list(enumerate(slots))

        async def clerk() -> None:
            while waiting:
                number, slot = waiting.pop()
                who = made_up(number)
                placer_number = await self.people.book(who, slot)
                self._emails[placer_number] = who["email"]
                self.tally.wanted.add(placer_number)
                progress.advance(bar)

        async with asyncio.TaskGroup() as group:
            for _ in range(STAFF_AT_WORK):
                group.create_task(clerk())

    async def _follow(self, total: int, group: asyncio.TaskGroup, progress: Progress, bars: dict[str, TaskID]) -> None:
        moved_at, before = time.monotonic(), (-1, -1, -1, -1)
        while time.monotonic() - moved_at < STALLED_SECONDS:
            await self._read()
            for placer in [p for p in self.tally.asked_by_mail if p not in self._confirming]:
                self._confirming.add(placer)
                group.create_task(self._confirm(placer))
            now = (len(self._emails), len(self.tally.pending), len(self.tally.confirmed), self.tally.mails_received)
            progress.update(bars["pending"], completed=now[1])
            progress.update(bars["confirmed"], completed=now[2])
            progress.update(bars["mails"], completed=now[3])
            if now != before:
                moved_at, before = time.monotonic(), now
            if now[0] >= total and now[1] >= total and now[2] >= total and now[3] >= total * MAILS_PER_APPOINTMENT:
                break
            await asyncio.sleep(0.1)

    async def _read(self) -> None:
        """Reads new rows of each ledger. A row whose appointment's booking is not answered yet is read again."""
        ledgers = (
            (self.addresses.powerserver, self.tally.powerserver),
            (self.addresses.omegaai, self.tally.omegaai),
            (self.addresses.mailsink, self.tally.mailsink),
        )
        known = set(self.tally.wanted)
        for base, take in ledgers:
            rows, _ = await self.people.ledger(base, self._after[base])
            usable = []
            for row in rows:
                placer = row["subject"] if base == self.addresses.powerserver else row["detail"].get("placer_number")
                if (
                    row["kind"].lower().startswith("appointment.")
                    and placer not in known
                    and len(self._emails) < self.count
                ):
                    break
                usable.append(row)
            take(usable)
            if usable:
                self._after[base] = usable[-1]["seq"]

    async def _confirm(self, placer: str) -> None:
        async with self._confirm_slots:
            patient = await until("The patient's login", lambda: self.people.log_in(self._emails[placer]))
            try:
                await patient.confirm(self.tally.appointment_ids[placer])
            finally:
                await patient.leave()
