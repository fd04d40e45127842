"""One line from PowerServer to OmegaAI for tests: the whole listener on a port, and the deliveries to a FHIR server."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import aiohttp
from fake_omegaai import FakeOmegaAI
from sync_harness import Harness, listening

from chassis.clock import utc_now
from hl7v2 import Ack, parse_ack
from omegaai.client import FhirClient, Found
from omegaai.token import TokenSource
from scheduler_sync import bootstrap
from scheduler_sync.adapters.omegaai import reader
from scheduler_sync.adapters.omegaai.sender import OmegaAISender
from scheduler_sync.adapters.omegaai.tasks import TaskItem
from scheduler_sync.store.queries import StoredIds

Json = dict[str, Any]
PLACER = "urn:powerserver:placer"


@dataclass
class Shown:
    """What OmegaAI shows of one placer number; None where it has no Appointment of it."""

    appointment: Json | None
    patient: Json | None

    def __getitem__(self, name: str) -> Any:
        """An element in the words of ``expected.json``."""
        appointment, patient = self.appointment or {}, self.patient or {}
        names = patient.get("name") or [{}]
        found = {
            "status": appointment.get("status"),
            "start": appointment.get("start"),
            "end": appointment.get("end"),
            "studies": [one["coding"][0]["code"] for one in appointment.get("serviceType", [])],
            "reason": appointment.get("cancelationReason", {}).get("text"),
            "family": names[0].get("family"),
            "given": names[0].get("given"),
            "phone": self._contact("phone"),
            "email": self._contact("email"),
            "address": (patient.get("address") or [None])[0],
            "sex": patient.get("gender"),
            "birth_date": patient.get("birthDate"),
        }
        return found[name]

    def _contact(self, system: str) -> str | None:
        found = [one["value"] for one in (self.patient or {}).get("telecom", []) if one["system"] == system]
        return found[0] if found else None


class Line:
    """Sends frames as they are and shows what came of them."""

    def __init__(
        self, core: bootstrap.Core, omegaai: FakeOmegaAI, sender: OmegaAISender, harness: Harness, streams: Any
    ) -> None:
        self.core, self.omegaai, self._sender, self._harness = core, omegaai, sender, harness
        self._reader, self._writer = streams
        self.sent_to_powerserver: dict[UUID, bytes] = {}

    async def say(self, raw: bytes) -> Ack:
        """Sends one frame over the test's only connection and returns the frame's acknowledgement."""
        self._writer.write(b"\x0b" + raw + b"\x1c\r")
        await self._writer.drain()
        answer = await asyncio.wait_for(self._reader.readuntil(b"\x1c\r"), 60)
        return parse_ack(answer[1:-2])

    async def deliver(self) -> None:
        """All that is to go to the two partners goes. PowerServer's part is kept, and acknowledged by nobody."""
        for one in await self._harness.deliveries():
            if one.destination == "omegaai":
                await self._harness.settle(one, await self._sender.send(one))
            else:
                self.sent_to_powerserver[one.id] = one.payload

    async def patient_sets(self, placer: str, status: str) -> None:
        """The patient presses a button in Blume, and the suite hears of it."""
        card = self.shown(placer).appointment
        assert card is not None
        body = self.omegaai.patient_sets(card["id"], status)
        command = reader.appointment(Found(body, body["meta"]["versionId"]), "task")
        assert await self._harness.tasks.apply([TaskItem("task", utc_now(), command=command)]) == [None]

    def shown(self, placer: str) -> Shown:
        """What OmegaAI shows now."""
        for one in self.omegaai.all("Appointment"):
            if any(known.get("system") == PLACER and known["value"] == placer for known in one["identifier"]):
                reference = one["participant"][0]["actor"]["reference"].split("/")
                return Shown(one, self.omegaai.resources[reference[0], reference[1]])
        return Shown(None, None)

    def ignored(self) -> dict[tuple[str, str], int]:
        """What was counted as not read, by segment and field."""
        found = {}
        for metric in self.core.metrics.registry.collect():
            for sample in metric.samples:
                if sample.name == "hl7_ignored_total":
                    found[sample.labels["segment"], sample.labels["field"]] = int(sample.value)
        return found


@asynccontextmanager
async def line(url: str) -> AsyncIterator[Line]:
    """A line on a database with all tables."""
    omegaai = FakeOmegaAI()
    async with omegaai.serving(), aiohttp.ClientSession() as session, listening(url) as (core, _):
        tokens = TokenSource(
            session, f"{omegaai.base_url}/auth/oauth2/v2.0/token",
            client_id="suite", client_secret="development-secret", scope="any",
        )  # fmt: skip
        sender = OmegaAISender(FhirClient(session, omegaai.base_url, tokens), StoredIds(core.store.pool))
        streams = await asyncio.open_connection("127.0.0.1", core.listener.port, limit=2**20)
        harness = Harness(core.store, core.site, core.directory)
        try:
            yield Line(core, omegaai, sender, harness, streams)
        finally:
            streams[1].close()


def differences(expected: Json, line: Line, acks: Sequence[Ack]) -> list[str]:
    """Where what is shown is not what ``expected.json`` says."""
    last = acks[-1]
    if "ack" in expected:
        text = (last.text or "") + " ".join(one.text for one in last.errors)
        wrong = [] if last.code == expected["ack"] else [f"answered {last.code}"]
        return wrong + ([] if expected.get("ack_text", "") in text else [f"the answer says {text!r}"])
    if "ack_in" in expected:
        return [] if last.code in expected["ack_in"] and last.control_id else [f"answered {last}"]
    if last.code in expected.get("or_ack", ()):
        return []
    found = line.shown(expected["placer"])
    wrong = [f"answered {last.code}: {last.text}"] if last.code != "AA" and "not_start" not in expected else []
    for name, value in expected.items():
        wrong += _difference(name, value, found, line)
    return wrong


def _difference(name: str, value: Any, found: Shown, line: Line) -> list[str]:  # noqa: PLR0911 - one for each word
    if name in {"placer", "or_ack"}:
        return []
    if name == "absent":
        return [] if found.appointment is None else ["there is an appointment"]
    if name == "patients":
        count = len(line.omegaai.all("Patient"))
        return [] if count == value else [f"{count} patients"]
    if name == "other":
        other = line.shown(value["placer"])
        same = other.patient is not None and other.patient == found.patient
        wrong = ["both are one patient"] if same else []
        return wrong + [f"other {one}" for one in _difference("family", value["family"], other, line)]
    if name == "text_without":
        text = json.dumps([found.appointment, found.patient]).replace("\\\\", "\\")
        return [f"{value!r} in {text}"] if found.appointment is None or value in text.replace('\\"', "") else []
    if name in {"not_phone", "not_start"}:
        return [f"{name}: {value}"] if value in (found[name.removeprefix("not_")] or "") else []
    if name == "phone" and value is not None:
        digits = re.sub(r"\D", "", found["phone"] or "")
        return [] if digits.endswith(value) else [f"phone is {found['phone']!r}"]
    if name in {"start", "end"}:
        return [] if _moment(found[name]) == _moment(value) else [f"{name} is {found[name]}"]
    return [] if found[name] == value else [f"{name} is {found[name]!r}"]


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
