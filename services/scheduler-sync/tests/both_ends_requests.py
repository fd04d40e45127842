"""Rules of R8's machine: what patients ask for in Blume, staff's answers, and deletions in OmegaAI."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import both_ends_partners as both_ends
from both_ends_checks import Watch, placer_of
from both_ends_partners import Booking
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

MOST_ASKED_FOR = 2
any_one = st.integers(0, 11)


def acts(**drawn: st.SearchStrategy[Any]) -> Callable[[Callable[..., None]], Any]:
    """A rule, after which what must never be is looked for."""

    def step(act: Callable[..., None]) -> Any:
        @wraps(act)
        def acted(self: Any, **values: Any) -> None:
            type(self).steps += 1
            self.steps_since_rest += 1
            act(self, **values)
            self.check_what_is_new()

        return rule(**drawn)(acted)

    return step


class Requests(Watch):
    """The part of a story that begins in Blume."""

    steps: int
    steps_since_rest: int
    clock: Any
    pick: Callable[[list[Any], int], Any]
    day: Callable[[int], Any]
    open_bookings: Callable[[], list[Booking]]

    @acts(which=any_one, day=any_one, service=st.sampled_from(["hs-1"] * 5 + ["hs-9"]))
    @precondition(lambda self: len(self.asked_for) < MOST_ASKED_FOR and self.omegaai.all("Patient"))
    def patient_asks_for_an_appointment(self, which: int, day: int, service: str) -> None:
        """``hs-9`` is another organisation's: nobody here is asked."""
        patient = self.pick(self.omegaai.all("Patient"), which)["id"]
        body = self.omegaai.patient_asks(self.day(day), patient, service)
        self.tell(f"{patient} asks for an appointment on {service}, {body['id']}")
        if service == "hs-1":
            self.asked_for.append(body["id"])

    @acts(which=any_one)
    @precondition(lambda self: self.asked_for)
    def patient_gives_a_request_up(self, which: int) -> None:
        body = self.omegaai.resources["Appointment", self.pick(self.asked_for, which)]
        self.tell(f"the patient gives {body['id']} up, which is {body['status']}")
        if body["status"] == "proposed":
            self.omegaai.patient_sets(body, "cancelled", cancelationReason={"text": "no longer needed"})

    @acts(which=any_one, answer=st.sampled_from(["accept", "accept", "decline", "another time"]), day=any_one)
    @precondition(lambda self: self.with_a_wish())
    def staff_answer_a_wish(self, which: int, answer: str, day: int) -> None:
        self.clock.pass_by(1)
        booking = self.pick(self.with_a_wish(), which)
        self.tell(f"staff answer the wish of {booking.placer}: {answer}")
        if answer != "decline":
            self.powerserver.move(booking, booking.wanted if answer == "accept" else self.day(day))
        self.powerserver.set_status(booking, both_ends.CONFIRMED)

    @acts(which=any_one)
    @precondition(lambda self: self.deletable())
    def omegaais_people_delete_it(self, which: int) -> None:
        body = self.pick(self.deletable(), which)
        self.tell(f"somebody deletes {placer_of(body)} in OmegaAI")
        self.omegaai.acts[body["id"]] += 1
        self.omegaai.staff_edit(body, status="entered-in-error")

    def with_a_wish(self) -> list[Booking]:
        return [one for one in self.open_bookings() if one.wanted is not None and not one.has_no_time]

    def deletable(self) -> list[dict[str, Any]]:
        return [body for body in self.cards() if body["status"] in {"pending", "booked"}]
