"""A due timer, and the handlers of a service's kinds."""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Generic, Protocol, TypeVar
from uuid import UUID, uuid5

from chassis.store import Transaction

SPACE: Final = UUID("b1c3a7c6-3f0e-5c55-9a3b-6a1f0d5c2e21")
W = TypeVar("W")
W_contra = TypeVar("W_contra", contravariant=True)
Identity = tuple[str, UUID, str]


@dataclass(frozen=True, slots=True)
class Timer:
    """A due timer. ``attempt`` counts from 1."""

    kind: str
    key: UUID
    name: str
    revision: int
    due_at: datetime
    payload: Mapping[str, Any]
    attempt: int
    traceparent: str | None

    @classmethod
    def of_row(cls, row: Any) -> "Timer":
        return cls(
            row["kind"], row["key"], row["name"], row["revision"], row["due_at"], json.loads(row["payload"]),
            row["attempts"] + 1, row["traceparent"],
        )  # fmt: skip

    @property
    def identity(self) -> Identity:
        return self.kind, self.key, self.name

    @property
    def effect_id(self) -> UUID:
        """An id for a message: the same at each try, and after the store was set back."""
        return uuid5(SPACE, f"{self.kind} {self.key} {self.name} {self.revision}")

    @property
    def idempotency_key(self) -> str:
        """``effect_id`` as text: for a delivery."""
        return self.effect_id.hex


class Handler(Protocol[W_contra]):
    """``async def verb(timer, *, work)``: changes state and stages effects. Raises ``Transient`` or ``Permanent``."""

    def __call__(self, timer: Timer, /, *, work: W_contra) -> Awaitable[None]: ...


@dataclass(frozen=True, slots=True)
class TimerHandlers(Generic[W]):
    """A service's timers: ``handlers`` by kind. ``prefetch`` locks what a batch touches."""

    open_work: Callable[[Transaction], W]
    prefetch: Callable[[W, Sequence[Timer]], Awaitable[None]]
    handlers: Mapping[str, Handler[W]]
