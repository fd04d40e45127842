"""A write of ours that left an act standing in OmegaAI is not a second act, also before its answer is known."""

from datetime import timedelta

import pytest
from both_ends_partners import BEGIN, CANCELLED, CONFIRMED, SCHEDULED
from test_deliveries_out_of_date import Ends


def told(ends: Ends) -> int:
    """How many messages PowerServer was sent, or is to be sent."""
    of = "powerserver"
    memory = ends.suite.memory
    everything = (*memory.lines.items(), *memory.done.items())
    return sum(len(line) for (destination, _), line in everything if destination == of)


def move_that_waits(ends: Ends) -> None:
    ends.clock.pass_by(1)
    ends.powerserver.move(ends.booking, BEGIN + timedelta(days=9))
    ends.staff_are_heard()


def act(ends: Ends, status: str) -> None:
    """The patient's act, before the waiting move goes."""
    (body,) = ends.omegaai.all("Appointment")
    start = BEGIN + timedelta(days=12)
    wanted = {"start": start.isoformat(), "end": (start + timedelta(minutes=30)).isoformat()}
    more = {"proposed": {"requestedPeriod": [wanted]}, "cancelled": {"cancelationReason": {"text": "ill"}}}
    ends.omegaai.patient_sets(body, status, **more.get(status, {}))
    ends.tasks_are_heard()


def move_goes(ends: Ends, fate: str) -> None:
    (move, *_) = [one for one in ends.suite.heads() if one.delivery.destination == "omegaai"]
    ends.suite.send(move, fate="no answer")
    if fate == "refused":  # another try meets a partner that refuses it
        ends.suite.send(move, fate="killed")
        ends.suite.memory.lines[move.line].remove(move)
        ends.suite.memory.dead.append(move)
    elif fate == "killed":
        ends.suite.send(move, fate="killed")


def staff_answer(ends: Ends, status: str) -> None:
    """What staff make of the act: the suite hears it before the write is settled."""
    ends.deliver("powerserver")
    ends.staff_are_heard()
    ends.clock.pass_by(300)
    if status == "cancelled":
        assert ends.booking.status == CANCELLED
        ends.booking.status = SCHEDULED
        ends.powerserver._announce(ends.booking, "S12", "NW")
    else:
        ends.powerserver.set_status(ends.booking, SCHEDULED if status == "booked" else CONFIRMED)
    ends.staff_are_heard()


@pytest.mark.parametrize("fate", ["no answer", "killed", "refused"])
@pytest.mark.parametrize(("status", "state"), [
    ("booked", "staff-booked"), ("proposed", "confirmed"), ("cancelled", "staff-booked"),
])  # fmt: skip
def test_an_act_that_a_write_left_standing_counts_once(status: str, state: str, fate: str) -> None:
    ends = Ends()
    move_that_waits(ends)
    act(ends, status)
    move_goes(ends, fate)
    staff_answer(ends, status)
    before = told(ends)
    ends.tasks_are_heard()
    (link,) = ends.suite.memory.links.values()
    assert link.state == state, "the write's Task reads like the act once more"
    ends.deliver()
    ends.tasks_are_heard()
    ends.staff_are_heard()
    ends.deliver()
    (link,) = ends.suite.memory.links.values()
    (card,) = ends.omegaai.all("Appointment")
    assert (link.state, card["status"], told(ends)) == (state, link.fhir_status, before)
