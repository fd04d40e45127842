"""Which message is due, and the states of a notification."""

from dataclasses import replace
from datetime import timedelta
from itertools import product

import pytest
from notifier_examples import START, TORONTO, appointment, recipient

from notifier.domain import planning
from notifier.domain.appointment import Appointment, FormerPlace
from notifier.domain.notification import MOVES, STATES, IllegalMoveError, Notification, notification_id
from notifier.domain.recipient import Recipient


@pytest.mark.parametrize(
    ("event", "who", "template"),
    [
        ("scheduled", "patient", "please-confirm"),
        ("scheduled", "staff", None),
        ("scheduled", "nobody", None),
        ("requested", "staff", None),
        ("confirmed", "nobody", "confirmed"),
        ("confirmed", "patient", "confirmed"),
        ("cancelled", "nobody", None),
        ("rescheduled", "patient", "moved"),
        ("rescheduled", "nobody", "moved"),
        ("rescheduled", "staff", None),  # the waiting list
        ("progressed", "nobody", None),
    ],
)
def test_what_an_event_asks_for(event: str, who: str, template: str | None) -> None:
    planned = planning.planned(appointment(event=event, who_acts_next=who), recipient())
    assert (planned.template if planned else None) == template


def moved(**changes: object) -> Appointment:
    return appointment(event="rescheduled", **changes)


def test_a_move_to_another_resource_alone_is_not_told() -> None:
    at_the_same_time = moved(former=FormerPlace(START, START + timedelta(minutes=30), TORONTO.name))
    assert planning.planned(at_the_same_time, recipient()) is None


@pytest.mark.parametrize(
    "former",
    [
        FormerPlace(START - timedelta(minutes=5), START + timedelta(minutes=30), TORONTO.name),
        FormerPlace(START, START + timedelta(minutes=15), TORONTO.name),
        FormerPlace(START, START + timedelta(minutes=30), "Southside Imaging"),
    ],
)
def test_a_move_that_the_patient_sees_is_told(former: FormerPlace) -> None:
    planned = planning.planned(moved(former=former), recipient())
    assert planned is not None
    assert planned.template == "moved"


@pytest.mark.parametrize(("who", "template"), [("patient", "please-confirm"), ("nobody", "confirmed"), ("staff", None)])
def test_an_invisible_move_does_not_swallow_what_is_still_to_be_told(who: str, template: str | None) -> None:
    untold, _ = queued()
    unseen = FormerPlace(START, START + timedelta(minutes=30), TORONTO.name)
    planned = planning.planned(moved(who_acts_next=who, former=unseen, revision=2), recipient(), [untold])
    assert (planned.template if planned else None) == template


def test_two_moves_in_a_row_are_told_as_one_from_the_place_that_the_patient_knows() -> None:
    first = moved(revision=2)
    told_first = planning.planned(first, recipient())
    second = replace(
        first,
        revision=3,
        start=START + timedelta(days=1),
        end=START + timedelta(days=1, minutes=30),
        former=FormerPlace(first.start, first.end, TORONTO.name),
    )
    assert told_first is not None
    assert planning.as_the_patient_knows(second, first, [told_first]).former == first.former
    # The first move was told: then the patient knows its time.
    assert planning.as_the_patient_knows(second, first, []).former == second.former
    assert first.former is not None
    back = replace(second, start=first.former.start, end=first.former.end)
    assert planning.as_the_patient_knows(back, first, [told_first]).former == second.former


def test_a_message_waits_for_a_recipient_who_is_not_known_yet() -> None:
    planned = planning.planned(appointment(), None)
    assert planned is not None
    assert planned.state == "awaiting_recipient"
    assert planning.addressed(planned, recipient()).state == "queued"


@pytest.mark.parametrize(
    ("email", "reason"),
    [
        (None, "no e-mail address"),
        ("  ", "no e-mail address"),
        ("jane", "the patient's e-mail address is not valid"),
        ("jane@example", "the patient's e-mail address is not valid"),
        ("jane@example.org\r\nBcc: all@example.org", "the patient's e-mail address is not valid"),
        ("a@example.org, b@example.org", "the patient's e-mail address is not valid"),
        ("<jane@example.org>", "the patient's e-mail address is not valid"),
        ("jane@example..org", "the patient's e-mail address is not valid"),
        ("x" * 65 + "@example.org", "the patient's e-mail address is not valid"),
        ("zoë@example.org", "the patient's e-mail address is not valid"),
    ],
)
def test_without_a_usable_address_the_message_is_undeliverable_and_says_why(email: str | None, reason: str) -> None:
    planned = planning.planned(appointment(), recipient(email=email))
    assert planned is not None
    assert (planned.state, planned.reason) == ("undeliverable", reason)
    assert email is None or email.strip() == "" or email not in reason


@pytest.mark.parametrize(
    ("written", "used"),
    [
        (" jane.roe+scan@example.org ", "jane.roe+scan@example.org"),
        ("jane@bücher.example", "jane@xn--bcher-kva.example"),
    ],
)
def test_an_address_as_a_mail_server_takes_it(written: str, used: str) -> None:
    assert recipient(email=written).mail_address == used


def test_a_facility_without_a_known_zone_makes_the_message_undeliverable() -> None:
    planned = planning.planned(appointment(facility=replace(TORONTO, time_zone="Eastern Standard Time")), recipient())
    assert planned is not None
    assert planned.state == "undeliverable"
    assert "site file" in (planned.reason or "")


@pytest.mark.parametrize(("before", "after"), list(product(STATES, STATES)))
def test_only_the_moves_of_the_table_are_possible(before: str, after: str) -> None:
    made = planning.planned(appointment(), None)
    assert made is not None
    notification = replace(made, state=before)
    if after in MOVES[before]:
        assert notification.move(after).state == after
    else:
        with pytest.raises(IllegalMoveError):
            notification.move(after)


def test_nothing_leaves_sent() -> None:
    assert MOVES["sent"] == frozenset()


def test_the_same_three_make_the_same_notification() -> None:
    one = appointment()
    first, again = planning.planned(one, None), planning.planned(one, None)
    assert first is not None
    assert again is not None
    assert first.notification_id == again.notification_id
    assert first.notification_id == notification_id(one.appointment_id, "please-confirm", 1)
    assert first.notification_id != notification_id(one.appointment_id, "please-confirm", 2)
    assert first.notification_id != notification_id(one.appointment_id, "confirmed", 1)


def queued(of: Recipient | None = None) -> tuple[Notification, object]:
    one = appointment()
    planned = planning.planned(one, of or recipient())
    assert planned is not None
    return planned, one


def test_the_last_look_stops_what_is_not_true_any_more() -> None:
    planned, one = queued()
    before = START - timedelta(days=1)
    assert planning.why_not_now(planned, one, before) is None
    later = {
        "confirmed": "the appointment was confirmed",
        "cancelled": "the appointment was cancelled",
        "requested": "the patient asked for another time",
        "scheduled": "the appointment was scheduled again",
        "rescheduled": "the appointment was moved",
        "progressed": "the patient is there, or the exam is over",
    }
    for event, reason in later.items():
        newer = appointment(event=event, appointment_id=one.appointment_id, revision=2)
        assert planning.why_not_now(planned, newer, before) == reason
    assert planning.why_not_now(planned, one, START + timedelta(minutes=30)) == "the appointment's time is over"
    assert planning.why_not_now(planned, one, START + timedelta(minutes=29)) is None
