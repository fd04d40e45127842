"""Deliveries to PowerServer over MLLP. An answer counts only when its MSA-2 is the message's MSH-10.

A status that had to wait may be old by the time it goes. HL7 has no versions for PowerServer to see that by, so what
would undo a later act there is not sent (``statuses.sets_powerserver_back``).
"""

import itertools
import re
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol
from uuid import UUID

from chassis.deliveries import Delivery, Receipt
from chassis.errors import AccessRefused, Permanent, Transient
from chassis.observe import masking
from hl7v2 import Ack, AckError
from hl7v2.mllp import MllpError
from scheduler_sync.domain.appointment import WorkflowStep, sets_powerserver_back

NOT_SENT: Final = "not sent"
"""In place of an acknowledgement's code."""

_LINE_CODES: Final = frozenset({"200", "201", "202", "203"})
"""HL7 table 0357: it does not take this message type, event, processing id or version, whatever the message says."""
_PASSING_CODES: Final = frozenset({"206"})
_LINE_PLACE: Final = re.compile(r"MSH(\[1\])?-(3|4|5|6|8|9|11|12)\b.*")
"""Who sends what to whom: the same in every message of the line."""
_LINE_SETTING: Final = "PowerServer's HL7 interface for this line, or site and facility names in the site file"
_MOST_ERRORS: Final = 5


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

    AA is a receipt. AE means not now or not set up there: it is tried again, as wire errors are. AR is final, unless it
    is about the line (what it may carry, who speaks on it): that would meet every message, and waits for a person.
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
            raise _no_answer(error) from error
        if ack.is_accepted:
            return Receipt({"ack": ack.code, "control_id": ack.control_id})
        said = f"PowerServer answered {ack.code}: {_found(ack.errors)}"
        if ack.code in ("AR", "CR"):
            if any(_is_about_the_line(error) for error in ack.errors):
                raise AccessRefused(said, setting=_LINE_SETTING)
            if not any(error.code in _PASSING_CODES for error in ack.errors):
                raise Permanent(said)
        raise Transient(said)

    async def close(self) -> None:
        for client in self._clients:
            await client.close()


def _no_answer(error: MllpError) -> Transient:
    """What is wrong with the line is found in the exception's cause, where there is one."""
    match error.__cause__:
        case ssl.SSLCertVerificationError():
            return AccessRefused("PowerServer: its certificate is not to be trusted", setting="powerserver.ca_file")
        case ssl.SSLError():
            return AccessRefused(
                "PowerServer: no TLS can be agreed on",
                setting="powerserver.tls, powerserver.certificate_file, or the port's TLS in PowerServer",
            )
        case socket.gaierror():
            return Transient("PowerServer: the host's name is not known (powerserver.host)")
    return Transient(f"PowerServer: {error}")


def _is_about_the_line(error: AckError) -> bool:
    return error.code.strip() in _LINE_CODES or _LINE_PLACE.fullmatch(error.location) is not None


def _found(errors: Sequence[AckError]) -> str:
    """Where and which code. The partner's own words may name the patient, also where a place or a code belongs."""
    said = [
        f"{masking.place(error.location or 'message')} code {masking.shown(error.code)}"
        for error in errors[:_MOST_ERRORS]
    ]
    return "; ".join(said) or "no ERR"


def step_of(delivery: Delivery) -> WorkflowStep:
    """The step that a delivery tells."""
    return WorkflowStep(delivery.kind.removeprefix("status."))
