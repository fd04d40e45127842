"""The web portal before PowerReader: its app tile, the app launcher, and the launch by an address."""

from pathlib import Path
from typing import Final

from powerserver_sim.context import Services
from powerserver_sim.launcher import pages, url_launch
from simulator_kit.feature import Feature

FEATURE: Final = Feature[Services](Path(__file__).parent, routes=lambda _: [*pages.ROUTES, *url_launch.ROUTES])
