"""Book New Appointment: the patient asks a facility for a time."""

from pathlib import Path
from typing import Final

from omegaai_sim.blume.booking.pages import Booking
from omegaai_sim.blume.portal import tell_everybody
from omegaai_sim.blume.scheduling import switch
from omegaai_sim.context import Services
from simulator_kit.feature import Feature

FEATURE: Final = Feature[Services](
    Path(__file__).parent,
    routes=lambda services: [*Booking(services).routes(), switch.route(services)],
    hooks=dict.fromkeys(("Organization", "HealthcareService", "StudyType"), tell_everybody),
)
