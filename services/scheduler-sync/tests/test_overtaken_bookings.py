"""The end of an appointment may arrive before its booking: it is kept, and the booking changes nothing."""

from datetime import timedelta

import pytest
from both_ends import Suite
from both_ends_partners import BEGIN, CANCELLED, NO_SHOW, Clock, OmegaAI, PowerServer


@pytest.mark.parametrize("status", [CANCELLED, NO_SHOW])
@pytest.mark.parametrize("profile", ["siu", "orm"])
def test_the_end_of_an_unknown_appointment_is_kept_for_the_booking_that_it_overtook(profile: str, status: int) -> None:
    clock, omegaai = Clock(), OmegaAI()
    powerserver = PowerServer(clock, profile=profile, skew_seconds=0)
    suite = Suite(clock, powerserver, omegaai)
    booking = powerserver.book("4711", BEGIN + timedelta(days=6))
    clock.pass_by(1)
    powerserver.set_status(booking, status)
    booked, ended = powerserver.queue
    assert suite.hear(ended.raw) == [None], "the message lacks nothing that its effect needs"
    assert suite.hear(booked.raw) == [None]
    (link,) = suite.memory.links.values()
    assert (link.state, suite.memory.events[1:]) == ("cancelled", [])
    assert [one.delivery.kind for one in suite.heads()] == ["patient.upsert"]


@pytest.mark.parametrize("status", [CANCELLED, NO_SHOW])
@pytest.mark.parametrize("profile", ["siu", "orm"])
def test_an_end_that_overtakes_a_move_to_another_resource_shows_the_last_resource(profile: str, status: int) -> None:
    clock, omegaai = Clock(), OmegaAI()
    powerserver = PowerServer(clock, profile=profile, skew_seconds=0)
    suite = Suite(clock, powerserver, omegaai)
    booking = powerserver.book("4711", BEGIN + timedelta(days=6))
    clock.pass_by(1)
    powerserver.move(booking, BEGIN + timedelta(days=7), "BLUME MR")
    clock.pass_by(1)
    powerserver.set_status(booking, status)
    booked, moved, ended = powerserver.queue
    for one in (booked, ended, moved):
        assert suite.hear(one.raw) == [None]
    while heads := suite.heads():
        suite.send(heads[0])
    (card,) = omegaai.all("Appointment")
    assert card["participant"][1]["actor"]["reference"] == "HealthcareService/hs-2"
    assert card["start"][:10] == f"{BEGIN + timedelta(days=7):%Y-%m-%d}"
