"""Which of two words on a patient is the newer, whatever order they arrive in; in memory."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from both_ends import Suite
from both_ends_partners import Clock, OmegaAI, PowerServer

from scheduler_sync.domain.patient import UNSAID, Patient, PatientFacts, PatientIdentifier, Unsaid

T0 = datetime(2026, 11, 25, 14, 30, tzinfo=UTC)
T1, T2 = T0 + timedelta(seconds=1), T0 + timedelta(seconds=2)


def says(email: str | Unsaid | None, *, family: str = "Roe") -> PatientFacts:
    return PatientFacts((PatientIdentifier("NORTHSIDE", "4711"),), family, "Jane", email=email)


def known() -> Patient:
    patient = Patient.register(UUID(int=1), "northside", says("a@example.org"), organization="1", said_at=T0)
    return patient.told_omegaai("7", "1")


def test_a_detail_that_was_taken_back_does_not_come_again_with_the_message_that_was_overtaken():
    again = known().hear(says("a@example.org"), said_at=T2)
    assert (again.heard_at, again.revision) == (T2, 1)
    assert again.hear(says("b@example.org"), said_at=T1) is again


def test_a_message_that_leaves_a_detail_out_does_not_make_older_words_on_it_old():
    patient = known().hear(says(UNSAID), said_at=T2)
    assert (patient.heard_at, patient.details_heard_at["email"], patient.revision) == (T2, T0, 1)
    assert patient.hear(says("b@example.org"), said_at=T1).email == "b@example.org"


def test_a_message_that_changes_one_detail_and_leaves_another_out_does_not_make_older_words_on_that_old():
    patient = known().hear(replace(says(UNSAID), phone="(416)555-0199"), said_at=T2)
    late = patient.hear(replace(says("b@example.org"), phone="(416)555-0100"), said_at=T1)
    assert (late.email, late.phone, late.heard_at, late.revision) == ("b@example.org", "(416)555-0199", T2, 3)


def test_what_was_taken_back_holds_though_the_message_that_said_so_left_another_detail_out():
    """A, B, A, of which the last left the phone out: the late B passed for news."""
    patient = Patient.register(
        UUID(int=1), "northside", replace(says("a@example.org"), phone="(416)555-0100"), organization="1", said_at=T0
    )
    again = patient.hear(says("a@example.org"), said_at=T2)
    late = again.hear(replace(says("b@example.org"), phone="(416)555-0199"), said_at=T1)
    assert (late.email, late.phone, late.revision) == ("a@example.org", "(416)555-0199", 2)


def test_a_name_that_is_late_is_old_whatever_else_comes_with_it():
    late = known().hear(says(UNSAID), said_at=T2).hear(says("b@example.org", family="Doe"), said_at=T1)
    assert (late.family, late.email) == ("Roe", "b@example.org")


def test_a_detail_that_nobody_ever_said_is_not_left_out():
    nothing_known = known().hear(says(None), said_at=T0)
    again = nothing_known.hear(says(UNSAID), said_at=T2)
    assert (again.heard_at, again.revision) == (T2, nothing_known.revision)


def test_the_same_of_the_same_second_is_nothing_to_write():
    patient = known()
    assert patient.hear(says("a@example.org"), said_at=T0) is patient


def test_an_address_that_staff_took_back_holds_in_omegaai_when_the_message_between_arrives_last():
    clock, omegaai = Clock(), OmegaAI()
    powerserver = PowerServer(clock, profile="siu", skew_seconds=0)
    suite = Suite(clock, powerserver, omegaai)
    booking = powerserver.book("4711", T0 + timedelta(days=6))
    for email in ("joan@example.org", "jane@example.org"):
        clock.pass_by(1)
        powerserver.change_email(booking, email)
    booked, between, taken_back = powerserver.queue
    for said in (booked, taken_back, between):
        suite.hear(said.raw)
    while suite.heads():
        suite.send(suite.heads()[0])
    (person,) = omegaai.all("Patient")
    assert person["telecom"][0]["value"] == "jane@example.org"
    topics = [topic for topic, _, _ in suite.memory.events]
    assert topics == ["patient.registered", "appointment.scheduled"]
