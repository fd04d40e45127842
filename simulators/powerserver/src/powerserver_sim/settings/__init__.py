"""Settings: facilities with resources and locations, users and groups, study types, statuses, priorities."""

from pathlib import Path
from typing import Final

from powerserver_sim.context import Services
from powerserver_sim.settings import pages, resource_pages, user_pages
from powerserver_sim.settings.seed import prepare
from simulator_kit.feature import Feature

FEATURE: Final = Feature[Services](
    Path(__file__).parent,
    routes=lambda _: [*pages.ROUTES, *resource_pages.ROUTES, *user_pages.ROUTES],
    prepare=prepare,
)
