"""The people of the story: front desk staff, a patient, and a reader of the mails. Plain HTTP, as browsers send it."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import aiohttp

T = TypeVar("T")
POLL_SECONDS = 0.05
STEP_SECONDS = 60.0
STAFF = {"Authorization": aiohttp.encode_basic_auth("admin", "development")}
PIN = "246810"


class StoryError(RuntimeError):
    """A step of the story did not happen; the text names the step and the place to look."""


@dataclass(frozen=True)
class Addresses:
    """The addresses of the simulators' pages."""

    powerserver: str
    omegaai: str
    mailsink: str


@dataclass
class People:
    """One session with all three simulators."""

    addresses: Addresses
    http: aiohttp.ClientSession

    async def _json(self, method: str, url: str, **more: Any) -> Any:
        async with self.http.request(method, url, **more) as response:
            if response.status >= 400:
                raise StoryError(f"{method} {url} was answered with {response.status}: {(await response.text())[:200]}")
            return await response.json()

    async def free_slots(self, count: int) -> list[dict[str, Any]]:
        """Resource, start and study type of ``count`` free slots from tomorrow on."""
        url = f"{self.addresses.powerserver}/api/free-slots"
        tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat(timespec="minutes")
        answer = await self._json("GET", url, params={"count": str(count), "from": tomorrow}, headers=STAFF)
        return list(answer["slots"])

    async def book(self, patient: dict[str, Any], slot: dict[str, Any]) -> str:
        """Staff book ``slot`` for a new patient. Returns the placer number."""
        study_types = slot.get("study_types") or [slot["study_type"]]
        body = {"patient": patient, "resource": slot["resource"], "start": slot["start"], "study_types": study_types}
        if "facility" in slot:
            body["facility"] = slot["facility"]
        url = f"{self.addresses.powerserver}/api/appointments"
        answer = await self._json("POST", url, json=body, headers=STAFF)
        return str(answer["placer_number"])

    async def drift(self, appointment_id: str, minutes: int) -> None:
        """OmegaAI's simulator moves an Appointment and tells nobody."""
        body = {"appointment": appointment_id, "minutes": minutes}
        await self._json("POST", f"{self.addresses.omegaai}/control/drift", json=body)

    async def status_in_powerserver(self, placer_number: str) -> str:
        url = f"{self.addresses.powerserver}/api/appointments/{placer_number}"
        return str((await self._json("GET", url, headers=STAFF))["status"]).upper()

    async def appointment(self, placer_number: str) -> dict[str, Any]:
        """The appointment as PowerServer has it."""
        url = f"{self.addresses.powerserver}/api/appointments/{placer_number}"
        return dict(await self._json("GET", url, headers=STAFF))

    async def act(self, placer_number: str, action: str, reason: str = "") -> bool:
        """Staff choose ``action`` in the scheduler, such as ``arrived``. Returns whether the status changed."""
        url = f"{self.addresses.powerserver}/api/appointments/{placer_number}/status"
        body = {"action": action, "reason": reason}
        return bool((await self._json("POST", url, json=body, headers=STAFF))["changed"])

    async def answer(self, placer_number: str, answer: str) -> None:
        """Staff ``accept`` or ``decline`` what the patient asks for."""
        url = f"{self.addresses.powerserver}/api/appointments/{placer_number}/request"
        await self._json("POST", url, json={"answer": answer}, headers=STAFF)

    async def move(self, placer_number: str, slot: dict[str, Any]) -> None:
        """Staff drag the appointment to ``slot``."""
        url = f"{self.addresses.powerserver}/api/appointments/{placer_number}/time"
        body = {"start": slot["start"], "resource": slot["resource"]}
        await self._json("POST", url, json=body, headers=STAFF)

    async def log_in(self, email: str) -> "Patient | None":
        """The patient logs in at the portal; None while the portal does not know the e-mail address yet."""
        session = aiohttp.ClientSession(
            cookie_jar=aiohttp.CookieJar(unsafe=True), connector=self.http.connector, connector_owner=False
        )
        form = {"email": email, "pin": PIN}
        url = f"{self.addresses.omegaai}/blume/login"
        is_known = False
        try:
            async with session.post(url, data=form, allow_redirects=False) as response:
                is_known = response.status == 303
        finally:
            if not is_known:
                await session.close()
        return Patient(self.addresses.omegaai, session) if is_known else None

    async def ledger(self, base: str, after: int) -> tuple[list[dict[str, Any]], int]:
        answer = await self._json("GET", f"{base}/ledger", params={"after": str(after), "limit": "5000"})
        return answer["rows"], answer["last"]

    async def whole_ledger(self, base: str, after: int = 0) -> list[dict[str, Any]]:
        """Every row of a ledger after ``after``."""
        found: list[dict[str, Any]] = []
        while True:
            rows, _ = await self.ledger(base, after)
            if not rows:
                return found
            found += rows
            after = rows[-1]["seq"]

    async def last_of_ledger(self, base: str) -> int:
        return int((await self._json("GET", f"{base}/ledger", params={"after": "0", "limit": "1"}))["last"])


@dataclass
class Patient:
    """A patient who is logged in at the Blume portal."""

    base: str
    session: aiohttp.ClientSession

    async def card(self, placer_number: str) -> dict[str, Any] | None:
        """The appointment's card, or None before the card appears."""
        async with self.session.get(f"{self.base}/blume/api/appointments") as response:
            answer = await response.json()
        cards = answer["appointments"] if isinstance(answer, dict) else answer
        return next((card for card in cards if card["placer_number"] == placer_number), None)

    async def confirm(self, appointment_id: str) -> None:
        """Presses Confirm."""
        await self._press("confirm", appointment_id)

    async def cancel(self, appointment_id: str, reason: str) -> None:
        """Presses Cancel and gives a reason."""
        await self._press("cancel", appointment_id, reason=reason)

    async def reschedule(self, appointment_id: str, wanted: str) -> None:
        """Asks for another time, an ISO instant."""
        await self._press("reschedule", appointment_id, wanted=wanted)

    async def offers(self) -> dict[str, Any]:
        """The patients of the account and the bookable services."""
        async with self.session.get(f"{self.base}/blume/api/offers") as response:
            return dict(await response.json())

    async def book(self, **form: str) -> str:
        """Books a new appointment. Returns its id."""
        headers = {"X-CSRF-Token": await self._csrf(), "Accept": "application/json"}
        async with self.session.post(f"{self.base}/blume/book", headers=headers, data=form) as response:
            if response.status != 201:
                raise StoryError(f"Book was answered with {response.status}: {(await response.text())[:200]}")
            return str((await response.json())["id"])

    async def _csrf(self) -> str:
        async with self.session.get(f"{self.base}/blume/api/session") as response:
            return str((await response.json())["csrf"])

    async def _press(self, button: str, appointment_id: str, **form: str) -> None:
        csrf = await self._csrf()
        url = f"{self.base}/blume/appointments/{appointment_id}/{button}"
        headers = {"X-CSRF-Token": csrf}
        async with self.session.post(url, headers=headers, data=form, allow_redirects=False) as response:
            if response.status >= 400:
                words = (await response.text())[:200]
                raise StoryError(f"{button.capitalize()} was answered with {response.status}: {words}")

    async def leave(self) -> None:
        await self.session.close()


async def until(what: str, condition: Callable[[], Awaitable[T | None]], *, seconds: float = STEP_SECONDS) -> T:
    """The first true answer of ``condition``. Raises ``StoryError`` naming ``what`` after ``seconds``."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        answer = await condition()
        if answer:
            return answer
        await asyncio.sleep(POLL_SECONDS)
    raise StoryError(
        f"{what}: not seen within {seconds:.0f} s (make logs NAME=scheduler-sync, or the consoles, say why)"
    )
