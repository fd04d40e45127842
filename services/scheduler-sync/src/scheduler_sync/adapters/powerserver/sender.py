"""Deliveries to PowerServer.

A status that had to wait may be out of date when it is sent. HL7 has no versions by which PowerServer could detect
that, so a status that would undo a later act is not sent (``statuses.sets_powerserver_back``).
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol
from uuid import UUID

from chassis.deliveries import Delivery, Receipt
from chassis.errors import NeedsSetup, Permanent
from chassis.hl7 import Hl7Sender, MllpClient
from chassis.observe import masking
from hl7v2 import Ack, AckError
from scheduler_sync.domain.appointment import WorkflowStep, sets_powerserver_back
from scheduler_sync.receipts import NOT_ACKNOWLEDGED, NOT_KNOWN, NOT_SENT, StatusAnswered

_REQUEST: Final = "request."
_UNKNOWN_KEY: Final = "204"
_UNKNOWN_WORD: Final = frozenset({"103", "204"})
"""HL7 table 0357: a value of a table, or a key, is not known."""
_REFUSED: Final = "207"
"""HL7 table 0357: the application refuses it. With a field of the slot or the resource it is a rule of the schedule."""
_NOT_OF_RULES: Final = frozenset({"PID-3"})
_PLACERS: Final = frozenset({"SCH-1", "ORC-2"})
_INDEX: Final = re.compile(r"\[\d+\]", re.ASCII)
_PRIORITY: Final = (
    "create the priority in PowerServer: Settings > Server Settings > Priority (request_priority in the site's mapping)"
)
_RESOURCE: Final = "create the resource in PowerServer: Settings > Users & Facilities > Imaging Facilities > Resources"
_STUDY: Final = "create the study type in PowerServer, with the code that OmegaAI has"
_PATIENT: Final = "add the patient in PowerServer, under this number and issuer"
_SETTINGS: Final = {
    "SCH-11": _PRIORITY, "TQ1-9": _PRIORITY, "ORC-7": _PRIORITY, "OBR-27": _PRIORITY,
    "AIG-3": _RESOURCE, "OBR-19": _RESOURCE, "AIS": _STUDY, "SCH-7": _STUDY, "OBR-4": _STUDY, "PID-3": _PATIENT,
}  # fmt: skip
"""The field or segment of an error in a refused request, and the setting that is missing."""
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
    """Sends deliveries of the kinds request.… and status.…; a receipt holds the acknowledgement."""

    def __init__(
        self, clients: Sequence[MllpClient], steps: Steps, *, expects_ack: Callable[[], bool] = lambda: True
    ) -> None:
        """``expects_ack``: whether PowerServer's station sends acknowledgements, by the site's present mapping."""
        self._expects_ack = expects_ack
        self._line = Hl7Sender(clients, partner="PowerServer", section="powerserver", line_setting=_LINE_SETTING)
        self._steps = steps

    async def send(self, delivery: Delivery) -> Receipt:
        shown = await self._steps.of_link(delivery.key)
        if shown is not None and sets_powerserver_back(
            step_of(delivery), step=shown.step, powerserver_shows=shown.powerserver_step
        ):
            return StatusAnswered(NOT_SENT, delivery.idempotency_key).to_receipt()
        if not self._expects_ack():
            await self._line.write(delivery.payload)
            return StatusAnswered(NOT_ACKNOWLEDGED, delivery.idempotency_key).to_receipt()
        is_request = delivery.kind.startswith(_REQUEST)
        is_unknown_there = shown is not None and shown.powerserver_step is None
        try:
            ack = await self._line.send(
                delivery.payload,
                control_id=delivery.idempotency_key,
                judge=_refused_request if is_request else _not_known if is_unknown_there else None,
            )
        except _NotKnownThere:
            return StatusAnswered(NOT_KNOWN, delivery.idempotency_key).to_receipt()
        return StatusAnswered(ack.code, ack.control_id).to_receipt()

    async def close(self) -> None:
        await self._line.close()


def step_of(delivery: Delivery) -> WorkflowStep:
    """The step that a delivery tells: PowerServer shows a request as SCHEDULED."""
    if delivery.kind.startswith(_REQUEST):
        return WorkflowStep.SCHEDULED
    return WorkflowStep(delivery.kind.removeprefix("status."))


class _NotKnownThere(Exception):  # noqa: N818 - no error of ours
    """PowerServer has never had the appointment."""


def _not_known(ack: Ack) -> None:
    """A request that PowerServer never took is off there already."""
    if any(error.code.strip() == _UNKNOWN_KEY and _field(error) in _PLACERS for error in ack.errors):
        raise _NotKnownThere


def _refused_request(ack: Ack) -> None:
    """A request that PowerServer cannot take waits for a person, and the card stays Requested.

    NeedsSetup names a setting of PowerServer's, Permanent a time or a resource that its rules refuse. Any other refusal
    passes, or is for good, as for every message.
    """
    for error in ack.errors:
        field, code = _field(error), error.code.strip()
        setting = _SETTINGS.get(field) or _SETTINGS.get(field.partition("-")[0])
        if setting is not None and code in _UNKNOWN_WORD:
            why = f"PowerServer does not know {masking.place(field)} of the patient's request: {setting}"
            raise NeedsSetup(why, setting=setting)
        if setting is not None and code == _REFUSED and field not in _NOT_OF_RULES:
            raise Permanent(
                f"PowerServer refuses {masking.place(field)} of the patient's request: its hours, its modality, or the "
                "place is taken; book another time there, or cancel it in OmegaAI"
            )


def _field(error: AckError) -> str:
    """The field of an error, such as SCH-11: without the segment's number, repetition and component."""
    return _INDEX.sub("", error.location.strip()).partition(".")[0]
