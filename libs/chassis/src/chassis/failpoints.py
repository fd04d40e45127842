"""Places at which a test may make the process die or fail: between every commit and send, and every send and mark.

``FAILPOINTS="relay.after-send-before-mark=kill@3"`` kills the process the third time that it comes there; ``raise``
instead of ``kill`` raises ``FailPoint`` (each time, unless ``@n`` names one). Settings refuse it in production.
"""

import os
import signal
from collections import Counter
from typing import Literal, get_args

Name = Literal[
    "batch.before-commit",
    "batch.after-commit",
    "consumer.after-commit-before-offsets",
    "relay.before-send",
    "relay.after-send-before-mark",
    "inbound.before-commit",
    "inbound.after-commit-before-ack",
    "delivery.after-claim-before-send",
    "delivery.after-send-before-mark",
    "timer.after-due-before-claim",
    "timer.after-claim-before-effect",
    "timer.after-effect-before-mark",
    "timer.after-commit",
    # Of single services: the gaps of their own.
    "smtp.after-count-before-hand-over",
    "smtp.after-hand-over-before-receipt",
    "smtp.after-refusal-before-note",
    "tasks.after-commit-before-complete",
]
NAMES: tuple[Name, ...] = get_args(Name)


class FailPoint(BaseException):
    """A fail point was told to raise here."""


_armed: dict[str, tuple[str, int]] = {}
hits: Counter[str] = Counter()


def arm(specification: str) -> None:
    """Arms the points of ``specification`` (``name=action[@n]``, comma-separated); an empty one disarms all.

    Raises ``ValueError`` naming an unknown point or action.
    """
    _armed.clear()
    hits.clear()
    for entry in filter(None, (part.strip() for part in specification.split(","))):
        name, _, action = entry.partition("=")
        action, _, nth = action.partition("@")
        if name not in NAMES:
            raise ValueError(f"FAILPOINTS names {name!r}; known are: {', '.join(NAMES)}")
        if action not in {"kill", "raise"}:
            raise ValueError(f"FAILPOINTS asks {action!r} of {name}; known are kill and raise")
        _armed[name] = (action, int(nth or 0))


def hit(name: Name) -> None:
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


arm(os.environ.get("FAILPOINTS", ""))
