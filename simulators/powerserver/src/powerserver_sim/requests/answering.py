"""Staff's answers to a request: any status but SCHEDULED ends it. Each function is one write."""

from datetime import UTC
from typing import Final, Literal

from powerserver_sim.accounts import User
from powerserver_sim.rules import SCHEDULED, Refused
from powerserver_sim.scheduler import appointments
from powerserver_sim.worklist import orders
from powerserver_sim.worklist.open_requests import open_request
from powerserver_sim.worklist.orders import OrderChange
from simulator_kit.store import Work

Answer = Literal["accept", "decline"]
ANSWERS: Final = ("accept", "decline")


def answer(work: Work, user: User, number: int, given: str, reason: str = "") -> None:
    """`accept`: the wanted time, or the asked one, is confirmed.

    `decline`: a wish for another time ends with the old time confirmed, a request for an appointment is cancelled.
    """
    user.require_scheduling()
    request = open_request(work, number)
    if request is None:
        raise Refused("status", "No request of a patient waits here.")
    if given not in ANSWERS:
        raise Refused("invalid", "A request is accepted or declined.", field="answer")
    if given == "accept" and request["start"] is not None:
        appointments.move(work, user, number, resource=request["resource"], start=request["start"].astimezone(UTC))
    is_off = given == "decline" and request["kind"] == "new"
    appointments.act(work, user, number, "cancelled-with-notice" if is_off else "confirmed", reason=reason)


def order_changed(work: Work, change: OrderChange) -> None:
    """The hook of orders: a request ends with the first other status than SCHEDULED."""
    order = orders.load(work, change.number)
    if order["status"] == SCHEDULED:
        return
    closed = work.run('UPDATE request SET is_open = 0 WHERE "order" = ? AND is_open', change.number).rowcount
    if closed:
        placer = orders.placer_of(work, change.number)
        work.record("effect", "request.closed", placer, {"status": order["status_name"]})
