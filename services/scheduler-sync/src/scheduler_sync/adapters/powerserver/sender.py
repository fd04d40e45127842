"""Deliveries to PowerServer.

A status that had to wait may be out of date when it is sent. HL7 has no versions by which PowerServer could detect
that, so a status that would undo a later act is not sent (``statuses.sets_powerserver_back``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol
from uuid import UUID

from chassis.deliveries import Delivery, Receipt
from chassis.hl7 import Hl7Sender, MllpClient
from scheduler_sync.domain.appointment import WorkflowStep, sets_powerserver_back
from scheduler_sync.receipts import NOT_SENT, StatusAnswered

_LINE_SETTING: Final = "PowerServer's HL7 interface for this line, or site and facility names in the site file"


@dataclass(frozen=True, slots=True)
class Shown:
    """An appointment's step, and what PowerServer is known to show of it."""

    step: WorkflowStep
    powerserver_step: WorkflowStep | None


class Steps(Protocol):
    """Looks up the present state of an appointment, outside any transaction."""

    async def of_link(self, link_id: UUID) -> Shown | None: ...


class PowerServerSender:
    """Sends deliveries of the kinds status.…; a receipt holds the acknowledgement."""

    def __init__(self, clients: Sequence[MllpClient], steps: Steps) -> None:
        self._line = Hl7Sender(clients, partner="PowerServer", section="powerserver", line_setting=_LINE_SETTING)
        self._steps = steps

    async def send(self, delivery: Delivery) -> Receipt:
        shown = await self._steps.of_link(delivery.key)
        if shown is not None and sets_powerserver_back(
            step_of(delivery), step=shown.step, powerserver_shows=shown.powerserver_step
        ):
            return StatusAnswered(NOT_SENT, delivery.idempotency_key).to_receipt()
        ack = await self._line.send(delivery.payload, control_id=delivery.idempotency_key)
        return StatusAnswered(ack.code, ack.control_id).to_receipt()

    async def close(self) -> None:
        await self._line.close()


def step_of(delivery: Delivery) -> WorkflowStep:
    """The step that a delivery tells."""
    return WorkflowStep(delivery.kind.removeprefix("status."))
