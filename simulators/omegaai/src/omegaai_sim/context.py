"""What the routes share: built once in ``app.py``."""

from dataclasses import dataclass, field

from omegaai_sim.auth import Tokens
from omegaai_sim.feed import Feed
from omegaai_sim.live import Live
from omegaai_sim.misbehave import Misbehaviour
from omegaai_sim.settings import Dialect
from omegaai_sim.store import Store


@dataclass
class DialectSwitch:
    """How resources are written when they are read, switchable while the simulator runs."""

    current: Dialect


@dataclass
class Services:
    """One simulator's parts."""

    store: Store
    tokens: Tokens
    misbehaviour: Misbehaviour
    dialect: DialectSwitch
    live: Live
    feed: Feed
    session_key: str = field(repr=False)
