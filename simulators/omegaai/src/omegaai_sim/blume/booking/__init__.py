"""Book New Appointment: the patient asks a facility for a time."""

from pathlib import Path
from typing import Final

from omegaai_sim.blume.booking.pages import Booking
from omegaai_sim.context import Services
from simulator_kit.feature import Feature

FEATURE: Final = Feature[Services](Path(__file__).parent, routes=lambda services: Booking(services).routes())
