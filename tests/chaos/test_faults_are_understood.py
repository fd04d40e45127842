"""Chaos uses only faults that the simulators know: an unknown fault would be refused, and the run would test less."""

import pytest

import mailsink.smtp
import omegaai_sim.fhir
import powerserver_sim.hl7
from simulator_kit.misbehaviour import Misbehaviour
from tests.chaos.faults import MISBEHAVIOUR

TARGETS = {
    "powerserver": powerserver_sim.hl7.TARGETS,
    "omegaai": omegaai_sim.fhir.TARGETS,
    "mailsink": [mailsink.smtp.TARGET],
}


@pytest.mark.parametrize(("simulator", "order"), MISBEHAVIOUR, ids=lambda value: str(value).replace(" ", ""))
def test_a_simulator_understands_what_chaos_orders(simulator, order):
    assert Misbehaviour(TARGETS[simulator]).add(order)["mode"] == order["mode"]
