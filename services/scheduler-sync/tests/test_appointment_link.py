"""The link's decisions: what each side says, in the orders in which it can arrive."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from scheduler_sync.domain.appointment import (
    Announcement,
    AppointmentLink,
    FhirStatus,
    Outcome,
    Physician,
    RemoteFacts,
    StaffFacts,
    State,
    Study,
    System,
    Trigger,
    WhoActs,
    WorkflowStep,
)
from scheduler_sync.domain.slots import Slot

ZONE = "America/Toronto"
START = datetime(2026, 12, 1, 19, 30, tzinfo=UTC)
SLOT = Slot(START, START + timedelta(minutes=30), ZONE)
LATER = Slot(START + timedelta(days=1), START + timedelta(days=1, minutes=30), ZONE)
HOUR = timedelta(hours=1)
T0 = datetime(2026, 11, 25, 14, 30, tzinfo=UTC)
T1, T2 = T0 + timedelta(minutes=1), T0 + timedelta(minutes=2)
BOTH = frozenset({System.OMEGAAI, System.POWERSERVER})
TO_OMEGAAI = frozenset({System.OMEGAAI})
TO_POWERSERVER = frozenset({System.POWERSERVER})


def new() -> AppointmentLink:
    return AppointmentLink(UUID(int=1), "northside", "P100045", UUID(int=2), "FAC01", "", None, None, ())


def says(step: WorkflowStep | None = WorkflowStep.SCHEDULED, slot: Slot | None = SLOT, **more) -> StaffFacts:
    values = {"facility": "FAC01", "resource": "BLUME CT", "modality": "CT", "studies": (Study("CT-HEAD", "CT Head"),)}
    return StaffFacts(step=step, slot=slot, **{**values, **more})


def shows(status: FhirStatus, version: str = "2", start: datetime | None = START, **more) -> RemoteFacts:
    return RemoteFacts("12", version, status, start, None if start is None else start + timedelta(minutes=30), **more)


def booked() -> AppointmentLink:
    """Booked by staff, accepted by OmegaAI as version 1."""
    return new().hear_powerserver(says(), said_at=T0).link.told_omegaai("12", "1")


def confirmed() -> AppointmentLink:
    """Confirmed by the patient, acknowledged by PowerServer."""
    link = booked().hear_omegaai(shows(FhirStatus.BOOKED)).link
    return link.told_powerserver(WorkflowStep.CONFIRMED, T1)


def test_a_booking_waits_for_the_patient_and_is_told_to_omegaai():
    decision = new().hear_powerserver(says(), said_at=T0)
    assert (decision.link.state, decision.link.who_acts_next) == (State.STAFF_BOOKED, WhoActs.PATIENT)
    assert decision.link.fhir_status is FhirStatus.PENDING
    assert (decision.announces, decision.tells) == (Announcement.SCHEDULED, TO_OMEGAAI)
    assert decision.link.revision == 1


def test_an_order_without_a_time_is_kept_and_told_to_nobody():
    decision = new().hear_powerserver(says(WorkflowStep.ORDERED, slot=None, resource=None), said_at=T0)
    assert decision.link.state is State.UNSCHEDULED
    assert (decision.announces, decision.tells, decision.link.revision) == (None, frozenset(), 0)
    booked_now = decision.link.hear_powerserver(says(), said_at=T1)
    assert booked_now.link.state is State.STAFF_BOOKED
    assert booked_now.announces is Announcement.SCHEDULED


def test_the_order_of_a_booking_that_siu_brought_adds_its_details_and_says_nothing():
    decision = booked().hear_powerserver(says(accession_numbers=("ACC1",)), said_at=T0)
    assert decision.outcome is Outcome.DETAIL
    assert (decision.announces, decision.tells) == (None, frozenset())
    assert decision.link.accession_numbers == ("ACC1",)


def test_the_same_again_changes_nothing():
    link = booked()
    decision = link.hear_powerserver(says(), said_at=T0)
    assert decision.outcome is Outcome.UNCHANGED
    assert decision.link == link


def test_a_date_moved_while_pending_stays_pending_and_moves_the_card():
    decision = booked().hear_powerserver(says(slot=LATER), said_at=T1)
    assert (decision.link.state, decision.link.slot) == (State.STAFF_BOOKED, LATER)
    assert (decision.announces, decision.tells) == (Announcement.RESCHEDULED, TO_OMEGAAI)
    assert decision.changed == ("slot",)
    assert decision.link.revision == 2


def test_a_date_moved_after_confirming_stays_confirmed():
    decision = confirmed().hear_powerserver(says(WorkflowStep.CONFIRMED, slot=LATER), said_at=T2)
    assert decision.link.state is State.CONFIRMED
    assert (decision.announces, decision.tells) == (Announcement.RESCHEDULED, TO_OMEGAAI)


@pytest.mark.parametrize(
    "place", [{"resource": "BLUME CT 2"}, {"facility": "FAC02"}, {"slot": replace(SLOT, end=SLOT.end + HOUR)}]
)
@pytest.mark.parametrize("link", ["booked", "confirmed"])
def test_another_resource_facility_or_length_is_a_move_and_keeps_the_status(link: str, place: dict[str, object]):
    before = {"booked": booked, "confirmed": confirmed}[link]()
    decision = before.hear_powerserver(says(None, **place), said_at=T2)
    assert (decision.announces, decision.tells) == (Announcement.RESCHEDULED, TO_OMEGAAI)
    assert (decision.link.state, decision.link.step) == (before.state, before.step)


def test_a_new_time_that_comes_with_another_status_is_news_of_the_status():
    by_staff = booked().hear_powerserver(says(WorkflowStep.CONFIRMED, slot=LATER), said_at=T1)
    assert (by_staff.link.slot, by_staff.announces) == (LATER, Announcement.CONFIRMED)
    listed = booked().hear_powerserver(says(WorkflowStep.WAITLIST), said_at=T1).link
    on_the_calendar = listed.hear_powerserver(says(slot=LATER), said_at=T2)
    assert on_the_calendar.announces is Announcement.SCHEDULED
    moved_on_the_list = listed.hear_powerserver(says(WorkflowStep.WAITLIST, slot=LATER), said_at=T2)
    assert moved_on_the_list.announces is Announcement.RESCHEDULED


def test_the_day_of_the_exam_is_published_step_by_step():
    link = confirmed()
    for step in (WorkflowStep.ARRIVED, WorkflowStep.READY_FOR_SCAN, WorkflowStep.COMPLETED):
        decision = link.hear_powerserver(says(step), said_at=T2)
        assert (decision.announces, decision.link.step, decision.tells) == (Announcement.PROGRESSED, step, TO_OMEGAAI)
        assert decision.link.revision == link.revision + 1
        link = decision.link


def test_an_exam_that_is_completed_after_a_cancellation_without_a_time_is_nobodys_news():
    cancelled = new().hear_powerserver(says(WorkflowStep.CANCELLED, slot=None), said_at=T0).link
    done = cancelled.hear_powerserver(says(WorkflowStep.COMPLETED, slot=None), said_at=T1)
    assert (done.link.state, done.announces, done.link.revision) == (State.DONE, None, 0)


DOCTOR = Physician("Miller", "Ann", number="1001")


def test_the_referring_physician_stays_until_another_is_named_or_the_field_is_deleted():
    link = new().hear_powerserver(says(referring_physician=DOCTOR), said_at=T0).link
    assert link.referring_physician == DOCTOR
    silent = link.hear_powerserver(says(), said_at=T1)
    assert (silent.outcome, silent.link.referring_physician) == (Outcome.UNCHANGED, DOCTOR)
    other = link.hear_powerserver(says(referring_physician=replace(DOCTOR, number="1002")), said_at=T1)
    assert (other.announces, other.tells) == (Announcement.SCHEDULED, TO_OMEGAAI)
    gone = link.hear_powerserver(says(deleted=frozenset({"referring_physician"})), said_at=T1)
    assert (gone.announces, gone.link.referring_physician) == (Announcement.SCHEDULED, None)


def test_what_others_are_told_of_a_study_is_news_when_it_becomes_known():
    head = Study("CT-HEAD", "CT Head")
    link = new().hear_powerserver(says(), said_at=T0).link
    for known in (
        replace(head, study_uid="2.25.1"),
        replace(head, procedure_codes=("70450",)),
        replace(head, order_number="ACC1"),
        replace(head, start=START, minutes=20),
    ):
        told = link.hear_powerserver(says(studies=(known,)), said_at=T1)
        assert (told.announces, told.tells) == (Announcement.SCHEDULED, TO_OMEGAAI), known
        again = told.link.hear_powerserver(says(studies=(head,)), said_at=T2)
        kept = replace(again.link.studies[0], start=None, minutes=None)
        assert kept == replace(known, start=None, minutes=None)


def test_the_only_studys_own_time_is_no_news_where_it_is_the_appointments():
    link = new().hear_powerserver(says(), said_at=T0).link
    told = link.hear_powerserver(says(studies=(Study("CT-HEAD", "CT Head", start=START, minutes=30),)), said_at=T1)
    assert (told.outcome, told.announces, told.tells) == (Outcome.DETAIL, None, frozenset())


def test_a_move_that_overtook_its_booking_holds_and_the_booking_is_stale():
    moved = new().hear_powerserver(says(None, slot=LATER), said_at=T1)
    assert (moved.link.state, moved.announces) == (State.STAFF_BOOKED, Announcement.SCHEDULED)
    late = moved.link.hear_powerserver(says(filler_id="A1"), said_at=T0)
    assert late.outcome is Outcome.STALE
    assert (late.announces, late.tells) == (None, frozenset())
    assert late.link.slot == LATER
    assert late.link.filler_id == "A1"


def test_a_cancellation_that_overtook_its_booking_holds_and_nobody_is_told():
    gone = new().hear_powerserver(says(WorkflowStep.CANCELLED, slot=None), said_at=T1)
    assert (gone.link.state, gone.tells, gone.announces) == (State.CANCELLED, frozenset(), None)
    assert gone.link.hear_powerserver(says(), said_at=T0).outcome is Outcome.STALE


def test_the_patient_confirms():
    decision = booked().hear_omegaai(shows(FhirStatus.BOOKED))
    assert (decision.link.state, decision.link.who_acts_next) == (State.CONFIRMED, WhoActs.NOBODY)
    assert (decision.announces, decision.tells) == (Announcement.CONFIRMED, TO_POWERSERVER)
    assert decision.link.step is WorkflowStep.CONFIRMED
    assert decision.link.omegaai_version == "2"


def test_staff_confirm_directly():
    decision = booked().hear_powerserver(says(WorkflowStep.CONFIRMED), said_at=T0)
    assert decision.link.state is State.CONFIRMED
    assert (decision.announces, decision.tells) == (Announcement.CONFIRMED, TO_OMEGAAI)


def test_powerservers_echo_of_a_confirmation_ends_here():
    decision = confirmed().hear_powerserver(says(WorkflowStep.CONFIRMED), said_at=T2)
    assert decision.outcome is Outcome.UNCHANGED
    assert decision.tells == frozenset()


def test_omegaais_echo_of_our_write_ends_here_by_its_version():
    link = booked()
    decision = link.hear_omegaai(shows(FhirStatus.PENDING, "1"))
    assert (decision.outcome, decision.link) == (Outcome.ECHO, link)


def test_omegaais_echo_ends_here_by_its_content_when_the_answer_is_not_in_yet():
    link = new().hear_powerserver(says(), said_at=T0).link
    decision = link.hear_omegaai(shows(FhirStatus.PENDING, "1"))
    assert decision.outcome is Outcome.ECHO
    assert decision.link.omegaai_id == "12"
    assert decision.tells == frozenset()


def test_an_older_version_of_omegaai_is_stale():
    assert confirmed().hear_omegaai(shows(FhirStatus.PENDING, "1")).outcome is Outcome.STALE


def test_a_confirmation_heard_before_the_answer_to_our_create_is_not_undone_by_it():
    link = new().hear_powerserver(says(), said_at=T0).link.hear_omegaai(shows(FhirStatus.BOOKED, "2")).link
    after = link.told_omegaai("12", "1")
    assert (after.state, after.omegaai_version, after.omegaai_written_version) == (State.CONFIRMED, "2", "1")


def test_an_act_of_the_patient_that_our_write_left_standing_is_still_heard():
    link = booked().told_omegaai("12", "3", as_sent=False)
    assert link.omegaai_version == "2"
    assert link.hear_omegaai(shows(FhirStatus.BOOKED, "3")).link.state is State.CONFIRMED


def test_a_scheduled_that_powerserver_sent_before_it_took_our_confirmation_leaves_it():
    not_yet_told = booked().hear_omegaai(shows(FhirStatus.BOOKED)).link
    moved = not_yet_told.hear_powerserver(says(slot=LATER), said_at=T0)
    assert (moved.link.state, moved.link.slot) == (State.CONFIRMED, LATER)
    assert moved.announces is Announcement.RESCHEDULED
    told = replace(not_yet_told, powerserver_heard_at=T0).told_powerserver(WorkflowStep.CONFIRMED, T2)
    late = told.hear_powerserver(says(), said_at=T1)
    assert late.link.state is State.CONFIRMED
    assert late.conflict is not None


def test_staff_take_a_confirmation_back():
    decision = confirmed().hear_powerserver(says(), said_at=T2)
    assert (decision.link.state, decision.link.who_acts_next) == (State.STAFF_BOOKED, WhoActs.PATIENT)
    assert (decision.announces, decision.tells) == (Announcement.SCHEDULED, TO_OMEGAAI)


def test_staff_take_a_confirmation_back_in_the_second_in_which_powerserver_took_it():
    echoed = confirmed().hear_powerserver(says(WorkflowStep.CONFIRMED), said_at=T0).link
    decision = echoed.hear_powerserver(says(), said_at=T0)
    assert decision.link.state is State.STAFF_BOOKED
    assert (decision.announces, decision.conflict) == (Announcement.SCHEDULED, None)


def test_an_acknowledgement_that_is_noted_late_does_not_make_powerservers_own_word_old():
    not_yet_noted = booked().hear_omegaai(shows(FhirStatus.BOOKED)).link
    echoed = not_yet_noted.hear_powerserver(says(WorkflowStep.CONFIRMED), said_at=T0).link
    noted_after_the_echo = echoed.told_powerserver(WorkflowStep.CONFIRMED, T2)
    taken_back = echoed.hear_powerserver(says(), said_at=T1).link
    noted_after_all = taken_back.told_powerserver(WorkflowStep.CONFIRMED, T2)
    assert noted_after_the_echo.hear_powerserver(says(), said_at=T1).link.state is State.STAFF_BOOKED
    assert noted_after_all.powerserver_step is WorkflowStep.SCHEDULED


def test_a_move_that_meets_the_patients_cancellation_is_shown_on_both_sides():
    cancelled = booked().hear_omegaai(shows(FhirStatus.CANCELLED)).link
    decision = cancelled.hear_powerserver(says(slot=LATER), said_at=T1)
    assert (decision.link.state, decision.link.slot) == (State.CANCELLED, LATER)
    assert (decision.announces, decision.tells) == (None, TO_OMEGAAI)
    unheard = new().hear_powerserver(says(WorkflowStep.CANCELLED, slot=None), said_at=T0).link
    assert unheard.hear_powerserver(says(None, slot=LATER), said_at=T1).tells == frozenset()


def test_confirming_a_time_that_was_moved_confirms_the_new_one_and_says_so():
    link = booked().hear_powerserver(says(slot=LATER), said_at=T1).link
    decision = link.hear_omegaai(shows(FhirStatus.BOOKED, "2", START))
    assert decision.link.state is State.CONFIRMED
    assert decision.link.slot == LATER
    assert decision.tells == BOTH
    assert decision.conflict is not None


def test_a_time_changed_in_omegaai_is_put_back():
    decision = booked().hear_omegaai(shows(FhirStatus.PENDING, "2", LATER.start))
    assert decision.outcome is Outcome.REFUSED
    assert decision.tells == TO_OMEGAAI
    assert decision.link.slot == SLOT
    assert decision.conflict is not None


def test_a_status_that_no_patient_sets_is_put_back():
    decision = confirmed().hear_omegaai(shows(FhirStatus.PENDING, "3"))
    assert (decision.outcome, decision.tells) == (Outcome.REFUSED, TO_OMEGAAI)
    assert decision.link.state is State.CONFIRMED


def test_a_requested_card_does_not_become_pending_by_a_scheduled_of_powerserver():
    asked = confirmed().hear_omegaai(shows(FhirStatus.PROPOSED, "3", requested_start=LATER.start))
    assert (asked.link.state, asked.announces) == (State.MOVE_REQUESTED, Announcement.REQUESTED)
    assert asked.link.requested_slot == LATER
    told = asked.link.told_powerserver(WorkflowStep.SCHEDULED, T1)
    for at, step in ((T1, WorkflowStep.SCHEDULED), (T2, WorkflowStep.SCHEDULED), (T2, None)):
        decision = told.hear_powerserver(says(step), said_at=at)
        assert decision.link.state is State.MOVE_REQUESTED
        assert decision.link.fhir_status is FhirStatus.PROPOSED
        assert decision.tells == frozenset()
    again = told.hear_omegaai(shows(FhirStatus.PROPOSED, "4", requested_start=LATER.start))
    assert again.outcome is Outcome.ECHO


def test_staff_cancel_and_the_card_is_cancelled():
    decision = confirmed().hear_powerserver(says(WorkflowStep.CANCELLED, reason="called in"), said_at=T2)
    assert (decision.link.state, decision.link.reason) == (State.CANCELLED, "called in")
    assert (decision.announces, decision.tells) == (Announcement.CANCELLED, TO_OMEGAAI)
    assert decision.link.fhir_status is FhirStatus.CANCELLED


def test_a_no_show_is_a_cancelled_card_of_its_own_kind():
    decision = confirmed().hear_powerserver(says(WorkflowStep.NO_SHOW), said_at=T2)
    assert decision.link.fhir_status is FhirStatus.NOSHOW


def test_the_patient_cancels():
    decision = booked().hear_omegaai(shows(FhirStatus.CANCELLED, reason="cannot come"))
    assert (decision.link.state, decision.link.reason) == (State.CANCELLED, "cannot come")
    assert (decision.announces, decision.tells) == (Announcement.CANCELLED, TO_POWERSERVER)


def test_a_cancelled_appointment_is_not_brought_back_and_the_refusal_says_why():
    gone = confirmed().hear_powerserver(says(WorkflowStep.CANCELLED), said_at=T2).link
    decision = gone.hear_powerserver(says(slot=LATER), said_at=T2 + timedelta(minutes=1))
    assert decision.outcome is Outcome.REFUSED
    assert decision.trigger is Trigger.STAFF_SCHEDULED
    assert decision.link.state is State.CANCELLED
    assert decision.link.slot == SLOT
    assert decision.conflict is not None
    assert "cancelled" in decision.conflict
    by_patient = gone.hear_omegaai(shows(FhirStatus.BOOKED, "9"))
    assert (by_patient.outcome, by_patient.tells) == (Outcome.REFUSED, TO_OMEGAAI)


def test_arrived_then_ready_is_shown():
    link = confirmed().hear_powerserver(says(WorkflowStep.ARRIVED), said_at=T2).link
    assert (link.state, link.fhir_status) == (State.ARRIVED, FhirStatus.ARRIVED)
    ready = link.hear_powerserver(says(WorkflowStep.READY_FOR_SCAN), said_at=T2)
    assert (ready.link.fhir_status, ready.tells) == (FhirStatus.CHECKED_IN, TO_OMEGAAI)


def test_a_time_taken_away_cancels_the_card():
    decision = booked().hear_powerserver(says(WorkflowStep.ORDERED, slot=None), said_at=T1)
    assert decision.link.state is State.UNSCHEDULED
    assert decision.link.fhir_status is FhirStatus.CANCELLED
    assert (decision.announces, decision.tells) == (Announcement.CANCELLED, TO_OMEGAAI)


def test_a_slot_is_as_long_as_the_clock_of_utc_says():
    slot = Slot(
        datetime.fromisoformat("2026-11-01T01:45:00-04:00"), datetime.fromisoformat("2026-11-01T01:15:00-05:00"), ZONE
    )
    assert slot.minutes == 30


def test_a_cancellation_of_a_time_that_is_not_powerservers_shows_powerservers_time_again():
    decision = booked().hear_omegaai(shows(FhirStatus.CANCELLED, start=LATER.start))
    assert decision.link.state is State.CANCELLED
    assert decision.tells == BOTH
    assert decision.conflict is not None


def test_what_left_an_act_of_the_patient_standing_is_no_ground_for_the_writes_behind_it():
    """Two moves waited in line; the first left the confirmation, and the second wiped it out."""
    link = booked().told_omegaai("12", "3", as_sent=False)
    assert (link.omegaai_version, link.omegaai_written_version) == ("2", "1")
    assert link.hear_omegaai(shows(FhirStatus.BOOKED, version="3")).trigger is Trigger.PATIENT_CONFIRMED


def test_our_own_write_whose_answer_was_lost_is_not_taken_for_the_patients_act_before_it():
    """Staff confirmed, the patient cancelled, staff took it back: then came the Task that was read before all that."""
    link = new().hear_powerserver(says(WorkflowStep.CONFIRMED), said_at=T0).link.told_omegaai("12", "2", as_sent=False)
    link = link.hear_powerserver(says(WorkflowStep.SCHEDULED), said_at=T1).link
    assert link.hear_omegaai(shows(FhirStatus.BOOKED, version="1")).outcome in {Outcome.ECHO, Outcome.STALE}
    assert link.hear_omegaai(shows(FhirStatus.CANCELLED, version="2")).trigger is Trigger.PATIENT_CANCELLED


def test_an_exam_that_was_over_before_the_patients_cancellation_arrived_is_completed_on_both_sides():
    cancelled = booked().hear_omegaai(shows(FhirStatus.CANCELLED)).link
    decision = cancelled.hear_powerserver(says(WorkflowStep.COMPLETED), said_at=T1)
    assert (decision.link.state, decision.link.fhir_status) == (State.DONE, FhirStatus.FULFILLED)
    assert decision.tells == TO_OMEGAAI


def test_a_time_taken_away_from_one_who_was_marked_as_here_by_mistake_is_taken_away_in_omegaai_too():
    """Staff put ARRIVED back to CONFIRMED and took the time away; the message between the two came last."""
    here = confirmed().hear_powerserver(says(WorkflowStep.ARRIVED), said_at=T1).link
    decision = here.hear_powerserver(says(WorkflowStep.ORDERED, slot=None), said_at=T2 + timedelta(minutes=1))
    assert (decision.link.state, decision.link.fhir_status) == (State.UNSCHEDULED, FhirStatus.CANCELLED)
    assert (decision.announces, decision.tells) == (Announcement.CANCELLED, TO_OMEGAAI)
    late = decision.link.hear_powerserver(says(WorkflowStep.CONFIRMED), said_at=T2)
    assert (late.outcome, late.link.state) == (Outcome.STALE, State.UNSCHEDULED)


def test_a_wish_that_staff_have_answered_is_not_heard_again_in_our_own_write_that_left_it_standing():
    """A move that waited left it standing, on top of the version that was known; the confirmation behind it did too."""
    link = booked().hear_omegaai(shows(FhirStatus.PROPOSED, requested_start=LATER.start)).link
    answered = link.hear_powerserver(says(WorkflowStep.CONFIRMED), said_at=T2).link
    told = answered.told_omegaai("12", "3", as_sent=False, over="2")
    assert (told.omegaai_version, told.omegaai_written_version) == ("3", "3")
    assert told.hear_omegaai(shows(FhirStatus.PROPOSED, "3", requested_start=LATER.start)).outcome is Outcome.ECHO
    unknown = booked().told_omegaai("12", "3", as_sent=False, over="2")
    assert (unknown.omegaai_version, unknown.omegaai_written_version) == ("1", "1"), (
        "version 2 is the act, which nobody has heard"
    )


def test_a_cancellation_that_overtook_a_new_time_shows_that_time_on_the_card_that_was_off_the_calendar():
    """Staff gave a time again, moved it and cancelled; of these only the cancellation was heard in time."""
    off = booked().hear_powerserver(says(WorkflowStep.ORDERED), said_at=T1).link.told_omegaai("12", "2")
    decision = off.hear_powerserver(says(WorkflowStep.CANCELLED, slot=LATER), said_at=T2)
    assert (decision.link.state, decision.link.slot, decision.tells) == (State.CANCELLED, LATER, TO_OMEGAAI)
    nobodys = new().hear_powerserver(says(WorkflowStep.ORDERED, slot=None), said_at=T0).link
    assert nobodys.hear_powerserver(says(WorkflowStep.CANCELLED), said_at=T1).tells == frozenset()
