"""The appointment link: its states, its moves, and the decisions that keep both systems in step."""

from scheduler_sync.domain.appointment import requests
from scheduler_sync.domain.appointment.facts import OwnWrite, RemoteFacts, StaffFacts
from scheduler_sync.domain.appointment.link import (
    CLOCKS_DIFFER,
    AppointmentLink,
    Decision,
    Outcome,
    fhir_status_of,
    study_times,
)
from scheduler_sync.domain.appointment.physician import Physician
from scheduler_sync.domain.appointment.states import FORMER, State, System, WhoActs
from scheduler_sync.domain.appointment.statuses import (
    BLUME_LABEL_OF_FHIR_STATUS,
    FHIR_STATUS_OF_STEP,
    PATIENTS_ACTS,
    FhirStatus,
    WorkflowStep,
    sets_powerserver_back,
    status_to_write,
    step_for_powerserver,
)
from scheduler_sync.domain.appointment.studies import Action, Study, StudyChange, unknown_removals
from scheduler_sync.domain.appointment.transitions import (
    TRANSITIONS,
    Announcement,
    Move,
    Refusal,
    Trigger,
    report_of,
    transition,
)
from scheduler_sync.domain.appointment.versions import has_seen

__all__ = [
    "BLUME_LABEL_OF_FHIR_STATUS",
    "CLOCKS_DIFFER",
    "FHIR_STATUS_OF_STEP",
    "FORMER",
    "PATIENTS_ACTS",
    "TRANSITIONS",
    "Action",
    "Announcement",
    "AppointmentLink",
    "Decision",
    "FhirStatus",
    "Move",
    "Outcome",
    "OwnWrite",
    "Physician",
    "Refusal",
    "RemoteFacts",
    "StaffFacts",
    "State",
    "Study",
    "StudyChange",
    "System",
    "Trigger",
    "WhoActs",
    "WorkflowStep",
    "fhir_status_of",
    "has_seen",
    "report_of",
    "requests",
    "sets_powerserver_back",
    "status_to_write",
    "step_for_powerserver",
    "study_times",
    "transition",
    "unknown_removals",
]
