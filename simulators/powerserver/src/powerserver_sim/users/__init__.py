"""Users: login, rights, and the guards of all other pages."""

from pathlib import Path
from typing import Final

from powerserver_sim.accounts import prepare
from powerserver_sim.context import Services
from powerserver_sim.users.pages import ROUTES
from simulator_kit.feature import Feature

FEATURE: Final = Feature[Services](Path(__file__).parent, routes=lambda _: ROUTES, prepare=prepare)
