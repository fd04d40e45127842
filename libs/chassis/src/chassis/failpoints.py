"""Places at which a test can kill or fail the process: between every commit and send, and every send and mark.

A member declares its points: the chassis here, a service in its ``failpoints.py``. Only a declared point can be hit.
``FAILPOINTS="relay.after-send-before-mark=kill@3"`` kills the process at the third hit. ``raise`` instead of ``kill``
raises ``FailPoint`` (at each hit, unless ``@n`` names one). Production's settings refuse it.
"""

import os
import signal
from collections import Counter
from types import ModuleType
from typing import Final, NewType

Point = NewType("Point", str)
"""The name of a declared place."""

_declared: list[Point] = []


def declare(name: str) -> Point:
    """Raises ``ValueError`` for a name that is declared already."""
    if name in _declared:
        raise ValueError(f"the fail point {name} is declared twice")
    _declared.append(Point(name))
    return Point(name)


def names_in(module: ModuleType) -> tuple[Point, ...]:
    """The points that ``module`` declares."""
    return tuple(name for name in _declared if name in vars(module).values())


BATCH_BEFORE_COMMIT: Final = declare("batch.before-commit")
BATCH_AFTER_COMMIT: Final = declare("batch.after-commit")
CONSUMER_AFTER_COMMIT_BEFORE_OFFSETS: Final = declare("consumer.after-commit-before-offsets")
RELAY_BEFORE_SEND: Final = declare("relay.before-send")
RELAY_AFTER_SEND_BEFORE_MARK: Final = declare("relay.after-send-before-mark")
INBOUND_BEFORE_COMMIT: Final = declare("inbound.before-commit")
INBOUND_AFTER_COMMIT_BEFORE_ACK: Final = declare("inbound.after-commit-before-ack")
DELIVERY_AFTER_CLAIM_BEFORE_SEND: Final = declare("delivery.after-claim-before-send")
DELIVERY_AFTER_SEND_BEFORE_MARK: Final = declare("delivery.after-send-before-mark")
TIMER_AFTER_DUE_BEFORE_CLAIM: Final = declare("timer.after-due-before-claim")
TIMER_AFTER_CLAIM_BEFORE_EFFECT: Final = declare("timer.after-claim-before-effect")
TIMER_AFTER_EFFECT_BEFORE_MARK: Final = declare("timer.after-effect-before-mark")
TIMER_AFTER_COMMIT: Final = declare("timer.after-commit")


class FailPoint(BaseException):
    """A fail point was told to raise here."""


_armed: dict[str, tuple[str, int]] = {}
hits: Counter[str] = Counter()


def arm(specification: str) -> None:
    """Arms the points of ``specification`` (``name=action[@n]``, comma-separated); an empty one disarms all.

    Raises ``ValueError`` naming an unknown point or action.
    """
    _arm(specification)
    check()


def check() -> None:
    """Raises ``ValueError`` when a point is armed that no member declares. The environment is read before they do."""
    for name, (action, _) in _armed.items():
        if name not in _declared:
            raise ValueError(f"FAILPOINTS names {name!r}; known are: {', '.join(_declared)}")
        if action not in {"kill", "raise"}:
            raise ValueError(f"FAILPOINTS asks {action!r} of {name}; known are kill and raise")


def _arm(specification: str) -> None:
    _armed.clear()
    hits.clear()
    for entry in filter(None, (part.strip() for part in specification.split(","))):
        name, _, action = entry.partition("=")
        action, _, nth = action.partition("@")
        _armed[name] = (action, int(nth or 0))


def hit(name: Point) -> None:
    """Passes on, unless this point is armed."""
    if not _armed:
        return
    armed = _armed.get(name)
    if armed is None:
        return
    hits[name] += 1
    action, nth = armed
    if nth and hits[name] != nth:
        return
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    raise FailPoint(name)


_arm(os.environ.get("FAILPOINTS", ""))
