"""Shared code of the staff's pages: the login, the frame, lists, and the event stream."""

from pathlib import Path
from typing import Final

from omegaai_sim.context import Services
from omegaai_sim.staff.session import Staff
from simulator_kit.feature import Feature

FEATURE: Final = Feature[Services](Path(__file__).parent, routes=lambda services: Staff(services).routes())
