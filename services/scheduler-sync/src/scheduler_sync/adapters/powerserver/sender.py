"""Deliveries to PowerServer over MLLP. An answer counts only when its MSA-2 is the message's MSH-10."""

import itertools
from collections.abc import Sequence
from typing import Protocol

from chassis.deliveries import Delivery, Receipt
from chassis.errors import Permanent, Transient
from hl7v2 import Ack
from hl7v2.mllp import MllpError


class MllpClient(Protocol):
    """One connection to PowerServer."""

    async def send(self, message: bytes, *, control_id: str) -> Ack: ...
    async def close(self) -> None: ...


class PowerServerSender:
    """Sends deliveries over a few connections, each with one message in flight.

    AA is a receipt. AE means not now or not set up there: it is tried again, as wire errors are. AR is final.
    """

    def __init__(self, clients: Sequence[MllpClient]) -> None:
        self._clients = clients
        self._turns = itertools.cycle(clients)

    async def send(self, delivery: Delivery) -> Receipt:
        try:
            ack = await next(self._turns).send(delivery.payload, control_id=delivery.idempotency_key)
        except MllpError as error:
            raise Transient(f"PowerServer: {error}") from error
        if ack.is_accepted:
            return Receipt({"ack": ack.code, "control_id": ack.control_id})
        # The partner's own words may name the patient: where and which code is what may be kept.
        found = "; ".join(f"{error.location or 'message'} code {error.code}" for error in ack.errors) or "no ERR"
        if ack.code in ("AR", "CR"):
            raise Permanent(f"PowerServer answered {ack.code}: {found}")
        raise Transient(f"PowerServer answered {ack.code}: {found}")

    async def close(self) -> None:
        for client in self._clients:
            await client.close()
