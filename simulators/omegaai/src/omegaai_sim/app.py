"""Builds one simulator and takes it down again; no other module constructs its parts."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from starlette.applications import Starlette

from omegaai_sim import appointments, fhir, logs, organizations, patients, scheduler, services, staff, study_types
from omegaai_sim.blume import appointments as blume_appointments
from omegaai_sim.blume import booking, notifications, onboarding
from omegaai_sim.context import PACKAGE, Services, templates
from omegaai_sim.settings import Settings
from simulator_kit import session, web
from simulator_kit.control import Control
from simulator_kit.feature import Feature, open_store, routes_of
from simulator_kit.live import Live
from simulator_kit.misbehaviour import Misbehaviour

FEATURES: Final[tuple[Feature[Services], ...]] = (
    fhir.FEATURE,
    organizations.FEATURE,
    study_types.FEATURE,
    services.FEATURE,
    staff.FEATURE,
    patients.FEATURE,
    appointments.FEATURE,
    scheduler.FEATURE,
    logs.FEATURE,
    onboarding.FEATURE,
    blume_appointments.FEATURE,
    booking.FEATURE,
    notifications.FEATURE,
)
"""The order in which tables are made, stores filled and hooks run."""


@dataclass(frozen=True, slots=True)
class Simulator:
    """A running simulator."""

    app: Starlette
    services: Services

    def close_streams(self) -> None:
        """End event streams and hub connections, so that the server can stop."""
        self.services.close_streams()


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Simulator]:
    """The store and all parts that use it."""
    store = await open_store(settings.data_dir / "omegaai.sqlite3", FEATURES)
    try:
        parts = Services(
            settings=settings,
            store=store,
            misbehaviour=Misbehaviour(fhir.TARGETS),
            live=Live(store),
            session_key=await store.write(session.key),
            books_by=settings.books_by,
        )
        simulator = Simulator(build(parts), parts)
        yield simulator
        simulator.close_streams()
    finally:
        await store.close()


def build(parts: Services) -> Starlette:
    """The web application."""
    control = Control(parts.store, parts.misbehaviour, templates, frame="staff/base.html", health=fhir.health)
    return Starlette(
        routes=[*control.routes(), *routes_of(FEATURES, parts), web.static(PACKAGE, FEATURES)],
        middleware=web.middleware("omegaai"),
    )
