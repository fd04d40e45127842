"""R8: staff and a patient act at once, in any order, over wires that repeat, delay, reorder and lose.

After every step what must never be is looked for; when everything has come through, both ends must show the same. What
is legal stands here once more, written by hand from the domain's documents and not taken from the code.
``MODEL_SEED=n`` starts elsewhere, ``MODEL_STEPS=n`` makes it longer. A failure prints its steps and what came of each;
``MODEL_SHRINK=1`` looks for the shortest story that shows it, which takes minutes.
"""

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import wraps
from typing import Any
from uuid import UUID

import both_ends
import pytest
from both_ends import Booking, Clock, OmegaAI, Pending, PowerServer, Said, Suite
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.internal.conjecture.providers import HypothesisProvider
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from scheduler_sync.adapters.omegaai import sender
from scheduler_sync.adapters.omegaai.tasks import TaskItem
from scheduler_sync.domain import appointment, link
from scheduler_sync.domain.link import Move, State, System, Trigger
from scheduler_sync.messages import AppointmentSnapshot

STEPS = int(os.environ.get("MODEL_STEPS", "50000"))
SEED = int(os.environ.get("MODEL_SEED", "1"))
PHASES = (Phase.generate, Phase.shrink) if "MODEL_SHRINK" in os.environ else (Phase.generate,)
STEPS_PER_STORY = 100
STEPS_TO_REST = 20
MOST_BOOKINGS, MOST_ROUNDS = 3, 30

STEPS_OF_STATE = {
    "L0": {"ordered"}, "L1": {"scheduled"}, "L2": {"confirmed"}, "L3": {"requested"},
    "L5": {"arrived", "ready-for-scan"}, "L6": {"completed"}, "L7": {"cancelled", "no-show"},
}  # fmt: skip
"""The states that an appointment can be in while nobody books in Blume, and the steps that each may show."""
OPEN = {"L0", "L1", "L2", "L5", "L6", "L7"}
NEXT_STATES = {
    "new": OPEN, "L0": OPEN, "L1": OPEN | {"L3"}, "L2": OPEN | {"L3"}, "L3": {"L2", "L3", "L5", "L6", "L7"},
    "L5": {"L1", "L2", "L5", "L6", "L7"}, "L6": {"L6"}, "L7": {"L6", "L7"},
}  # fmt: skip
"""From L7 to L6: the exam was completed before the patient's cancellation reached PowerServer."""
EVENT_OF_STATE = {
    "L0": "appointment.cancelled", "L1": "appointment.scheduled", "L2": "appointment.confirmed",
    "L3": "appointment.requested", "L7": "appointment.cancelled",
}  # fmt: skip
FHIR_OF_STATUS = {
    both_ends.ORDERED: {"cancelled", "proposed"}, both_ends.SCHEDULED: {"pending", "proposed"},
    both_ends.CONFIRMED: {"booked"}, both_ends.ARRIVED: {"arrived"}, both_ends.READY: {"checked-in"},
    both_ends.COMPLETED: {"fulfilled"}, both_ends.CANCELLED: {"cancelled"}, both_ends.NO_SHOW: {"noshow", "cancelled"},
}  # fmt: skip
"""What OmegaAI must show. ``proposed`` only while a patient's wish to move is open, which the state says; a no-show of
what was off the calendar before stays ``cancelled``, which is the same card in Blume."""
STATUSES = [
    both_ends.SCHEDULED, both_ends.CONFIRMED, both_ends.ARRIVED, both_ends.READY, both_ends.COMPLETED,
    both_ends.CANCELLED, both_ends.NO_SHOW, both_ends.ORDERED,
]  # fmt: skip

any_one = st.integers(0, 11)
FATES = st.sampled_from(["done", "done", "done", "answer lost", "never arrived"])


def placer_of(body: dict[str, Any]) -> str:
    """The placer number that an Appointment carries."""
    return str(body["identifier"][1]["value"])


def acts(**drawn: st.SearchStrategy[Any]) -> Callable[[Callable[..., None]], Any]:
    """A rule, after which what must never be is looked for."""

    def step(act: Callable[..., None]) -> Any:
        @wraps(act)
        def acted(self: "BothEnds", **values: Any) -> None:
            type(self).steps += 1
            self.steps_since_rest += 1
            act(self, **values)
            self.check_what_is_new()

        return rule(**drawn)(acted)

    return step


class BothEnds(RuleBasedStateMachine):
    """One story of up to three appointments of two patients."""

    steps = 0

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []
        self.has_failed = False

    @initialize(profile=st.sampled_from(["siu", "orm", "both"]), skew=st.sampled_from([0, -90, 90]))
    def begin(self, profile: str, skew: int) -> None:
        self.clock = Clock()
        self.omegaai = OmegaAI()
        self.powerserver = PowerServer(self.clock, profile=profile, skew_seconds=skew)
        self.suite = Suite(self.clock, self.powerserver, self.omegaai)
        self.omegaai.before_write = self.look_for_an_act_that_is_wiped_out
        self.read: list[TaskItem] = []
        self.seen_links: dict[UUID, appointment.AppointmentLink] = {}
        self.steps_since_rest = 0
        self.seen_events = self.seen_history = 0
        self.revisions: dict[UUID, int] = {}
        self.states: dict[UUID, str] = {}
        self.tell(f"PowerServer sends {profile}, its clock is {skew} s off")

    def tell(self, text: str) -> None:
        self.told.append(text)

    # ---- staff

    @acts(patient=st.sampled_from(["4711", "4712"]), day=any_one, pause=st.integers(0, 3))
    @precondition(lambda self: len(self.powerserver.bookings) < MOST_BOOKINGS)
    def staff_book(self, patient: str, day: int, pause: int) -> None:
        self.clock.pass_by(pause)
        booking = self.powerserver.book(patient, self.day(day))
        self.tell(f"staff book {booking.placer} for {patient}")

    @acts(which=any_one, status=st.sampled_from(STATUSES), pause=st.integers(0, 3))
    @precondition(lambda self: self.open_bookings())
    def staff_set_status(self, which: int, status: int, pause: int) -> None:
        booking = self.pick(self.open_bookings(), which)
        if status == both_ends.ORDERED and booking.status not in {both_ends.SCHEDULED, both_ends.CONFIRMED}:
            status = both_ends.CONFIRMED  # who is here is not without a time
        if status == both_ends.NO_SHOW and booking.status == both_ends.ORDERED:
            status = both_ends.CANCELLED  # who has no time cannot miss it
        self.clock.pass_by(pause)
        self.tell(f"staff set {booking.placer} from {both_ends.NAMES[booking.status]} to {both_ends.NAMES[status]}")
        self.powerserver.set_status(booking, status)

    @acts(which=any_one, day=any_one, pause=st.integers(0, 3))
    @precondition(lambda self: self.with_a_time())
    def staff_move(self, which: int, day: int, pause: int) -> None:
        self.clock.pass_by(pause)
        booking = self.pick(self.with_a_time(), which)
        self.tell(f"staff move {booking.placer}")
        self.powerserver.move(booking, self.day(day))

    @acts(which=any_one, number=any_one)
    @precondition(lambda self: self.powerserver.bookings)
    def staff_change_email(self, which: int, number: int) -> None:
        self.clock.pass_by(1)
        booking = self.pick(list(self.powerserver.bookings.values()), which)
        self.tell(f"staff change the e-mail address of {booking.patient}")
        self.powerserver.change_email(booking, f"patient{number}@example.org")

    # ---- the patient, and OmegaAI's people

    @acts(which=any_one, act=st.sampled_from(["booked", "proposed", "cancelled"]), day=any_one)
    @precondition(lambda self: self.omegaai.all("Appointment"))
    def patient_act(self, which: int, act: str, day: int) -> None:
        body = self.pick(self.omegaai.all("Appointment"), which)
        self.tell(f"the patient sets {placer_of(body)} from {body['status']} to {act}")
        self.do_act(body["id"], act, day)

    def do_act(self, identifier: str, act: str, day: int) -> None:
        """What Blume lets a patient do, with the card as it is now."""
        body = self.omegaai.resources["Appointment", identifier]
        allowed = {
            "booked": {"pending"},
            "proposed": {"pending", "booked"},
            "cancelled": {"pending", "booked", "proposed"},
        }
        if body["status"] not in allowed[act]:
            return self.tell("  which Blume does not offer")
        more: dict[str, Any] = {}
        if act == "proposed":
            start = self.day(day)
            period = {"start": start.isoformat(), "end": (start + timedelta(minutes=30)).isoformat()}
            more["requestedPeriod"] = [period]
        elif act == "cancelled":
            more["cancelationReason"] = {"text": "cannot come"}
        return self.omegaai.patient_sets(body, act, **more)

    @acts(which=any_one, day=any_one)
    @precondition(lambda self: self.omegaai.all("Appointment"))
    def omegaais_people_move_it(self, which: int, day: int) -> None:
        """When nothing else is on its way: a new version that shows ``booked`` could as well be a patient's act."""
        body = self.pick(self.omegaai.all("Appointment"), which)
        self.tell(f"somebody moves {placer_of(body)} in OmegaAI")
        if body["status"] == "proposed" or self.is_anything_on_its_way():
            return self.tell("  which is left for a quieter moment")
        start = self.day(day)
        self.omegaai.staff_edit(body, start=start.isoformat(), end=(start + timedelta(minutes=30)).isoformat())
        (task_id,) = self.omegaai.tasks
        self.suite.apply_task(self.suite.read_task(task_id))
        return self.omegaai.tasks.clear()

    # ---- the wires

    @acts(which=any_one, is_answered=st.sampled_from([True, True, False]))
    @precondition(lambda self: self.powerserver.queue)
    def message_arrives(self, which: int, *, is_answered: bool) -> None:
        said = self.pick(self.may_arrive(), which)
        self.tell(f"{said.text} arrives{'' if is_answered else '; its ACK is lost'}")
        self.suite.hear(said.raw)
        if is_answered:
            self.powerserver.queue.remove(said)
            self.powerserver.answered.append(said)

    @acts(which=any_one)
    @precondition(lambda self: self.powerserver.answered)
    def message_arrives_again(self, which: int) -> None:
        said = self.pick(self.powerserver.answered, which)
        self.tell(f"{said.text} arrives once more")
        self.suite.hear(said.raw)

    @acts(which=any_one, fate=FATES)
    @precondition(lambda self: self.suite.heads())
    def delivery_goes(self, which: int, fate: str) -> None:
        pending = self.pick(self.suite.heads(), which)
        self.tell(f"{self.named(pending)} goes: {fate}")
        self.suite.send(pending, fate=fate)

    @acts(which=any_one, fate=FATES, act=st.sampled_from(["booked", "proposed", "cancelled"]), day=any_one)
    @precondition(lambda self: self.suite.heads())
    def patient_acts_between_our_reading_and_writing(self, which: int, fate: str, act: str, day: int) -> None:
        pending = self.pick(self.suite.heads(), which)
        self.tell(f"{self.named(pending)} goes: {fate}; before it writes, the patient sets {act}")
        self.omegaai.before_update = lambda identifier: self.do_act(identifier, act, day)
        self.suite.send(pending, fate=fate)
        self.omegaai.before_update = None

    @acts(which=any_one)
    @precondition(lambda self: self.unread_tasks())
    def task_is_read(self, which: int) -> None:
        item = self.suite.read_task(self.pick(self.unread_tasks(), which))
        self.tell(f"Task {item.task_id} is read: {self.shown(item)}")
        self.read.append(item)

    @acts(which=any_one, is_completed=st.sampled_from([True, True, False]))
    @precondition(lambda self: self.read)
    def task_is_applied(self, which: int, *, is_completed: bool) -> None:
        item = self.pick(self.read, which)
        self.tell(
            f"Task {item.task_id} is taken over{'' if is_completed else ' and not completed'}: {self.shown(item)}"
        )
        self.read.remove(item)
        if self.suite.apply_task(item) and is_completed:
            self.omegaai.tasks.pop(item.task_id, None)

    # ---- rest

    @acts()
    @precondition(lambda self: self.steps_since_rest >= STEPS_TO_REST)
    def everything_comes_through(self) -> None:
        self.tell("everything comes through")
        self.settle()

    def teardown(self) -> None:
        if hasattr(self, "suite") and not self.has_failed:
            self.tell("at the end everything comes through")
            self.settle()
            self.check_what_is_new()

    def settle(self) -> None:
        for _ in range(MOST_ROUNDS):
            if not self.is_anything_on_its_way():
                break
            self.clock.pass_by(1)
            while self.powerserver.queue:
                said = self.powerserver.queue.pop(0)
                self.tell(f"  {said.text} arrives")
                self.suite.hear(said.raw)
                self.powerserver.answered.append(said)
            for line in list(self.suite.memory.lines.values()):
                while line:
                    pending, left = line[0], len(line)
                    self.tell(f"  {self.named(pending)} goes")
                    self.suite.send(pending)
                    if len(line) == left:
                        break
            for item in [*self.read, *map(self.suite.read_task, self.unread_tasks())]:
                self.tell(f"  Task {item.task_id} is taken over: {self.shown(item)}")
                if self.suite.apply_task(item):
                    self.omegaai.tasks.pop(item.task_id, None)
            self.read.clear()
        else:
            self.fail(f"no rest after {MOST_ROUNDS} rounds")
        self.steps_since_rest = 0
        self.check_that_both_ends_are_equal()

    def is_anything_on_its_way(self) -> bool:
        return bool(self.powerserver.queue or self.read or self.omegaai.tasks or self.suite.heads())

    def check_that_both_ends_are_equal(self) -> None:
        by_placer = {}
        for body in self.omegaai.all("Appointment"):
            placer = placer_of(body)
            self.check(placer not in by_placer, f"OmegaAI has {placer} twice")
            by_placer[placer] = body
        for booking in self.powerserver.bookings.values():
            found = next(one for one in self.suite.memory.links.values() if one.placer_number == booking.placer)
            body = by_placer.get(booking.placer)
            if body is None:
                never_shown = booking.status in {both_ends.ORDERED, both_ends.CANCELLED, both_ends.NO_SHOW}
                self.check(never_shown, f"OmegaAI has no {booking.placer}")
                continue
            wanted = FHIR_OF_STATUS[booking.status] - (
                {"proposed"} if found.state != "L3" else {"pending", "cancelled"}
            )
            shows = f"{booking.placer} is {both_ends.NAMES[booking.status]}"
            self.check(body["status"] in wanted, f"{shows}, OmegaAI's is {body['status']} ({found.state})")
            if booking.has_no_time or found.state == "L3":
                continue  # an open wish may stand as the start: no vendor says which of the two times shows meanwhile
            start = datetime.fromisoformat(body["start"])
            self.check(start == booking.start, f"{shows} at {booking.start}, OmegaAI's is at {start}")
            self.check_patient(booking, body)

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

    def check_link(
        self, now: appointment.AppointmentLink, before: appointment.AppointmentLink | None, topics: list[str]
    ) -> None:
        state, memory = str(now.state), self.suite.memory
        self.check(state == self.states.get(now.id), f"{now.placer_number} is in {state}, its history says otherwise")
        self.check(now.step in STEPS_OF_STATE[state], f"{now.placer_number} is {now.step} in {state}")
        self.check(
            now.revision == self.revisions.get(now.id, 0), f"{now.placer_number} has a revision without its event"
        )
        is_news = before is not None and (str(before.state), state) not in {(state, state), ("L0", "L7")}
        if is_news and state in EVENT_OF_STATE and now.revision:
            self.check(EVENT_OF_STATE[state] in topics, f"{now.placer_number} came to {state}, published: {topics}")
        acts = self.omegaai.acts[now.omegaai_id or ""]
        line = System.POWERSERVER, now.id
        told = memory.delivered[line] + len(memory.lines[line])
        self.check(told <= acts, f"PowerServer was told {told} times of {acts} acts of the patient")
        changes = self.powerserver.bookings[now.placer_number].acts + acts
        self.check(now.revision <= changes, f"{now.revision} events of {changes} changes")

    def look_for_an_act_that_is_wiped_out(self, before: dict[str, Any], after: dict[str, Any]) -> None:
        """What the patient did is written over only by somebody who knew of it, or by what makes it void."""
        act = self.omegaai.acted.get(before["id"])
        if act is None or after["status"] in {act[1], "cancelled", "noshow", "arrived", "checked-in", "fulfilled"}:
            return
        ours = next(one for one in self.suite.memory.links.values() if one.placer_number == placer_of(before))
        known = int(ours.omegaai_version or 0)
        self.check(
            known >= act[0], f"{placer_of(before)}: {after['status']} wipes out the patient's {act[1]}, not read yet"
        )

    # ---- helpers

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

    def pick(self, some: list[Any], which: int) -> Any:
        return some[which % len(some)]

    def day(self, number: int) -> Any:
        return both_ends.BEGIN + timedelta(days=5 + number)

    def open_bookings(self) -> list[Booking]:
        return [one for one in self.powerserver.bookings.values() if one.status not in both_ends.CLOSED]

    def with_a_time(self) -> list[Booking]:
        return [one for one in self.open_bookings() if not one.has_no_time]

    def may_arrive(self) -> list[Said]:
        """The wire may turn round what PowerServer made in different seconds; what has one time keeps its order."""
        queue = self.powerserver.queue
        return [
            one
            for place, one in enumerate(queue)
            if not any((other.made, other.patient) == (one.made, one.patient) for other in queue[:place])
        ]

    def unread_tasks(self) -> list[str]:
        under_way = {item.task_id for item in self.read}
        return [one for one in self.omegaai.tasks if one not in under_way]

    def named(self, pending: Pending) -> str:
        delivery = pending.delivery
        if delivery.kind != "appointment.upsert":
            return f"delivery {delivery.kind} to {delivery.destination}"
        snapshot = AppointmentSnapshot.from_bytes(delivery.payload)
        return f"delivery of {snapshot.placer_number} {snapshot.status} at {snapshot.start:%d %H:%M}"

    def shown(self, item: TaskItem) -> str:
        assert item.command is not None
        return f"{item.command.placer_number} version {item.command.facts.version} {item.command.facts.status}"


@pytest.fixture(autouse=True)
def same_seed_same_stories(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hypothesis now and then draws a constant from whatever modules are loaded: not here."""
    monkeypatch.setattr(HypothesisProvider, "_maybe_draw_constant", lambda *_, **__: None)


def run_stories(machine: type[BothEnds], *, stories: int, first_seed: int, phases: tuple[Phase, ...]) -> None:
    run_state_machine_as_test(
        seed(first_seed)(machine),
        settings=settings(
            max_examples=stories, stateful_step_count=STEPS_PER_STORY, deadline=None, database=None, phases=phases,
            suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip


@pytest.mark.timeout(600)
def test_both_ends_are_equal_whenever_everything_came_through() -> None:
    BothEnds.steps, number = 0, SEED
    while BothEnds.steps < STEPS:
        print(f"MODEL_SEED={number}, {BothEnds.steps} steps so far")
        run_stories(BothEnds, stories=100, first_seed=number, phases=PHASES)
        number += 1
    print(f"{BothEnds.steps} steps")
    assert BothEnds.steps >= STEPS


def writes_over_the_patient(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(sender, "status_to_write", lambda ours, _, changed_there: ours)


def keeps_a_cancellation_to_itself(patch: pytest.MonkeyPatch) -> None:
    moves = dict(link.TRANSITIONS[State.CONFIRMED])
    moves[Trigger.PATIENT_CANCELLED] = Move(State.CANCELLED, link.Announcement.CANCELLED, None)
    patch.setitem(link.TRANSITIONS, State.CONFIRMED, moves)  # type: ignore[arg-type]


def takes_what_is_old_for_news(patch: pytest.MonkeyPatch) -> None:
    hear = appointment.AppointmentLink.hear_powerserver

    def hear_all(self: appointment.AppointmentLink, *values: Any, **more: Any) -> Any:
        return hear(replace(self, powerserver_heard_at=None), *values, **more)

    patch.setattr(appointment.AppointmentLink, "hear_powerserver", hear_all)


def brings_a_completed_exam_back(patch: pytest.MonkeyPatch) -> None:
    moves = {**link.TRANSITIONS[State.DONE], Trigger.STAFF_UPDATED: Move(State.STAFF_BOOKED, None, System.OMEGAAI)}
    patch.setitem(link.TRANSITIONS, State.DONE, moves)  # type: ignore[arg-type]


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("breaks", "seen_as"),
    [
        (writes_over_the_patient, "wipes out the patient's"),
        (keeps_a_cancellation_to_itself, "OmegaAI's is cancelled"),
        (takes_what_is_old_for_news, "OmegaAI"),
        (brings_a_completed_exam_back, "illegal: L6 to L1"),
    ],
)
def test_what_is_broken_is_seen(breaks: Callable[[Any], None], seen_as: str, monkeypatch: pytest.MonkeyPatch) -> None:
    breaks(monkeypatch)
    with pytest.raises(AssertionError, match=seen_as) as seen:
        run_stories(BothEnds, stories=300, first_seed=1, phases=(Phase.generate,))
    assert "what happened:" in str(seen.value)
    assert "the suite's history:" in str(seen.value)
