"""Onboarding: an account for each patient's e-mail, the login, and the state of the invitation."""

from pathlib import Path
from typing import Final

from omegaai_sim.blume.onboarding.accounts import patient_changed
from omegaai_sim.blume.onboarding.session import Portal
from omegaai_sim.context import Services
from simulator_kit.feature import Feature

FEATURE: Final = Feature[Services](
    Path(__file__).parent, routes=lambda services: Portal(services).routes(), hooks={"Patient": patient_changed}
)
