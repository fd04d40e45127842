"""The suite's scheduling API, as a portal calls it: FHIR operations with a token (`GET /fhir/openapi.json` there)."""

import asyncio
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any, Final
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from omegaai_sim.blume.scheduling.slots import Declined
from omegaai_sim.fhir.outcome import Refused

TIMEOUT_SECONDS: Final = 10
_LARGEST_ANSWER: Final = 4 * 1024 * 1024
_MOST_FOUND: Final = 1000
_SENT: Final = "application/fhir+json"
Parameters = Mapping[str, Mapping[str, Any]]


class Api:
    """The operations. Each raises ``Refused``: 503 without an answer, 502 for an unreadable one, ``Declined`` else."""

    def __init__(self, address: str, token: str) -> None:
        self._address = urlsplit(address)
        self._token = token

    @property
    def is_set(self) -> bool:
        return bool(self._address.hostname)

    async def find(
        self, service: str, what: Parameters, span: tuple[datetime, datetime], zone: ZoneInfo
    ) -> list[datetime]:
        """All free starts of a service between two instants; `what`: the study, or the appointment to be moved."""
        begin, end = span
        found: list[datetime] = []
        while begin < end:
            asked: Parameters = {
                **what,
                "service": {"valueString": f"HealthcareService/{service}"},
                "start": {"valueDateTime": begin.isoformat(timespec="seconds")},
                "end": {"valueDateTime": end.isoformat(timespec="seconds")},
                "_count": {"valueInteger": _MOST_FOUND},
            }
            answer = await self._call("$find", asked)
            with _readable():
                starts = [datetime.fromisoformat(one["resource"]["start"]) for one in answer.get("entry", [])]
                found += starts
                is_all = len(starts) >= int(answer["total"])
            if is_all or not starts:
                break
            begin = max(starts) + timedelta(minutes=1)
        return [one.astimezone(zone) for one in sorted({one.astimezone(UTC) for one in found})]

    async def book(self, appointment: Mapping[str, Any], patient: Mapping[str, str], key: str) -> None:
        """Holds the time, then books it. The same key again has no second effect."""
        asked: Parameters = {
            "appt-resource": {"resource": appointment},
            "patient": {"valueReference": {"identifier": patient}},
        }
        held = await self._call("$hold", asked, key)
        with _readable():
            number = str(held["entry"][0]["resource"]["id"])
        await self._call("$book", reference("appt-reference", number), key)

    async def move(self, link: str, start: datetime) -> None:
        await self._call(f"{link}/$reschedule", {"start": {"valueDateTime": start.isoformat(timespec="seconds")}})

    async def cancel(self, link: str, reason: str) -> None:
        await self._call(f"{link}/$cancel", {"reason": {"valueString": reason}})

    async def _call(self, operation: str, parameters: Parameters, key: str = "") -> dict[str, Any]:
        given = [{"name": name, **held} for name, held in parameters.items()]
        body = json.dumps({"resourceType": "Parameters", "parameter": given}).encode()
        try:
            status, answer = await asyncio.to_thread(self._post, f"/fhir/Appointment/{operation}", body, key)
        except (OSError, HTTPException) as problem:
            raise Refused(503, "transient", "The booking service does not answer. Please try again soon.") from problem
        with _readable():
            found = json.loads(answer)
        if not isinstance(found, dict) or status in {401, 403}:
            raise Refused(502, "exception", "The booking service refuses Blume. Please call the facility.")
        if status >= 500:
            raise Refused(503, "transient", "The booking service cannot answer now. Please try again soon.")
        if status >= 400:
            with _readable():
                raise declined(status, found)
        return found

    def _post(self, path: str, body: bytes, key: str) -> tuple[int, bytes]:
        kind = HTTPSConnection if self._address.scheme == "https" else HTTPConnection
        connection = kind(self._address.hostname or "", self._address.port, timeout=TIMEOUT_SECONDS)
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": _SENT}
        try:
            connection.request("POST", path, body, headers | ({"Idempotency-Key": key} if key else {}))
            response: HTTPResponse = connection.getresponse()
            return response.status, response.read(_LARGEST_ANSWER)
        finally:
            connection.close()


@contextmanager
def _readable() -> Iterator[None]:
    """Raises ``Refused`` (502) where an answer is not what the API's description says."""
    try:
        yield
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as problem:
        raise Refused(502, "exception", "The booking service gave no answer that can be read.") from problem


def declined(status: int, outcome: Mapping[str, Any]) -> Declined:
    """An OperationOutcome as sentences for the patient, with the times that are free instead."""
    sentences = [_sentence(issue) for issue in outcome.get("issue", []) if issue.get("severity") != "information"]
    alternatives = [
        (datetime.fromisoformat(one["start"]), _name(one))
        for one in outcome.get("contained", [])
        if one.get("resourceType") == "Appointment" and "start" in one
    ]
    return Declined(status, " ".join(sentences) or "The facility's rules do not allow this.", alternatives)


def _sentence(issue: Mapping[str, Any]) -> str:
    """`start: the time is taken: …` → `The time is taken: ….`"""
    text = str(issue.get("details", {}).get("text") or issue.get("diagnostics") or "It was refused")
    where = next(iter(issue.get("expression", [])), "")
    text = text.removeprefix(f"{where}: ") if where else text
    if not text[:1].isupper() and text.partition(" ")[0] in _BEGINS_WITHOUT_SUBJECT:
        text = f"The time {text}"
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


_BEGINS_WITHOUT_SUBJECT: Final = frozenset({"starts", "is", "does", "begins", "ends"})


def _name(appointment: Mapping[str, Any]) -> str:
    names = [one.get("actor", {}).get("display", "") for one in appointment.get("participant", [])]
    return next(filter(None, names), "")


def reference(name: str, identifier: str) -> dict[str, dict[str, Any]]:
    """A parameter that refers to an appointment of the API's."""
    return {name: {"valueReference": {"reference": f"Appointment/{identifier}"}}}
