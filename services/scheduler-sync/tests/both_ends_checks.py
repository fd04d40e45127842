"""What must hold in a story of both ends: after every step, and when everything has come through.

What is legal stands here once more, written by hand from the domain's documents and not taken from the code.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

import both_ends_partners as both_ends
from both_ends import Suite
from both_ends_partners import Booking, OmegaAI, PowerServer

from scheduler_sync.domain.appointment import AppointmentLink, System

STEPS_OF_STATE = {
    "unscheduled": {"ordered"}, "staff-booked": {"scheduled"}, "confirmed": {"confirmed"},
    "move-requested": {"requested"}, "patient-booked": {"requested"},
    "arrived": {"arrived", "ready-for-scan"}, "done": {"completed"},
    "cancelled": {"cancelled", "no-show"},
}  # fmt: skip
"""The states that an appointment can be in, and the steps that each may show."""
OPEN = {"unscheduled", "staff-booked", "confirmed", "arrived", "done", "cancelled"}
NEXT_STATES = {
    "new": OPEN | {"patient-booked"}, "unscheduled": OPEN, "staff-booked": OPEN | {"move-requested"},
    "confirmed": OPEN | {"move-requested"},
    "move-requested": {"confirmed", "move-requested", "arrived", "done", "cancelled", "unscheduled"},
    "patient-booked": {"confirmed", "patient-booked", "arrived", "done", "cancelled", "unscheduled"},
    "arrived": {"unscheduled", "staff-booked", "confirmed", "arrived", "done", "cancelled"},
    "done": {"done"}, "cancelled": {"done", "cancelled"},
}  # fmt: skip
"""From cancelled to done: the exam was completed before the patient's cancellation reached PowerServer."""
EVENT_OF_STATE = {
    "unscheduled": "appointment.cancelled", "staff-booked": "appointment.scheduled",
    "confirmed": "appointment.confirmed", "move-requested": "appointment.requested",
    "patient-booked": "appointment.requested",
    "arrived": "appointment.progressed", "done": "appointment.progressed", "cancelled": "appointment.cancelled",
}  # fmt: skip
STEP_OF_STATUS = {
    both_ends.ORDERED: "ordered", both_ends.SCHEDULED: "scheduled", both_ends.CONFIRMED: "confirmed",
    both_ends.ARRIVED: "arrived", both_ends.READY: "ready-for-scan",
}  # fmt: skip
FHIR_OF_STATUS = {
    both_ends.ORDERED: {"cancelled", "proposed", "entered-in-error"}, both_ends.SCHEDULED: {"pending", "proposed"},
    both_ends.CONFIRMED: {"booked"}, both_ends.ARRIVED: {"arrived"}, both_ends.READY: {"checked-in"},
    both_ends.COMPLETED: {"fulfilled"}, both_ends.CANCELLED: {"cancelled"}, both_ends.NO_SHOW: {"noshow", "cancelled"},
}  # fmt: skip
"""What OmegaAI must show. ``proposed`` only while a patient's wish to move is open, which the state says; a no-show of
what was off the calendar before stays ``cancelled``, which is the same card in Blume."""


def placer_of(body: dict[str, Any]) -> str:
    """The placer number that an Appointment carries; its id while it carries none."""
    numbers = [one["value"] for one in body["identifier"] if one["system"] == "urn:powerserver:placer"]
    return str(numbers[0] if numbers else body["id"])


SERVICES = {"BLUME CT": "hs-1", "BLUME MR": "hs-2"}
"""OmegaAI's HealthcareService of each of PowerServer's resources."""
REQUESTS = {"move-requested", "patient-booked"}


class Watch:
    """Checks PowerServer, OmegaAI and the suite between them during a story (a sequence of steps)."""

    powerserver: PowerServer
    omegaai: OmegaAI
    suite: Suite

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []
        self.has_failed = self.asked_long_ago = False
        self.asked_for: list[str] = []
        """Appointments that began in Blume."""
        self.seen_links: dict[UUID, AppointmentLink] = {}
        self.seen_events = self.seen_history = 0
        self.revisions: dict[UUID, int] = {}
        self.states: dict[UUID, str] = {}

    def tell(self, text: str) -> None:
        self.told.append(text)

    def cards(self) -> list[dict[str, Any]]:
        """The Appointments that carry the suite's numbers."""
        return [body for body in self.omegaai.all("Appointment") if placer_of(body) != body["id"]]

    # ---- at rest

    def check_that_both_ends_are_equal(self) -> None:
        """They are, or a dead delivery stands open about what they differ in."""
        by_placer = {}
        for body in self.cards():
            placer = placer_of(body)
            self.check(placer not in by_placer, f"OmegaAI has {placer} twice")
            by_placer[placer] = body
        for identifier in self.asked_for:
            is_open = self.omegaai.resources["Appointment", identifier]["status"] == "proposed"
            is_parked = f"Appointment/{identifier}" in self.suite.memory.parked
            links = [one for one in self.suite.memory.links.values() if one.omegaai_id == identifier]
            is_told = is_parked or len(links) == 1
            self.check(is_told or not is_open, f"nobody is told that a patient asks for {identifier}")
            self.check(len(links) <= 1, f"{identifier} was taken over twice")
        open_items = {one.delivery.key for one in self.suite.memory.dead}
        for link in self.suite.memory.links.values():
            is_there = link.placer_number in self.powerserver.bookings or link.state == "cancelled"
            is_open = not open_items.isdisjoint({link.id, link.patient_id})
            self.check(is_there or is_open, f"PowerServer has no {link.placer_number}, {link.state}")
        for booking in self.powerserver.bookings.values():
            found = next(one for one in self.suite.memory.links.values() if one.placer_number == booking.placer)
            if open_items.isdisjoint({found.id, found.patient_id}):
                self.check_booking(booking, found, by_placer.get(booking.placer))

    def check_booking(self, booking: Booking, found: AppointmentLink, body: dict[str, Any] | None) -> None:
        if body is None:
            never_shown = booking.status in {both_ends.ORDERED, both_ends.CANCELLED, both_ends.NO_SHOW}
            return self.check(never_shown, f"OmegaAI has no {booking.placer}")
        not_then = {"pending", "cancelled", "entered-in-error"} if found.state in REQUESTS else {"proposed"}
        wanted = FHIR_OF_STATUS[booking.status] - not_then
        shows = f"{booking.placer} is {both_ends.NAMES[booking.status]}"
        self.check(body["status"] in wanted, f"{shows}, OmegaAI's is {body['status']} ({found.state})")
        if booking.has_no_time or found.state == "move-requested":
            return None  # an open wish may stand as the start: no vendor says which of the two times shows meanwhile
        start = datetime.fromisoformat(body["start"])
        self.check(start == booking.start, f"{shows} at {booking.start}, OmegaAI's is at {start}")
        service = body["participant"][1]["actor"]["reference"].removeprefix("HealthcareService/")
        self.check(service == SERVICES[booking.resource], f"{shows} on {booking.resource}, OmegaAI's is on {service}")
        return self.check_patient(booking, body)

    def check_patient(self, booking: Booking, body: dict[str, Any]) -> None:
        identifier = body["participant"][0]["actor"]["reference"].removeprefix("Patient/")
        person = self.omegaai.resources["Patient", identifier]
        self.check(person["identifier"][0]["value"] == booking.patient, f"{booking.placer} is another patient's")
        email = person["telecom"][0]["value"]
        self.check(email == self.powerserver.emails[booking.patient], f"OmegaAI has {email} of {booking.patient}")

    # ---- what must hold after every step

    def check_what_is_new(self) -> None:
        memory = self.suite.memory
        for entry in memory.history[self.seen_history :]:
            before = self.states.get(entry.link_id, "new")
            self.check(entry.state_before == before, f"from {entry.state_before} while in {before}")
            self.check(entry.state_after in NEXT_STATES[before], f"illegal: {before} to {entry.state_after}")
            self.states[entry.link_id] = entry.state_after
        self.seen_history = len(memory.history)
        for topic, aggregate, revision in memory.events[self.seen_events :]:
            self.check(
                revision == self.revisions.get(aggregate, 0) + 1,
                f"{topic}: revision {revision} after {self.revisions.get(aggregate, 0)}",
            )
            self.revisions[aggregate] = revision
        for identifier, now in memory.links.items():
            before = self.seen_links.get(identifier)
            if now is before:
                continue
            self.seen_links[identifier] = now
            self.check_link(
                now, before, [topic for topic, one, _ in memory.events[self.seen_events :] if one == identifier]
            )
        self.seen_events = len(memory.events)

    def check_link(self, now: AppointmentLink, before: AppointmentLink | None, topics: list[str]) -> None:
        state, memory = str(now.state), self.suite.memory
        self.check(state == self.states.get(now.id), f"{now.placer_number} is in {state}, its history says otherwise")
        self.check(now.step in STEPS_OF_STATE[state], f"{now.placer_number} is {now.step} in {state}")
        self.check(
            now.revision == self.revisions.get(now.id, 0), f"{now.placer_number} has a revision without its event"
        )
        no_news = {(state, state), ("unscheduled", "cancelled")}
        is_news = before is not None and (str(before.state), state) not in no_news
        if is_news and state in EVENT_OF_STATE and now.revision:
            self.check(EVENT_OF_STATE[state] in topics, f"{now.placer_number} came to {state}, published: {topics}")
        acts = self.omegaai.acts[now.omegaai_id or ""]
        line = System.POWERSERVER, now.id
        told = len(memory.done[line]) + len(memory.lines[line]) + sum(one.line == line for one in memory.dead)
        self.check(told <= acts, f"PowerServer was told {told} times of {acts} acts of the patient")
        booking = self.powerserver.bookings.get(now.placer_number)
        changes = acts if booking is None else booking.messages + acts
        self.check(now.revision <= changes, f"{now.revision} events of {changes} changes")

    def look_for_an_act_that_is_wiped_out(self, before: dict[str, Any], after: dict[str, Any]) -> None:
        """What the patient did is written over only by somebody who knew of it, or by what makes it void."""
        if before["status"] == after["status"] == "entered-in-error":
            return  # OmegaAI's own staff deleted it
        act = self.omegaai.acted.get(before["id"])
        if act is None or after["status"] in {act[1], "cancelled", "noshow", "arrived", "checked-in", "fulfilled"}:
            return
        ours = next(one for one in self.suite.memory.links.values() if one.omegaai_id == before["id"])
        known = int(ours.omegaai_version or 0)
        self.check(
            known >= act[0], f"{placer_of(before)}: {after['status']} wipes out the patient's {act[1]}, not read yet"
        )

    def look_for_staffs_act_that_is_set_back(self, booking: Booking, status: int) -> None:
        """Of what staff did, nothing that the suite has heard of is undone by what it decided before.

        But by a worker that stood still in the sending: HL7 has no versions that PowerServer could tell that by.
        """
        ours = next(one for one in self.suite.memory.links.values() if one.placer_number == booking.placer)
        step = STEP_OF_STATUS[booking.status]
        self.check(
            self.asked_long_ago or status == booking.status or not ours.powerserver_step == ours.step == step,
            f"{booking.placer} is {step}, as the suite knows, and goes back to {both_ends.NAMES[status]}",
        )

    # ---- how it is said

    def check(self, holds: bool, what: str) -> None:  # noqa: FBT001 - as assert is written
        if not holds:
            self.fail(what)

    def fail(self, what: str) -> None:
        self.has_failed = True
        placers = {identifier: one.placer_number for identifier, one in self.suite.memory.links.items()}
        lines = [
            f"  {placers[one.link_id]} {one.message}: {one.trigger} {one.outcome}, "
            f"{one.state_before} -> {one.state_after}"
            for one in self.suite.memory.history
        ]
        raise AssertionError("\n".join([what, "what happened:", *self.told, "the suite's history:", *lines]))
