"""Settings: imaging facilities with resources and locations, study types, statuses, priorities, physicians."""

from pathlib import Path
from typing import Final

from powerserver_sim.context import Services
from powerserver_sim.settings.pages import ROUTES
from powerserver_sim.settings.seed import prepare
from simulator_kit.feature import Feature

FEATURE: Final = Feature[Services](Path(__file__).parent, routes=lambda _: ROUTES, prepare=prepare)
