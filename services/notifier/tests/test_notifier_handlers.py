"""The use cases over fakes: order of arrival, stale revisions, superseding."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import permutations
from uuid import UUID, uuid4

import pytest
from notifier_examples import (
    FORMER,
    START,
    FakeAppointments,
    FakeNotifications,
    FakeOutgoing,
    FakeRecipients,
    FakeStale,
    appointment,
    recipient,
)

from notifier.domain.appointment import Appointment
from notifier.domain.notification import notification_id
from notifier.domain.recipient import Recipient
from notifier.handlers import follow_appointment, follow_merge, follow_patient


@dataclass(frozen=True)
class Merge:
    survivor: Recipient
    merged: UUID
    at: datetime = START


class World:
    def __init__(self) -> None:
        self.by = "staff"
        self.recipients = FakeRecipients()
        self.appointments = FakeAppointments()
        self.notifications = FakeNotifications()
        self.outgoing = FakeOutgoing()
        self.stale = FakeStale()

    async def hears(self, *events: Appointment | Recipient | Merge) -> None:
        for event in events:
            common = {
                "recipients": self.recipients,
                "notifications": self.notifications,
                "outgoing": self.outgoing,
                "stale": self.stale,
            }
            if isinstance(event, Merge):
                await follow_merge(
                    event.survivor,
                    event.merged,
                    merged_at=event.at,
                    message_type="patient.merged",
                    appointments=self.appointments,
                    **common,
                )
            elif isinstance(event, Recipient):
                await follow_patient(event, message_type="patient.updated", **common)
            else:
                await follow_appointment(event, by=self.by, appointments=self.appointments, **common)

    def states(self) -> dict[tuple[str, int], str]:
        return {(each.template, each.revision): each.state for each in self.notifications.values()}


@pytest.fixture
def world() -> World:
    return World()


async def test_a_known_patient_is_asked_to_confirm_at_once(world: World) -> None:
    patient = recipient()
    await world.hears(patient, appointment(patient.patient_id))
    assert world.states() == {("please-confirm", 1): "queued"}
    assert len(world.outgoing) == 1


async def test_an_appointment_before_its_patient_waits_and_is_released(world: World) -> None:
    patient = recipient()
    await world.hears(appointment(patient.patient_id))
    assert world.states() == {("please-confirm", 1): "awaiting_recipient"}
    assert world.outgoing == []
    await world.hears(recipient(), patient)
    assert world.states() == {("please-confirm", 1): "queued"}
    assert [each.patient_id for each in world.outgoing] == [patient.patient_id]


async def test_a_patient_without_an_address_ends_the_waiting(world: World) -> None:
    patient = recipient(email=None)
    await world.hears(appointment(patient.patient_id), patient)
    (only,) = world.notifications.values()
    assert (only.state, only.reason) == ("undeliverable", "no e-mail address")
    assert world.outgoing == []


@pytest.mark.parametrize("known_first", [True, False])
async def test_a_confirmation_supersedes_the_request_for_one(world: World, known_first: bool) -> None:  # noqa: FBT001 a parameter of the test
    patient, first = recipient(), None
    first = appointment(patient.patient_id)
    confirmed = replace(appointment(patient.patient_id, "confirmed", revision=2), appointment_id=first.appointment_id)
    await world.hears(*([patient] if known_first else []), first, confirmed, *([] if known_first else [patient]))
    assert world.states() == {("please-confirm", 1): "superseded", ("confirmed", 2): "queued"}


async def test_a_cancellation_supersedes_all_that_is_open(world: World) -> None:
    patient = recipient()
    first = appointment(patient.patient_id)
    confirmed = replace(appointment(patient.patient_id, "confirmed", revision=2), appointment_id=first.appointment_id)
    cancelled = replace(appointment(patient.patient_id, "cancelled", revision=3), appointment_id=first.appointment_id)
    await world.hears(first, confirmed, cancelled, patient)
    assert world.states() == {("please-confirm", 1): "superseded", ("confirmed", 2): "superseded"}
    assert world.outgoing == []


async def test_an_older_or_repeated_revision_changes_nothing_and_is_counted(world: World) -> None:
    patient = recipient(revision=2)
    confirmed = appointment(patient.patient_id, "confirmed", revision=2)
    late = replace(appointment(patient.patient_id, revision=1), appointment_id=confirmed.appointment_id)
    await world.hears(patient, confirmed, late, confirmed, replace(patient, revision=1, email=None))
    assert world.states() == {("confirmed", 2): "queued"}
    assert len(world.outgoing) == 1
    assert world.stale == ["appointment.scheduled", "appointment.confirmed", "patient.updated"]
    assert world.recipients[patient.patient_id].email == patient.email


async def test_what_was_sent_stays_sent_when_the_appointment_goes_on(world: World) -> None:
    patient, first = recipient(), appointment()
    first = replace(first, patient_id=patient.patient_id)
    await world.hears(patient, first)
    (asked,) = world.notifications.values()
    world.notifications.put(asked.move("sent"))
    confirmed = replace(appointment(patient.patient_id, "confirmed", revision=2), appointment_id=first.appointment_id)
    await world.hears(confirmed)
    assert world.states() == {("please-confirm", 1): "sent", ("confirmed", 2): "queued"}


async def test_every_order_of_arrival_ends_with_the_one_message_that_is_true(world: World) -> None:
    patient = recipient(uuid4())
    first = appointment(patient.patient_id)
    confirmed = replace(appointment(patient.patient_id, "confirmed", revision=2), appointment_id=first.appointment_id)
    for order in permutations([patient, first, confirmed]):
        fresh = World()
        await fresh.hears(*order)
        assert fresh.states()[("confirmed", 2)] == "queued"
        assert fresh.states().get(("please-confirm", 1), "superseded") == "superseded"


def of(first: Appointment, event: str, revision: int, **changes: object) -> Appointment:
    """A later event of the same appointment."""
    later = appointment(first.patient_id, event, revision=revision, **changes)
    return replace(later, appointment_id=first.appointment_id)


async def test_a_move_is_told_once_and_ends_what_was_to_be_said_of_the_old_time(world: World) -> None:
    patient = recipient()
    first = appointment(patient.patient_id)
    await world.hears(patient, first, of(first, "rescheduled", 2, who_acts_next="patient"))
    assert world.states() == {("please-confirm", 1): "superseded", ("moved", 2): "queued"}


async def test_every_order_of_arrival_ends_with_the_move(world: World) -> None:
    patient = recipient()
    first = appointment(patient.patient_id)
    for order in permutations([patient, first, of(first, "rescheduled", 2)]):
        fresh = World()
        await fresh.hears(*order)
        assert fresh.states()[("moved", 2)] == "queued"
        assert len([each for each in fresh.notifications.values() if each.is_open]) == 1


async def test_two_moves_that_were_not_told_are_told_as_one(world: World) -> None:
    first = appointment()
    moved = of(first, "rescheduled", 2)
    again = of(
        first,
        "rescheduled",
        3,
        start=START + timedelta(days=1),
        end=START + timedelta(days=1, minutes=30),
        former=replace(FORMER, start=moved.start, end=moved.end),
    )
    await world.hears(first, moved, again)
    assert world.states()[("moved", 3)] == "awaiting_recipient"
    assert world.appointments[first.appointment_id].former == FORMER


async def test_what_staff_add_without_a_change_that_the_patient_sees_is_told_only_once(world: World) -> None:
    patient = recipient()
    first = appointment(patient.patient_id)
    await world.hears(patient, first)
    (asked,) = world.notifications.values()
    world.notifications.put(asked.move("sent"))
    await world.hears(of(first, "scheduled", 2))
    assert world.states() == {("please-confirm", 1): "sent"}
    await world.hears(of(first, "rescheduled", 3, who_acts_next="patient", status="scheduled"))
    assert world.states() == {("please-confirm", 1): "sent", ("moved", 3): "queued"}


@pytest.mark.parametrize("known_first", [True, False])
@pytest.mark.parametrize("event", ["scheduled", "confirmed"])
async def test_a_change_that_the_patient_does_not_see_leaves_an_open_message_as_the_only_one(
    world: World,
    event: str,
    known_first: bool,  # noqa: FBT001 a parameter of the test
) -> None:
    patient = recipient()
    first = appointment(patient.patient_id, event)
    await world.hears(*([patient] if known_first else []), first, of(first, event, 2))
    await world.hears(*([] if known_first else [patient]))
    (only,) = world.notifications.values()
    template = {"scheduled": "please-confirm", "confirmed": "confirmed"}[event]
    assert only.notification_id == notification_id(first.appointment_id, template, 1)
    assert (only.revision, only.state) == (2, "queued")
    assert len(world.outgoing) == 1


async def test_a_move_that_is_still_to_be_told_keeps_the_place_that_the_patient_knows(world: World) -> None:
    patient = recipient()
    first = appointment(patient.patient_id)
    moved = of(first, "rescheduled", 2, who_acts_next="patient")
    await world.hears(patient, first, moved)
    await world.hears(replace(moved, revision=3, event="appointment.scheduled", former=None))
    assert world.states() == {("please-confirm", 1): "superseded", ("moved", 3): "queued"}
    assert world.appointments[first.appointment_id].former == FORMER
    assert len(world.outgoing) == 2


async def test_the_answer_to_a_patients_act_is_told_also_when_it_changes_nothing(world: World) -> None:
    patient = recipient()
    first = appointment(patient.patient_id, "confirmed")
    await world.hears(patient, first)
    (asked,) = world.notifications.values()
    world.notifications.put(asked.move("sent"))
    world.by = "patient"
    await world.hears(of(first, "confirmed", 2))
    assert world.states() == {("confirmed", 1): "sent", ("confirmed", 2): "queued"}


async def test_nothing_is_taken_for_told_across_a_revision_that_has_not_come(world: World) -> None:
    patient = recipient()
    first = appointment(patient.patient_id)
    await world.hears(patient, first)
    (asked,) = world.notifications.values()
    world.notifications.put(asked.move("sent"))
    await world.hears(of(first, "scheduled", 3))
    assert world.states() == {("please-confirm", 1): "sent", ("please-confirm", 3): "queued"}


@pytest.mark.parametrize("status", ["arrived", "ready-for-scan", "completed"])
async def test_progress_is_kept_and_cancels_what_is_due(world: World, status: str) -> None:
    patient = recipient()
    first = appointment(patient.patient_id)
    await world.hears(patient, first, of(first, "progressed", 2, status=status))
    assert world.states() == {("please-confirm", 1): "superseded"}
    known = world.appointments[first.appointment_id]
    assert (known.status, known.revision, known.who_acts_next) == (status, 2, "nobody")


async def test_a_merge_moves_the_appointments_and_tells_nobody_twice(world: World) -> None:
    ended, survivor = recipient(), recipient(email="survivor@example.org", revision=2)
    first = appointment(ended.patient_id)
    await world.hears(ended, first)
    merge = Merge(survivor, ended.patient_id)
    await world.hears(merge, merge)
    assert world.appointments[first.appointment_id].patient_id == survivor.patient_id
    (only,) = world.notifications.values()
    assert (only.patient_id, only.state) == (survivor.patient_id, "queued")
    assert len(world.outgoing) == 1


async def test_a_merge_releases_what_waited_for_the_merged_patient(world: World) -> None:
    survivor, nobody_heard_of = recipient(revision=2), uuid4()
    await world.hears(appointment(nobody_heard_of), Merge(survivor, nobody_heard_of))
    (only,) = world.notifications.values()
    assert (only.patient_id, only.state) == (survivor.patient_id, "queued")


async def test_every_order_of_arrival_of_a_merge_ends_with_the_survivor(world: World) -> None:
    ended, survivor = recipient(), recipient(email="survivor@example.org", revision=3)
    first = appointment(ended.patient_id)
    merge = Merge(replace(survivor, revision=2), ended.patient_id)
    for order in permutations([ended, survivor, first, merge]):
        fresh = World()
        await fresh.hears(*order)
        (only,) = fresh.notifications.values()
        assert (only.patient_id, only.state) == (survivor.patient_id, "queued")
        assert fresh.recipients[survivor.patient_id].revision == 3
        assert fresh.appointments[first.appointment_id].patient_id == survivor.patient_id
        assert len(fresh.outgoing) == 1


async def test_two_merges_in_a_row_lead_to_the_last_survivor_in_every_order(world: World) -> None:
    first, second, third = recipient(), recipient(revision=2), recipient(revision=2)
    booked = appointment(first.patient_id)
    one = Merge(second, first.patient_id, START)
    other = Merge(third, second.patient_id, START + timedelta(hours=1))
    for order in permutations([one, other, booked]):
        fresh = World()
        await fresh.hears(*order)
        assert fresh.appointments[booked.appointment_id].patient_id == third.patient_id
        (only,) = fresh.notifications.values()
        assert (only.patient_id, only.state) == (third.patient_id, "queued")


async def test_a_merge_in_the_other_direction_later_holds_in_every_order(world: World) -> None:
    first, second = recipient(), recipient(revision=2)
    booked = appointment(first.patient_id)
    wrong = Merge(second, first.patient_id, START)
    right = Merge(replace(first, revision=2), second.patient_id, START + timedelta(hours=1))
    for order in permutations([wrong, right, booked]):
        fresh = World()
        await fresh.hears(*order)
        assert fresh.recipients.survivor_of(second.patient_id) == first.patient_id
        assert fresh.recipients.survivor_of(first.patient_id) == first.patient_id
