"""A request that began in Blume: it becomes an appointment that waits for staff, or is answered at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from chassis.errors import Malformed, NeedsSetup
from scheduler_sync.commands import Origin, ReceiveOmegaAIAppointment
from scheduler_sync.domain.appointment import AppointmentLink, Decision, Outcome, Trigger, requests
from scheduler_sync.domain.patient import Patient
from scheduler_sync.domain.resource import Resource
from scheduler_sync.domain.slots import Slot
from scheduler_sync.handlers.effects import Effects
from scheduler_sync.ports import Offer, Resources, Work
from scheduler_sync.site import SiteFile

IS_PAST: Final = f"{requests.ANSWER}is past. Please choose another one."
NOT_HERE: Final = f"{requests.ANSWER}cannot be had from here: {{why}}. Please call the facility."
IS_TAKEN: Final = f"{requests.ANSWER}is taken. Please choose another one."
_LONGEST: Final = timedelta(days=1)


async def book_for_patient(
    command: ReceiveOmegaAIAppointment,
    *,
    work: Work,
    origin: Origin,
    site: SiteFile,
    resources: Resources,
    effects: Effects,
) -> Decision | None:
    """Takes a request over that began in Blume: PowerServer gets it, and staff decide there.

    Idempotent by the Appointment's id, from which the link's id and placer number follow. None when it concerns no
    resource of ours. Malformed and NeedsSetup keep the Task for a person, who replays it.
    """
    resource = _resource(command, work=work, resources=resources, site=site)
    if resource is None:
        return None
    patient = _patient(command, work)
    link = _link(command, patient, _slot(command, resource, site), resource, site)
    decision = link.book_for_patient()
    refusal = _forbidden(site, resource, is_moving=False)
    if refusal is None:
        refusal = await _refusal(decision.link, work, effects.clock.now())
    if refusal is None:
        effects.of_decision(link, decision, patient, by="patient", work=work, origin=origin)
        return decision
    decision = link.refuse_booking(refusal.why)
    effects.of_decision(
        link, decision, patient, by="system", work=work, origin=origin, lost=refusal.lost, offers=refusal.offers
    )
    return decision


def _resource(
    command: ReceiveOmegaAIAppointment, *, work: Work, resources: Resources, site: SiteFile
) -> Resource | None:
    """The resource that is asked for; None for a service of an organisation that is not one of the site's."""
    about = command.about
    if command.service_id is None:
        if about is not None and work.patients.all_identified_by(about.identifiers):
            raise _missing("Appointment.participant", "a patient of ours asks, and names no HealthcareService")
        return None
    found = resources.of_service(command.service_id)
    if found is None and about is not None and about.organization in site.facility_of_organization:
        raise NeedsSetup(
            "the HealthcareService that a patient asks for is not bookable here: it is inactive, or not imported yet",
            setting="OmegaAI: Scheduler > Edit Healthcare Services",
        )
    return found


def _patient(command: ReceiveOmegaAIAppointment, work: Work) -> Patient:
    """The patient by number and issuer, and never by an e-mail address."""
    if command.patient_fhir_id is None:
        raise _missing("Appointment.participant", "names no Patient")
    numbers = () if command.about is None else command.about.identifiers
    found = {one.id: one for one in work.patients.all_identified_by(numbers)}
    if len(found) > 1:
        raise NeedsSetup(
            "the Patient's numbers in OmegaAI belong to different patients of the site",
            setting="PowerServer and OmegaAI: find out whether they are one person, and merge them in both",
        )
    if not found:
        raise NeedsSetup(
            "PowerServer has told of no patient with the numbers that OmegaAI's Patient has",
            setting="PowerServer: add the patient; OmegaAI: give the Patient its number and issuer",
        )
    (patient,) = found.values()
    if patient.fhir_id not in {None, command.patient_fhir_id}:
        raise NeedsSetup(
            "OmegaAI has two Patients with this number, and the request is of the one that the suite does not write",
            setting="OmegaAI: merge the two Patients",
        )
    return patient


def _slot(command: ReceiveOmegaAIAppointment, resource: Resource, site: SiteFile) -> Slot:
    """The time that is asked for, as long as both products need it."""
    facts = command.facts
    start, end = facts.start, facts.end
    if start is None:
        start, end = facts.requested_start, facts.requested_end
    if start is None:
        raise _missing("Appointment.start", "is missing")
    if end is not None and end <= start:
        raise _missing("Appointment.end", "is not after the start")
    of_studies = [site.study_minutes[one.code] for one in command.studies if one.code in site.study_minutes]
    asked = command.minutes or sum(of_studies) or resource.duration_minutes or 0
    length = timedelta(minutes=asked) if end is None else end - start
    length = max(length, timedelta(minutes=requests.shortest_minutes(of_studies)))
    if length > _LONGEST:
        raise _missing("Appointment.end", "is more than a day after the start")
    return Slot(start, start + length, site.facilities[resource.facility].time_zone)


def _link(
    command: ReceiveOmegaAIAppointment, patient: Patient, slot: Slot, resource: Resource, site: SiteFile
) -> AppointmentLink:
    link_id = requests.link_id(site.site, command.facts.fhir_id)
    return AppointmentLink(
        id=link_id,
        site=site.site,
        placer_number=requests.placer_number(link_id),
        patient_id=patient.id,
        facility=resource.facility,
        resource=powerservers_name(resource, site),
        modality=resource.modality,
        slot=slot,
        studies=command.studies,
        omegaai_id=command.facts.fhir_id,
        omegaai_version=command.facts.version,
    )


def powerservers_name(resource: Resource, site: SiteFile) -> str:
    """PowerServer's name of a resource: the alias that leads to it, else OmegaAI's own."""
    aliases = site.resource_aliases.get(resource.facility, {})
    return next((name for name, leads_to in aliases.items() if leads_to == resource.name), resource.name)


async def answered(
    link: AppointmentLink, decision: Decision, work: Work, now: datetime, *, site: SiteFile
) -> "tuple[Decision, TimeRefused | None]":
    """``decision`` after a wish for another time was looked at: a wish that nobody can grant is answered at once.

    With it the refusal, for the patient to be told.
    """
    is_wish = decision.trigger is Trigger.PATIENT_ASKED_TO_MOVE and decision.outcome is Outcome.APPLIED
    if not is_wish or decision.link.requested_slot is None:
        return decision, None
    refusal = _forbidden(site, link, is_moving=True) or await _refusal(decision.link, work, now)
    return (decision, None) if refusal is None else (link.refuse_wish(decision, refusal.why), refusal)


def _forbidden(site: SiteFile, asked_of: "Resource | AppointmentLink", *, is_moving: bool) -> "TimeRefused | None":
    """The facility's rules of self-scheduling against the request. Without rules the portal's own switches decide."""
    rules = site.self_scheduling.get(asked_of.facility)
    if rules is None:
        return None
    is_open = isinstance(asked_of, Resource) and asked_of.self_scheduling
    reasons = rules.against_patients(asked_of.modality, is_open=is_open, is_moving=is_moving)
    return TimeRefused(NOT_HERE.format(why="; ".join(reasons))) if reasons else None


@dataclass(frozen=True, slots=True)
class TimeRefused:
    """Why a time cannot be asked for, in words for the patient; the time that is taken, and what is free instead."""

    why: str
    lost: Slot | None = None
    offers: Sequence[Offer] = ()


async def _refusal(asks: AppointmentLink, work: Work, now: datetime) -> TimeRefused | None:
    """None where the time that ``asks`` asks for is ahead, and free."""
    asked = asks.requested_slot or asks.slot
    if asked is None:
        return None
    if asked.start <= now:
        return TimeRefused(IS_PAST)
    if await work.claims.has_room(asks):
        return None
    offers = await work.claims.alternatives(asks, asked)
    zone = ZoneInfo(asked.zone)
    times = [f"{one.slot.start.astimezone(zone):%a %d %b %Y, %H:%M} ({one.resource})" for one in offers]
    instead = f" Free instead: {'; '.join(times)}." if times else ""
    return TimeRefused(IS_TAKEN + instead, asked, offers)


def _missing(path: str, why: str) -> Malformed:
    return Malformed(f"{path}: {why}", location=path)
