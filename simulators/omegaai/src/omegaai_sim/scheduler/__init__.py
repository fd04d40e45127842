"""The Scheduler: resources of an organisation by day or week, its settings, and orders that wait for a time."""

from pathlib import Path
from typing import Final

from omegaai_sim.context import Services
from omegaai_sim.scheduler.pages import Scheduler
from simulator_kit.feature import Feature

FEATURE: Final = Feature[Services](Path(__file__).parent, routes=lambda services: Scheduler(services).routes())
