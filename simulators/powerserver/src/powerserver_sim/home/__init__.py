"""The home page: today's figures and open tasks."""

from pathlib import Path
from typing import Final

from powerserver_sim.context import Services
from powerserver_sim.home.pages import ROUTES
from simulator_kit.feature import Feature

FEATURE: Final = Feature[Services](Path(__file__).parent, routes=lambda _: ROUTES)
