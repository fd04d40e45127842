"""Shared by the features: the running parts, built once in `app.py`, and the templates."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from omegaai_sim.settings import Booker, Settings
from simulator_kit import web
from simulator_kit.live import Live
from simulator_kit.misbehaviour import Misbehaviour
from simulator_kit.store import Store

PACKAGE: Final = Path(__file__).parent
templates: Final = web.templates(PACKAGE)


@dataclass
class Services:
    """One simulator's parts. A feature adds to `streams` the functions that end its streams before the server stops."""

    settings: Settings
    store: Store
    misbehaviour: Misbehaviour
    live: Live
    session_key: str = field(repr=False)
    books_by: Booker = "own"
    """What Blume books by now; a switch changes it while it runs."""
    streams: list[Callable[[], None]] = field(default_factory=list)

    def close_streams(self) -> None:
        self.live.close()
        for close in self.streams:
            close()
