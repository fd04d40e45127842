"""The machine of R8: stories of staff and a patient who act at once, over wires that repeat, delay, reorder and lose.

After every step what must never be is looked for; when everything has come through, both ends must show the same, or
an open item must say where not (``both_ends_checks``).
"""

from datetime import timedelta
from typing import Any

import both_ends_partners as both_ends
from both_ends import Pending, Sending, Suite
from both_ends_checks import SERVICES, Watch, placer_of
from both_ends_partners import Booking, Clock, OmegaAI, PowerServer, Said
from both_ends_requests import Requests, acts, any_one
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition
from sync_samples import PID, orm

from scheduler_sync.adapters.omegaai.tasks import TaskItem
from scheduler_sync.snapshots import AppointmentSnapshot

STEPS_TO_REST = 20
MOST_BOOKINGS, MOST_STANDING, MOST_ROUNDS = 3, 2, 30

BUTTONS = {
    "pending": ["booked", "booked", "proposed", "cancelled"], "booked": ["proposed", "cancelled"],
    "proposed": ["cancelled"],
}  # fmt: skip
"""What Blume offers on a card of each status; confirming is what patients mostly do."""
STATUSES = [
    both_ends.SCHEDULED, both_ends.CONFIRMED, both_ends.ARRIVED, both_ends.READY, both_ends.COMPLETED,
    both_ends.CANCELLED, both_ends.NO_SHOW, both_ends.ORDERED,
]  # fmt: skip

several = st.integers(0, 4 * 12**4 - 1).map(lambda drawn: [drawn // 12**place % 12 for place in range(1 + drawn % 4)])
"""One to four numbers out of one that is drawn: a list costs ten times as much."""
NUMBERS = st.integers(0, 2)
FATES = st.sampled_from(["done"] * 6 + ["killed", "never arrived", "no answer", "not now", "refused"])


class BothEnds(Requests, Watch, RuleBasedStateMachine):
    """One story of up to three appointments of two patients."""

    steps = 0

    @initialize(
        profile=st.sampled_from(["siu", "orm", "both"]),
        skew=st.sampled_from([0, -90, 90]),
        shown=NUMBERS,
        terse=st.booleans(),
    )
    def begin(self, profile: str, skew: int, shown: int, *, terse: bool) -> None:
        """``shown``: that many appointments are in Blume when the story begins."""
        self.clock = Clock()
        self.omegaai = OmegaAI()
        self.powerserver = PowerServer(self.clock, profile=profile, skew_seconds=skew, is_terse=terse)
        self.suite = Suite(self.clock, self.powerserver, self.omegaai)
        self.omegaai.before_write = self.look_for_an_act_that_is_wiped_out
        self.powerserver.before_write = self.look_for_staffs_act_that_is_set_back
        self.read: list[TaskItem] = []
        self.standing: list[Sending] = []
        self.steps_since_rest = self.poisons = 0
        self.tell(f"PowerServer sends {profile}, its clock is {skew} s off{', it is terse' if terse else ''}")
        for number in range(shown):
            self.tell(f"staff book {self.powerserver.book('4711', self.day(number)).placer}")
        self.settle()

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

    @acts(which=any_one, status=st.sampled_from([both_ends.ARRIVED, both_ends.CONFIRMED, both_ends.SCHEDULED]))
    @precondition(lambda self: self.our_words_that_wait())
    def staff_act_and_are_heard_while_our_word_waits(self, which: int, status: int) -> None:
        booking = self.pick(self.our_words_that_wait(), which)
        self.clock.pass_by(1)
        self.tell(f"staff set {booking.placer} to {both_ends.NAMES[status]}, while our word on it waits")
        self.powerserver.set_status(booking, status)
        self.everything_said_arrives()

    @acts(which=any_one, day=any_one, pause=st.integers(0, 3))
    @precondition(lambda self: self.with_a_time())
    def staff_move(self, which: int, day: int, pause: int) -> None:
        """Every second move may lead to another resource."""
        self.clock.pass_by(pause)
        resource = self.pick(list(SERVICES), day) if pause % 2 else None
        booking = self.pick(self.with_a_time(), which)
        self.tell(f"staff move {booking.placer}{f' to {resource}' if resource else ''}")
        self.powerserver.move(booking, self.day(day), resource)

    @acts(which=any_one, number=any_one)
    @precondition(lambda self: self.powerserver.bookings)
    def staff_change_email(self, which: int, number: int) -> None:
        self.clock.pass_by(1)
        booking = self.pick(list(self.powerserver.bookings.values()), which)
        self.tell(f"staff change the e-mail address of {booking.patient}")
        self.powerserver.change_email(booking, f"patient{number % 3}@example.org")

    # ---- the patient, and OmegaAI's people

    @acts(which=any_one, act=any_one, day=any_one)
    @precondition(lambda self: self.with_buttons())
    def patient_act(self, which: int, act: int, day: int) -> None:
        body = self.pick(self.with_buttons(), which)
        self.do_act(body["id"], self.pick(BUTTONS[body["status"]], act), day)

    def do_act(self, identifier: str, act: str, day: int) -> None:
        """What Blume lets a patient do, with the card as it is now."""
        body = self.omegaai.resources["Appointment", identifier]
        self.tell(f"the patient sets {placer_of(body)} from {body['status']} to {act}")
        if act not in BUTTONS.get(body["status"], ()):
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
    @precondition(lambda self: self.cards())
    def omegaais_people_move_it(self, which: int, day: int) -> None:
        """When nothing else is on its way: a new version that shows ``booked`` could as well be a patient's act."""
        body = self.pick(self.cards(), which)
        self.tell(f"somebody moves {placer_of(body)} in OmegaAI")
        if body["status"] == "proposed" or self.is_anything_on_its_way():
            return self.tell("  which is left for a quieter moment")
        start = self.day(day)
        self.omegaai.staff_edit(body, start=start.isoformat(), end=(start + timedelta(minutes=30)).isoformat())
        (task_id,) = self.omegaai.tasks
        return self.apply([self.suite.read_task(task_id)])

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

    @acts(which=several, poisons=st.sampled_from([None, None, 0, 1]))
    @precondition(lambda self: len(self.powerserver.queue) > 1)
    def messages_arrive_in_one_batch(self, which: list[int], poisons: int | None) -> None:
        """Each over a connection of its own, so they wait for one commit; one may be such as the site must set up."""
        batch = []
        for one in which:
            if may_arrive := self.may_arrive():
                batch.append(self.pick(may_arrive, one))
                self.powerserver.queue.remove(batch[-1])
        self.powerserver.answered += batch
        raw = [one.raw for one in batch]
        self.tell(f"in one batch arrive {', '.join(one.text for one in batch)}")
        if poisons is not None:
            raw.insert(poisons, self.poison(batch[0].patient))
        errors = self.suite.hear(*raw)
        refused = [place for place, error in enumerate(errors) if error is not None]
        self.check(refused == ([] if poisons is None else [poisons]), f"refused are {refused} of {errors}")

    def poison(self, patient: str) -> bytes:
        """An order of a new appointment without its resource; what it says of its patient has no effect either."""
        pid = PID.replace("4711", patient).replace("jane.roe@", "poison@")
        made = self.clock.now.strftime("%Y%m%d%H%M%S+0000")
        self.poisons += 1
        number = f"X{self.poisons}"
        return orm(control_id=number, placer=number, made=made, resource="", pid=pid)

    @acts(which=any_one)
    @precondition(lambda self: self.powerserver.answered)
    def message_arrives_again(self, which: int) -> None:
        said = self.pick(self.powerserver.answered, which)
        self.tell(f"{said.text} arrives once more")
        self.suite.hear(said.raw)

    @acts(which=several, fate=FATES)
    @precondition(lambda self: self.suite.heads())
    def deliveries_go(self, which: list[int], fate: str) -> None:
        """The last of them to its fate. Another worker may have one: that stood still for longer than its lease."""
        for number, one in enumerate(which, 1):
            if heads := self.suite.heads():
                self.goes(self.pick(heads, one), fate if number == len(which) else "done")

    def goes(self, pending: Pending, fate: str) -> None:
        self.tell(f"{self.named(pending)} goes: {fate}")
        self.suite.send(pending, fate=fate)

    @acts(which=any_one, fate=FATES)
    @precondition(lambda self: self.suite.heads() and len(self.standing) < MOST_STANDING)
    def worker_stands_still_in_mid_send(self, which: int, fate: str) -> None:
        pending = self.pick(self.suite.heads(), which)
        self.tell(f"{self.named(pending)} goes: {fate}, but its worker stands still")
        sending = self.suite.send(pending, fate=fate, stalls=True)
        if sending is not None:
            self.standing.append(sending)

    @acts(which=any_one)
    @precondition(lambda self: self.standing)
    def worker_goes_on(self, which: int) -> None:
        self.lets_go_on(self.pick(self.standing, which))

    def lets_go_on(self, sending: Sending) -> None:
        self.tell(f"the worker with {self.named(sending.pending)} goes on")
        self.standing.remove(sending)
        self.asked_long_ago = True
        self.suite.go_on(sending)
        self.asked_long_ago = False

    @acts(which=any_one)
    @precondition(lambda self: self.suite.memory.dead)
    def operator_sends_again(self, which: int) -> None:
        pending = self.pick(self.suite.memory.dead, which)
        self.tell(f"an operator sends {self.named(pending)} again")
        self.suite.operator_sends_again(pending)

    @acts(which=any_one, fate=FATES, act=st.sampled_from(["booked", "proposed", "cancelled"]), day=any_one)
    @precondition(lambda self: self.suite.heads() and self.with_buttons())
    def patient_acts_between_our_reading_and_writing(self, which: int, fate: str, act: str, day: int) -> None:
        pending = self.pick(self.suite.heads(), which)
        self.tell(f"{self.named(pending)} goes: {fate}; before it writes, the patient sets {act}")
        self.omegaai.before_update = lambda identifier: self.do_act(identifier, act, day)
        self.suite.send(pending, fate=fate)
        self.omegaai.before_update = None

    @acts(which=several, is_applied=st.booleans())
    @precondition(lambda self: self.unread_tasks())
    def tasks_are_read(self, which: list[int], *, is_applied: bool) -> None:
        for one in which:
            if unread := self.unread_tasks():
                self.read.append(item := self.suite.read_task(self.pick(unread, one)))
                self.tell(f"Task {item.task_id} is read: {self.shown(item)}")
        if is_applied:
            batch, self.read = self.read, []
            self.apply(batch)

    @acts(which=several, is_completed=st.sampled_from([True, True, False]))
    @precondition(lambda self: self.read)
    def tasks_are_applied(self, which: list[int], *, is_completed: bool) -> None:
        batch = []
        for one in which:
            if self.read:
                batch.append(self.pick(self.read, one))
                self.read.remove(batch[-1])
        self.apply(batch, is_completed=is_completed)

    def apply(self, batch: list[TaskItem], *, is_completed: bool = True) -> None:
        for item in batch:
            how = "" if is_completed else " and not completed"
            self.tell(f"  Task {item.task_id} is processed{how}: {self.shown(item)}")
        if not batch:
            return
        for item, is_through in zip(batch, self.suite.apply_tasks(batch), strict=True):
            if is_through and is_completed:
                self.omegaai.tasks.pop(item.task_id, None)

    # ---- rest

    @acts(operator_acts=st.booleans())
    @precondition(lambda self: self.steps_since_rest >= STEPS_TO_REST)
    def everything_comes_through(self, *, operator_acts: bool) -> None:
        self.tell("everything comes through")
        self.settle()
        if operator_acts:
            self.operator_settles_what_is_dead()

    def teardown(self) -> None:
        if hasattr(self, "suite") and not self.has_failed:
            self.tell("at the end everything comes through")
            self.settle()
            self.operator_settles_what_is_dead()
            self.check_what_is_new()

    def operator_settles_what_is_dead(self) -> None:
        for pending in list(self.suite.memory.dead):
            self.tell(f"an operator sends {self.named(pending)} again")
            self.suite.operator_sends_again(pending)
        self.settle()
        for pending in list(self.suite.memory.dead):
            self.tell(f"an operator drops {self.named(pending)}")
            self.suite.operator_drops(pending)
        self.check_that_both_ends_are_equal()

    def settle(self) -> None:
        for _ in range(MOST_ROUNDS):
            if not self.is_anything_on_its_way():
                break
            self.clock.pass_by(1)
            self.everything_said_arrives()
            for line in list(self.suite.memory.lines.values()):
                while line:
                    pending, left = line[0], len(line)
                    self.tell(f"  {self.named(pending)} goes")
                    self.suite.send(pending)
                    if len(line) == left:
                        break
            while self.standing:
                self.lets_go_on(self.standing[0])
            self.apply([*self.read, *map(self.suite.read_task, self.unread_tasks())])
            self.read.clear()
        else:
            self.fail(f"no rest after {MOST_ROUNDS} rounds")
        self.steps_since_rest = 0
        self.check_that_both_ends_are_equal()

    def everything_said_arrives(self) -> None:
        batch, self.powerserver.queue = self.powerserver.queue, []
        self.tell(f"  in one batch arrive {', '.join(one.text for one in batch)}")
        self.suite.hear(*(one.raw for one in batch))
        self.powerserver.answered += batch

    def is_anything_on_its_way(self) -> bool:
        return bool(self.powerserver.queue or self.read or self.standing or self.omegaai.tasks or self.suite.heads())

    # ---- helpers

    def pick(self, some: list[Any], which: int) -> Any:
        return some[which % len(some)]

    def day(self, number: int) -> Any:
        return both_ends.BEGIN + timedelta(days=5 + number)

    def open_bookings(self) -> list[Booking]:
        return [one for one in self.powerserver.bookings.values() if one.status not in both_ends.CLOSED]

    def our_words_that_wait(self) -> list[Booking]:
        waiting = [line[0] for line in self.suite.memory.lines.values() if line]
        links = [self.suite.memory.links[one.delivery.key] for one in waiting if one.delivery.destination != "omegaai"]
        placers = [link.placer_number for link in links if link.placer_number in self.powerserver.bookings]
        bookings = [self.powerserver.bookings[placer] for placer in placers]
        return [one for one in bookings if one.status not in both_ends.CLOSED]

    def with_a_time(self) -> list[Booking]:
        return [one for one in self.open_bookings() if not one.has_no_time]

    def with_buttons(self) -> list[dict[str, Any]]:
        return [body for body in self.cards() if body["status"] in BUTTONS]

    def may_arrive(self) -> list[Said]:
        """The wire may turn round what PowerServer made in different seconds; what has one time keeps its order.

        An ORM that cancels an unknown order is refused, and comes again: here it comes once the order is known.
        """
        queue = self.powerserver.queue
        return [
            one
            for place, one in enumerate(queue)
            if not any((other.made, other.patient) == (one.made, one.patient) for other in queue[:place])
            and not self.cancels_an_unknown_order(one)
        ]

    def cancels_an_unknown_order(self, said: Said) -> bool:
        kind, code, placer, *_ = said.text.split()
        known = {one.placer_number for one in self.suite.memory.links.values()}
        return (kind, code) == ("ORM", "CA") and placer not in known

    def unread_tasks(self) -> list[str]:
        under_way = {item.task_id for item in self.read}
        return [one for one in self.omegaai.tasks if one not in under_way]

    def named(self, pending: Pending) -> str:
        delivery = pending.delivery
        if delivery.kind != "appointment.upsert":
            of = self.suite.memory.links.get(delivery.key)
            placer = "" if of is None else f" of {of.placer_number}"
            return f"delivery {delivery.kind}{placer} to {delivery.destination}"
        snapshot = AppointmentSnapshot.from_bytes(delivery.payload)
        return f"delivery of {snapshot.placer_number} {snapshot.status} at {snapshot.start:%d %H:%M}"

    def shown(self, item: TaskItem) -> str:
        assert item.command is not None
        return f"{item.command.placer_number} version {item.command.facts.version} {item.command.facts.status}"
