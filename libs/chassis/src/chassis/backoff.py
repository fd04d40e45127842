"""How long to wait before trying again: growing, capped, jittered."""

import random


def pause_seconds(attempt: int, *, first_seconds: float = 0.5, longest_seconds: float = 60.0) -> float:
    """The pause after failure number ``attempt`` (1, 2, …): doubling, capped, between half and all of it at random."""
    whole = min(longest_seconds, first_seconds * 2.0 ** min(attempt - 1, 30))
    return whole * (0.5 + random.random() / 2)  # noqa: S311 (jitter, not a secret)


def server_pause_seconds(attempt: int) -> float:
    """The pause while Kafka or Postgres is away: its return is noticed within a second; a try costs a connection."""
    return pause_seconds(attempt, first_seconds=0.2, longest_seconds=1)
