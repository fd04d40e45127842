"""Deliveries to PowerServer over MLLP. An answer counts only when its MSA-2 is the message's MSH-10.

A status that had to wait may be old by the time it goes. HL7 has no versions for PowerServer to see that by, so what
would undo a later act there is not sent (``statuses.sets_powerserver_back``).
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol
from uuid import UUID

from chassis import masking
from chassis.deliveries import Delivery, Receipt
from chassis.errors import Permanent, Transient
from hl7v2 import Ack
from hl7v2.mllp import MllpError
from scheduler_sync.domain.statuses import WorkflowStep, sets_powerserver_back

NOT_SENT: Final = "not sent"
"""In place of an acknowledgement's code."""


class MllpClient(Protocol):
    """One connection to PowerServer."""

    async def send(self, message: bytes, *, control_id: str) -> Ack: ...
    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Shown:
    """What an appointment has come to, and what PowerServer is known to show of it."""

    step: WorkflowStep
    powerserver_step: WorkflowStep | None


class Steps(Protocol):
    """Looks up, outside any transaction, where an appointment stands now."""

    async def of_link(self, link_id: UUID) -> Shown | None: ...


class PowerServerSender:
    """Sends deliveries over a few connections, each with one message in flight.

    AA is a receipt. AE means not now or not set up there: it is tried again, as wire errors are. AR is final.
    """

    def __init__(self, clients: Sequence[MllpClient], steps: Steps) -> None:
        self._clients = clients
        self._steps = steps
        self._turns = itertools.cycle(clients)

    async def send(self, delivery: Delivery) -> Receipt:
        shown = await self._steps.of_link(delivery.key)
        if shown is not None and sets_powerserver_back(
            step_of(delivery), step=shown.step, powerserver_shows=shown.powerserver_step
        ):
            return Receipt({"ack": NOT_SENT, "control_id": delivery.idempotency_key})
        try:
            ack = await next(self._turns).send(delivery.payload, control_id=delivery.idempotency_key)
        except MllpError as error:
            raise Transient(f"PowerServer: {error}") from error
        if ack.is_accepted:
            return Receipt({"ack": ack.code, "control_id": ack.control_id})
        # The partner's own words may name the patient: where and which code is what may be kept.
        found = [
            f"{masking.place(error.location or 'message')} code {masking.shown(error.code)}" for error in ack.errors
        ]
        answered = f"PowerServer answered {ack.code}: {'; '.join(found) or 'no ERR'}"
        if ack.code in ("AR", "CR"):
            raise Permanent(answered)
        raise Transient(answered)

    async def close(self) -> None:
        for client in self._clients:
            await client.close()


def step_of(delivery: Delivery) -> WorkflowStep:
    """The step that a delivery tells."""
    return WorkflowStep(delivery.kind.removeprefix("status."))
