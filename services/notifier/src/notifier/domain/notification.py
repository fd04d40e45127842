"""One message to one patient about one revision of an appointment, and its states.

A table holds the moves, and any other move is refused: a late event cannot queue a mail again that was sent.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal, get_args
from uuid import UUID, uuid5

Template = Literal["please-confirm", "confirmed", "moved"]
TEMPLATES: tuple[Template, ...] = get_args(Template)

State = Literal["awaiting_recipient", "queued", "sent", "superseded", "undeliverable"]
STATES: tuple[State, ...] = get_args(State)

# Two late moves exist. undeliverable → sent: an operator retries a delivery that the mail server had refused.
# superseded → sent: the mail was on its way when the superseding event came; the history says what happened.
MOVES: Mapping[State, frozenset[State]] = MappingProxyType(
    {
        "awaiting_recipient": frozenset({"queued", "superseded", "undeliverable"}),
        "queued": frozenset({"sent", "superseded", "undeliverable"}),
        "sent": frozenset(),
        "superseded": frozenset({"sent"}),
        "undeliverable": frozenset({"sent"}),
    }
)
OPEN: frozenset[State] = frozenset({"awaiting_recipient", "queued"})

_NAMESPACE = UUID("6f1d7c52-4b0e-5d7c-9b53-0c6a1f5b8e21")


class IllegalMoveError(Exception):
    """The table of moves does not have this move."""


def notification_id(appointment_id: UUID, template: Template, revision: int) -> UUID:
    """The same id for the same arguments, so a second try to make the notification finds the first."""
    return uuid5(_NAMESPACE, f"{appointment_id}/{template}/{revision}")


@dataclass(frozen=True, slots=True)
class Notification:
    """``reason``: why it is in its state; it names no patient."""

    notification_id: UUID
    appointment_id: UUID
    patient_id: UUID
    template: Template
    revision: int
    state: State = "awaiting_recipient"
    reason: str | None = None

    @property
    def is_open(self) -> bool:
        return self.state in OPEN

    def move(self, state: State, reason: str | None = None) -> "Notification":
        if state not in MOVES[self.state]:
            raise IllegalMoveError(f"a notification that is {self.state} cannot become {state}")
        return replace(self, state=state, reason=reason)
