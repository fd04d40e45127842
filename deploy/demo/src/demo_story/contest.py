"""Many patients want few times at once, through the suite's scheduling API: a time has one winner.

Everybody else is answered with other times. The winners are counted in the ledgers of both systems.
"""

import asyncio
import random
import secrets
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

import aiohttp
from rich.console import Console

from demo_story.acts import Confirmed
from demo_story.clients import Addresses, People, StoryError, until
from demo_story.counting import flow, moment

MOST_PATIENTS: Final = 200
PATIENTS_A_SLOT: Final = 10
LEAST_ALTERNATIVES: Final = 3
STALLED_SECONDS: Final = 90
TRIES: Final = 30
FIRST_DAY: Final = 30
"""The slots lie far ahead, where no other flow books."""
DAYS: Final = 14
MODALITY: Final = "CT"
STUDY: Final = {"code": "CT-HEAD", "display": "CT Head"}
"""PowerServer refuses a booking without a study."""
MOST_FOUND: Final = 1000
NUMBERS: Final = "http://northside.example/patient-id"
PLACERS: Final = "urn:powerserver:placer"
_APART: Final = timedelta(hours=2)


@dataclass(frozen=True, slots=True)
class Api:
    """The scheduling API: its address and its token."""

    address: str
    token: str


@dataclass
class Results:
    """What came of the contest: by patient, by placer number of the winners, by slot."""

    starts: dict[str, datetime] = field(default_factory=dict)
    refused: dict[str, datetime] = field(default_factory=dict)
    """The patients who got enough other times, and when."""
    winners: dict[str, str] = field(default_factory=dict)
    """Placer number → patient."""
    winners_of: Counter[str] = field(default_factory=Counter)
    powerserver: dict[str, list[datetime]] = field(default_factory=lambda: defaultdict(list))
    omegaai: dict[str, list[datetime]] = field(default_factory=lambda: defaultdict(list))

    @property
    def is_complete(self) -> bool:
        """Whether each winner stands at both ends."""
        return self.winners.keys() <= self.powerserver.keys() and self.winners.keys() <= self.omegaai.keys()

    def row(self, slots: int) -> dict[str, Any]:
        """A second winner of a slot, and an appointment that nobody won, are doubled; a slot without one is lost."""
        ends = {patient: [at] for patient, at in self.refused.items()}
        strays = 0
        for placer in {*self.winners, *self.powerserver, *self.omegaai}:
            there, here = self.powerserver.get(placer, []), self.omegaai.get(placer, [])
            if placer not in self.winners:
                strays += len(there) + len(here)
            elif there and here:
                ends[self.winners[placer]] = [max(there[0], here[0]), *there[1:], *here[1:]]
        row = flow(self.starts, ends)
        second = sum(count - 1 for count in self.winners_of.values())
        return {
            **row,
            "lost": row["lost"] + slots - len(self.winners_of),
            "doubled": row["doubled"] + second + strays,
            "slots": slots,
            "winners": len(self.winners),
        }


class Contest:
    """Plays the flow `slot_contest` with patients of ``confirmed``, ten for each slot, and counts it."""

    def __init__(self, people: People, addresses: Addresses, api: Api, confirmed: Sequence[Confirmed]) -> None:
        self.people = people
        self.addresses = addresses
        self.api = api
        self.slots = min(MOST_PATIENTS, len(confirmed)) // PATIENTS_A_SLOT
        self.group = confirmed[: self.slots * PATIENTS_A_SLOT]
        self.results = Results()

    async def run(self, console: Console) -> dict[str, dict[str, Any]]:
        """The report's row."""
        bases = self.addresses.powerserver, self.addresses.omegaai
        after = {base: await self.people.last_of_ledger(base) for base in bases}
        numbers = [(await self.people.appointment(one.placer))["patient"]["id"] for one in self.group]
        connector = aiohttp.TCPConnector(limit=0)
        headers = {"Authorization": f"Bearer {self.api.token}"}
        with console.status(f"{len(numbers)} patients want {self.slots} times at once"):
            async with aiohttp.ClientSession(connector=connector, headers=headers) as http:
                free = await self._free(http) if self.slots else []
                wanted = free * PATIENTS_A_SLOT
                random.shuffle(wanted)
                async with asyncio.TaskGroup() as tasks:
                    for number, slot in zip(numbers, wanted, strict=True):
                        tasks.create_task(self._wants(http, number, slot))
            await self._follow(after)
            await self._staff_confirm()
        title = f"{len(numbers)} patients want {self.slots} times at once → one wins each, all others get other times"
        return {"slot_contest": {"title": title, **self.results.row(self.slots)}}

    async def _free(self, http: aiohttp.ClientSession) -> list[dict[str, Any]]:
        """As many free slots as the contest has, well apart, as ``$find`` offers them."""
        begin = datetime.now(UTC) + timedelta(days=FIRST_DAY)
        asked: dict[str, dict[str, Any]] = {
            "start": {"valueDateTime": begin.isoformat()},
            "end": {"valueDateTime": (begin + timedelta(days=DAYS)).isoformat()},
            "modality": {"valueString": MODALITY},
            "study": {"valueString": STUDY["code"]},
            "_count": {"valueInteger": MOST_FOUND},
        }
        status, answer = await self._call(http, "$find", asked)
        if status != 200:
            raise StoryError(f"$find was answered with {status}: {str(answer)[:200]}")
        found: list[dict[str, Any]] = []
        for one in (entry["resource"] for entry in answer["entry"]):
            if not found or moment(one["start"]) - moment(found[-1]["start"]) >= _APART:
                found.append(one)
        if len(found) < self.slots:
            raise StoryError(f"The scheduling API has only {len(found)} free times for {MODALITY} that are apart")
        return found[: self.slots]

    async def _wants(self, http: aiohttp.ClientSession, number: str, slot: dict[str, Any]) -> None:
        """A patient holds the slot and books it; or is told which times are free."""
        key = secrets.token_hex(8)
        identifier = {"identifier": {"system": NUMBERS, "value": number}}
        appointment = {name: slot[name] for name in ("resourceType", "status", "start", "minutesDuration")}
        appointment["participant"] = [one for one in slot["participant"] if "reference" in one["actor"]]
        appointment["serviceType"] = [{"coding": [STUDY]}]
        self.results.starts[number] = datetime.now(UTC)
        asked = {"appt-resource": {"resource": appointment}, "patient": {"valueReference": identifier}}
        status, answer = await self._call(http, "$hold", asked, key)
        if status == 200:
            held = {"reference": f"Appointment/{answer['entry'][0]['resource']['id']}"}
            status, answer = await self._call(http, "$book", {"appt-reference": {"valueReference": held}})
        if status == 409:
            if len(answer.get("contained", [])) >= LEAST_ALTERNATIVES:
                self.results.refused[number] = datetime.now(UTC)
            return
        if status != 200:
            raise StoryError(f"A patient of the contest was answered with {status}: {str(answer)[:200]}")
        placer = next(one["value"] for one in answer["identifier"] if one["system"] == PLACERS)
        self.results.winners[placer] = number
        self.results.winners_of[slot["start"]] += 1

    async def _call(
        self, http: aiohttp.ClientSession, operation: str, values: dict[str, dict[str, Any]], key: str = ""
    ) -> tuple[int, dict[str, Any]]:
        """Status and answer. Comes again while the service is away: a key, or the hold, makes it one effect."""
        body = {"resourceType": "Parameters", "parameter": [{"name": name, **one} for name, one in values.items()]}
        headers = {"Idempotency-Key": key} if key else {}
        url = f"{self.api.address}/fhir/Appointment/{operation}"
        for _ in range(TRIES):
            try:
                async with http.post(url, json=body, headers=headers) as response:
                    if response.status != 503:
                        if response.content_type != "application/fhir+json":
                            return response.status, {"text": (await response.text())[:200]}
                        return response.status, await response.json(content_type=None)
            except aiohttp.ClientConnectionError:
                pass
            await asyncio.sleep(1)
        raise StoryError(f"{operation}: the scheduling API was not there {TRIES} times (make logs NAME=scheduler-sync)")

    async def _staff_confirm(self) -> None:
        """Staff confirm every winner, so that no request stays open behind the contest."""
        there = [placer for placer in self.results.winners if placer in self.results.powerserver]
        for placer in there:
            await self.people.answer(placer, "accept")
        for placer in there:
            await until(f"CONFIRMED of {placer} in PowerServer", partial(self._is_confirmed, placer))

    async def _is_confirmed(self, placer: str) -> bool:
        return await self.people.status_in_powerserver(placer) == "CONFIRMED"

    async def _follow(self, after: dict[str, int]) -> None:
        """Reads what came to PowerServer and OmegaAI, until every winner stands at both ends."""
        loop = asyncio.get_running_loop()
        until = loop.time() + STALLED_SECONDS
        while loop.time() < until:
            is_last = self.results.is_complete
            for base, seen in after.items():
                rows, _ = await self.people.ledger(base, seen)
                after[base] = rows[-1]["seq"] if rows else seen
                for row in rows:
                    if row["kind"] == "request.received" and row["detail"]["kind"] == "new":
                        self.results.powerserver[row["subject"]].append(moment(row["at"]))
                    elif row["kind"] == "Appointment.created":
                        self.results.omegaai[row["detail"]["placer_number"]].append(moment(row["at"]))
            if is_last:
                return
            await asyncio.sleep(0.5)
