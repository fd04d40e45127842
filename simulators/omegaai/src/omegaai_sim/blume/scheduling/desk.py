"""What the patient's pages ask for: free times, a booking, a move, a cancellation. A switch says who does it."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from omegaai_sim.blume import cards
from omegaai_sim.blume.onboarding.accounts import Account
from omegaai_sim.blume.scheduling import own, slots
from omegaai_sim.blume.scheduling.own import Wish
from omegaai_sim.blume.scheduling.suite import Api, reference
from omegaai_sim.context import Services
from omegaai_sim.fhir.outcome import Refused
from omegaai_sim.fhir.records import LINK_SYSTEM, identifier_of
from omegaai_sim.study_types import catalogue
from simulator_kit.store import Work

SUITE: Final = "suite"


@dataclass(frozen=True, slots=True)
class Asked:
    """Free times of a service for a study, on some days of the facility's. `moved`: the appointment to be moved."""

    service: str
    study: str
    minutes: int
    first: date
    days: int
    moved: str = ""


class Desk:
    """The acts of one account's pages. Each raises ``Refused``, ``Declined`` with other times where there are some."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._store = services.store
        self._api = Api(services.settings.scheduling_url, services.settings.scheduling_token)

    @property
    def is_suite(self) -> bool:
        return self._services.books_by == SUITE

    async def free(self, asked: Asked) -> list[datetime]:
        """The free starts, in the facility's zone."""

        def ask(work: Work) -> tuple[list[datetime], ZoneInfo, str | None]:
            service = cards.body_of(work, "HealthcareService", asked.service) or {}
            zone = ZoneInfo(cards.facility_of(work, service).zone)
            moved = cards.body_of(work, "Appointment", asked.moved) or {}
            link = _link(moved)
            if self.is_suite:
                return [], zone, link
            return slots.free(work, service, asked.minutes, (asked.first, asked.days), asked.moved), zone, link

        found, zone, link = await self._store.read(ask)
        if not self.is_suite:
            return found
        if asked.moved and link is None:
            raise _unlinked()
        begin = datetime.combine(asked.first, time(), zone)
        end = datetime.combine(asked.first + timedelta(days=asked.days), time(), zone)
        begin = max(begin, datetime.now(UTC))
        if begin >= end:
            return []
        what: dict[str, dict[str, Any]] = {"study": {"valueString": asked.study}}
        if link is not None:
            what = {"minutes": {"valueInteger": asked.minutes}, **reference("ignore-appointment", link)}
        return await self._api.find(asked.service, what, (begin, end), zone)

    async def book(self, account: Account, wish: Wish, key: str) -> cards.Card | None:
        """The card; None where the suite makes the Appointment, whose card then comes by itself."""
        if not self.is_suite:
            return await self._store.write(lambda work: own.book(work, account, wish))

        def check(work: Work) -> tuple[dict[str, Any], dict[str, str]]:
            found = own.checked(work, account, wish)
            numbers = (cards.body_of(work, "Patient", wish.patient) or {}).get("identifier", [])
            known = [one for one in numbers if "system" in one and "value" in one]
            if not known:
                raise Refused(409, "conflict", "This patient has no number yet. Please call the facility.")
            study = found.study
            appointment = {
                "resourceType": "Appointment",
                "status": "proposed",
                "start": found.start.isoformat(timespec="seconds"),
                "minutesDuration": found.minutes,
                "serviceType": [{"coding": [{"code": study.code, "display": study.description}]}],
                "participant": [
                    {"actor": {"reference": f"HealthcareService/{wish.service}"}, "status": "needs-action"}
                ],
            }
            return appointment, {name: known[0][name] for name in ("system", "value")}

        appointment, patient = await self._store.read(check)
        await self._api.book(appointment, patient, key)
        return None

    async def move(
        self, account: Account, identifier: str, seen: str, wanted: str, *, note: str = "", chosen: bool = False
    ) -> cards.Card | None:
        """Asks for another time. `chosen`: one of the free times, which has to be free still."""
        if not self.is_suite:
            return await self._store.write(
                lambda work: own.move(work, account, identifier, seen, wanted, note=note, chosen=chosen)
            )

        def check(work: Work) -> tuple[str | None, datetime]:
            stored, card = own.own_card(work, account, identifier, seen)
            own.check_note(note)
            return _link(stored.body), own.movable(card, wanted)

        link, start = await self._store.read(check)
        if link is None:
            raise _unlinked()
        await self._api.move(link, start)
        return None

    async def cancel(self, account: Account, identifier: str, seen: str, reason: str) -> cards.Card | None:
        if not self.is_suite:
            return await self._store.write(lambda work: own.cancel(work, account, identifier, seen, reason))

        def check(work: Work) -> str | None:
            stored, card = own.own_card(work, account, identifier, seen)
            own.check_cancellation(card, reason)
            return _link(stored.body)

        link = await self._store.read(check)
        if link is None:
            raise _unlinked()
        await self._api.cancel(link, reason)
        return None


def minutes_for(work: Work, service: str, study: str) -> int | None:
    """The length of a bookable study on a service; None where it is none of the service's."""
    found = cards.body_of(work, "HealthcareService", service)
    wanted = next((one for one in catalogue.bookable(work) if one.code == study), None)
    if found is None or wanted is None or not own.fits(found, wanted):
        return None
    return slots.minutes_of(wanted, found)


def _link(appointment: dict[str, Any]) -> str | None:
    """The suite's id of an appointment."""
    found = identifier_of(appointment, LINK_SYSTEM)
    return None if found is None else found.removeprefix("urn:uuid:")


def _unlinked() -> Refused:
    return Refused(409, "conflict", "The booking service does not know this appointment yet. Please try again soon.")
