"""The site's organisations and its assigning authorities. They come with the store and are read-only."""

from pathlib import Path
from typing import Final

from omegaai_sim.context import Services
from omegaai_sim.organizations.seed import prepare
from simulator_kit.feature import Feature

FEATURE: Final = Feature[Services](Path(__file__).parent, prepare=prepare)
