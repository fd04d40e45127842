"""The patient's appointments: cards to confirm or cancel, and the same as JSON."""

from pathlib import Path
from typing import Final

from omegaai_sim.blume.appointments.pages import Appointments
from omegaai_sim.context import Services
from simulator_kit.feature import Feature

FEATURE: Final = Feature[Services](Path(__file__).parent, routes=lambda services: Appointments(services).routes())
