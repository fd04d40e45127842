"""Requests: what patients ask for in Blume, as PowerServer keeps it until staff answer."""

from pathlib import Path
from typing import Final

from powerserver_sim.context import Services
from powerserver_sim.requests import answering, pages
from simulator_kit.feature import Feature

FEATURE: Final = Feature[Services](
    Path(__file__).parent, routes=lambda _: pages.ROUTES, hooks={"order": answering.order_changed}
)
