"""Patients: list, record, and Add New Patient."""

from pathlib import Path
from typing import Final

from powerserver_sim.context import Services
from powerserver_sim.patients.pages import ROUTES
from powerserver_sim.patients.seed import prepare
from simulator_kit.feature import Feature

FEATURE: Final = Feature[Services](Path(__file__).parent, routes=lambda _: ROUTES, prepare=prepare)
