"""The lists of studies: the worklist, grouped by status, and the waiting room of the day."""

from pathlib import Path
from typing import Final

from powerserver_sim.context import Services
from powerserver_sim.studies.pages import ROUTES
from simulator_kit.feature import Feature

FEATURE: Final = Feature[Services](Path(__file__).parent, routes=lambda _: ROUTES)
