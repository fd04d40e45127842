"""Shared by the features: the running parts, built once in `app.py`, and the templates."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from simulator_kit import web
from simulator_kit.live import Live
from simulator_kit.misbehaviour import Misbehaviour
from simulator_kit.store import Store

PACKAGE: Final = Path(__file__).parent
templates: Final = web.templates(PACKAGE)


@dataclass(frozen=True)
class Services:
    """One sink's parts."""

    store: Store
    misbehaviour: Misbehaviour
    live: Live
