"""Time as a dependency: domain code and loops ask a clock, so that tests can say what time it is."""

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """Aware, in UTC."""
    return datetime.now(UTC)
