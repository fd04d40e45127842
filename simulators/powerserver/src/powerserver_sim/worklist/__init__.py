"""The worklist: orders and their studies; an order without a time stands in its ORDERED group."""

from pathlib import Path
from typing import Final

from powerserver_sim.context import Services
from powerserver_sim.worklist.seed import prepare
from simulator_kit.feature import Feature

FEATURE: Final = Feature[Services](Path(__file__).parent, prepare=prepare)
