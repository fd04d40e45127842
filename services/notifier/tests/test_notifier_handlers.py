"""The use cases over fakes: order of arrival, stale revisions, superseding."""

from dataclasses import replace
from itertools import permutations
from uuid import uuid4

import pytest
from notifier_examples import (
    FakeAppointments,
    FakeNotifications,
    FakeOutgoing,
    FakeRecipients,
    FakeStale,
    appointment,
    recipient,
)

from notifier.domain.appointment import Appointment
from notifier.domain.recipient import Recipient
from notifier.handlers import follow_appointment, follow_patient


class World:
    def __init__(self) -> None:
        self.recipients = FakeRecipients()
        self.appointments = FakeAppointments()
        self.notifications = FakeNotifications()
        self.outgoing = FakeOutgoing()
        self.stale = FakeStale()

    async def hears(self, *events: Appointment | Recipient) -> None:
        for event in events:
            common = {
                "recipients": self.recipients,
                "notifications": self.notifications,
                "outgoing": self.outgoing,
                "stale": self.stale,
            }
            if isinstance(event, Recipient):
                await follow_patient(event, message_type="patient.updated", **common)
            else:
                await follow_appointment(event, appointments=self.appointments, **common)

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
