"""Decides which side is right where a link and OmegaAI's Appointment differ after a recovery from the topics."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final

from scheduler_sync.domain.appointment import (
    PATIENTS_ACTS,
    AppointmentLink,
    FhirStatus,
    RemoteFacts,
    State,
    WorkflowStep,
)


class Judgement(StrEnum):
    """The verdict on a link and its Appointment."""

    EQUAL = "equal"
    """Both show the same, and the link knows the Appointment's version."""
    NOTED = "noted"
    """Both show the same; the link learns the Appointment's id and version."""
    ADOPTED = "adopted"
    """OmegaAI shows a later step of staff, which was written there and never announced on a topic."""
    HEARD = "heard"
    """The patient acted, and the store does not know of it."""
    WRITTEN = "written again"
    """OmegaAI lacks facts of the link."""


STATE_OF_UNANNOUNCED: Final[Mapping[FhirStatus, tuple[State, WorkflowStep]]] = {
    FhirStatus.ARRIVED: (State.ARRIVED, WorkflowStep.ARRIVED),
    FhirStatus.CHECKED_IN: (State.ARRIVED, WorkflowStep.READY_FOR_SCAN),
    FhirStatus.FULFILLED: (State.DONE, WorkflowStep.COMPLETED),
    FhirStatus.NOSHOW: (State.CANCELLED, WorkflowStep.NO_SHOW),
}
"""Steps that only staff bring about: OmegaAI has them only from us."""


@dataclass(frozen=True, slots=True)
class Remote:
    """An Appointment and the time of its last change there."""

    facts: RemoteFacts
    changed_at: datetime | None


@dataclass(frozen=True, slots=True)
class Announced:
    """The events of a link that the store had missed: the time of the newest, and their statuses."""

    newest_at: datetime | None = None
    statuses: frozenset[FhirStatus] = frozenset()


def judge(
    link: AppointmentLink,
    remote: Remote,
    announced: Announced = Announced(),
    *,
    overtaken: FhirStatus | None = None,
) -> Judgement:
    """``overtaken``: statuses of staff in the lost time, where the store has newer messages since.

    A status that looks like an act of the patient is an unknown act, unless it is older than the announced events and
    was announced itself.
    """
    facts = remote.facts
    is_known = facts.fhir_id == link.omegaai_id and facts.version == link.omegaai_version
    is_same = facts.status is link.fhir_status
    if is_same and _same_time(link, facts):
        return Judgement.EQUAL if is_known else Judgement.NOTED
    if is_known or facts.status is overtaken:
        return Judgement.WRITTEN
    is_older = (
        announced.newest_at is not None and remote.changed_at is not None and remote.changed_at < announced.newest_at
    )
    if facts.status in STATE_OF_UNANNOUNCED:
        return Judgement.WRITTEN if is_older else Judgement.ADOPTED
    is_act = facts.status is FhirStatus.PROPOSED or (facts.status in PATIENTS_ACTS and not is_same)
    if is_act and not (is_older and facts.status in announced.statuses):
        return Judgement.HEARD
    return Judgement.WRITTEN


def noted(link: AppointmentLink, facts: RemoteFacts) -> AppointmentLink:
    """The link with the Appointment's version: a write that follows is meant to replace that version."""
    return replace(link, omegaai_id=facts.fhir_id, omegaai_version=facts.version, omegaai_written_version=facts.version)


def adopted(link: AppointmentLink, facts: RemoteFacts) -> AppointmentLink:
    """The link at the step that OmegaAI shows. PowerServer shows it too, because the step came from there."""
    state, step = STATE_OF_UNANNOUNCED[facts.status]
    return replace(
        noted(link, facts), state=state, step=step, powerserver_step=step, powerserver_told_at=None, requested_slot=None
    )


def _same_time(link: AppointmentLink, facts: RemoteFacts) -> bool:
    return link.slot is None or facts.start is None or facts.start == link.slot.start
