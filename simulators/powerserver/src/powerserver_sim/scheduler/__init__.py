"""The scheduler: the calendar, appointments, New Order, and the same as JSON."""

from pathlib import Path
from typing import Final

from powerserver_sim.context import Services
from powerserver_sim.scheduler import api, loaded, order_pages, pages
from simulator_kit.feature import Feature

FEATURE: Final = Feature[Services](
    Path(__file__).parent,
    routes=lambda _: [*api.ROUTES, *order_pages.ROUTES, *pages.ROUTES],
    hooks={"login": loaded.load},
)
