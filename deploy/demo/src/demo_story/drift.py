"""Drift made on purpose: appointments that OmegaAI moves and tells nobody of; the reconciliation moves them back.

The beginning and the end of each stand in OmegaAI's ledger: its quiet move, and the suite's write over it.
"""

import asyncio
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from rich.console import Console

from demo_story.acts import Confirmed
from demo_story.clients import Addresses, People, StoryError
from demo_story.counting import flow, moment

MOST: Final = 4
"""Few enough that the reconciliation need not ask."""
MINUTES: Final = 15
STALLED_SECONDS: Final = 90
RECONCILE: Final = ("-m", "local_stack", "operate", "scheduler-sync", "reconcile", "run")
LEFT_FOR_A_PERSON: Final = 1


class Drift:
    """Plays the flow `drift_healed` with the first of ``confirmed``, which no other flow has, and counts it."""

    def __init__(self, people: People, addresses: Addresses, confirmed: Sequence[Confirmed]) -> None:
        self.people = people
        self.addresses = addresses
        self.group = confirmed[:MOST]

    async def run(self, console: Console) -> dict[str, dict[str, Any]]:
        """The report's row."""
        after = await self.people.last_of_ledger(self.addresses.omegaai)
        with console.status("OmegaAI moves appointments and tells nobody"):
            for one in self.group:
                await self.people.drift(one.appointment_id, MINUTES)
            if self.group:
                await reconcile()
            starts, ends = await self._counted(after)
        title = "moved in OmegaAI, nobody told → found by the reconciliation → moved back"
        return {"drift_healed": {"title": title, **flow(starts, ends)}}

    async def _counted(self, after: int) -> tuple[dict[str, datetime], dict[str, list[datetime]]]:
        wanted = {one.appointment_id for one in self.group}
        starts: dict[str, datetime] = {}
        ends: dict[str, list[datetime]] = {}
        loop = asyncio.get_running_loop()
        until = loop.time() + STALLED_SECONDS
        while loop.time() < until and ends.keys() != wanted:
            rows, after = await self.people.ledger(self.addresses.omegaai, after)
            for row in rows:
                if row["subject"] not in wanted:
                    continue
                if row["kind"] == "Appointment.drifted":
                    starts[row["subject"]] = moment(row["at"])
                elif row["kind"] == "Appointment.updated" and row["subject"] in starts:
                    ends.setdefault(row["subject"], []).append(moment(row["at"]))
            await asyncio.sleep(0.5)
        return starts, ends


async def reconcile() -> None:
    """Has the service compare now. StoryError where that fails, or asks a person."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, *RECONCILE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await process.communicate()
    if process.returncode not in {0, LEFT_FOR_A_PERSON}:
        raise StoryError(f"scheduler-sync reconcile run: {said.decode()[-500:]}")
