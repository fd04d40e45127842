"""Sends HL7 v2 over MLLP, over a few connections to one partner, and maps the partner's acknowledgements.

An acknowledgement counts only when its MSA-2 is the message's MSH-10. docs/architecture/messaging.md has the table of
acknowledgements.
"""

import itertools
import re
import socket
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Final, Protocol, Self
from uuid import UUID

from pydantic import BaseModel, Field, model_validator

from chassis.errors import AccessRefused, Permanent, Transient
from chassis.observe import masking
from chassis.settings import SettingsError
from hl7v2 import Ack, AckError
from hl7v2.mllp import Client, MllpError, client_context

_LINE_CODES: Final = frozenset({"200", "201", "202", "203"})
"""HL7 table 0357: the partner takes no message of this type, event, processing id or version."""
_PASSING_CODES: Final = frozenset({"206"})
"""HL7 table 0357: the record is locked."""
_LINE_PLACE: Final = re.compile(r"MSH(\[1\])?-(3|4|5|6|8|9|11|12)\b.*")
"""Sender, receiver, type, security, processing id, version: the same in every message of the line."""
_MOST_ERRORS: Final = 5
_DIGITS: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def control_id(delivery_id: UUID) -> str:
    """MSH-10 of a delivery: 20 characters (the limit of HL7 2.3.1) from the 100 most varying bits of its id."""
    number = delivery_id.int & ((1 << 100) - 1)
    return "".join(_DIGITS[number >> shift & 31] for shift in range(95, -1, -5))


class OutboundSettings(BaseModel):
    """A partner's MLLP listener.

    With ``tls``, its certificate is checked; our certificate is shown where one is set.
    """

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 12576
    connections: Annotated[int, Field(ge=1, le=32)] = 2
    ack_timeout_seconds: Annotated[float, Field(gt=0)] = 30.0
    tls: bool = False
    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    allow_plaintext: bool = False

    @model_validator(mode="after")
    def _files_go_together(self) -> Self:
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file go together")
        if not self.tls and (self.ca_file or self.certificate_file):
            raise ValueError("ca_file and certificate_file are of use only with tls=true")
        return self

    def ssl_context(self, *, variable: str) -> ssl.SSLContext | None:
        """The TLS context; None without TLS. Raises ``SettingsError`` when a file cannot be used.

        ``variable``: the environment's name of the settings, for the error text.
        """
        if not self.tls:
            return None
        try:
            return client_context(authorities=self.ca_file, certificate=self.certificate_file, key=self.key_file)
        except OSError as error:  # an SSLError is an OSError
            what = error.reason if isinstance(error, ssl.SSLError) else error.strerror
            problem = f"{variable}__…_FILE: a certificate, key or authority cannot be used ({what})"
            raise SettingsError([problem]) from error

    def clients(self, context: ssl.SSLContext | None) -> list[Client]:
        """The connections, all closed at first."""
        return [
            Client(self.host, self.port, ssl=context, ack_timeout_seconds=self.ack_timeout_seconds)
            for _ in range(self.connections)
        ]


class MllpClient(Protocol):
    """One connection to the partner."""

    async def send(self, message: bytes, *, control_id: str) -> Ack: ...
    async def write(self, message: bytes) -> None: ...
    async def close(self) -> None: ...


class Hl7Sender:
    """Sends messages over a few connections, each with one message in flight."""

    def __init__(self, clients: Sequence[MllpClient], *, partner: str, section: str, line_setting: str) -> None:
        """``partner``: its name in error texts. ``section``: its section of the settings, such as ``powerserver``.

        ``line_setting``: the setting to correct when the partner refuses every message of the line.
        """
        self._clients = clients
        self._turns = itertools.cycle(clients)
        self._partner = partner
        self._section = section
        self._line_setting = line_setting

    async def send(self, message: bytes, *, control_id: str, judge: Callable[[Ack], None] | None = None) -> Ack:
        """The acknowledgement of an accepted message. ``judge`` sees a refusal first, and may raise its own error.

        Transient: no answer, AE, CE, or a locked record. AccessRefused: TLS, or AR and CR about the line. Permanent:
        any other AR and CR.
        """
        try:
            ack = await next(self._turns).send(message, control_id=control_id)
        except MllpError as error:
            raise self._no_answer(error) from error
        if ack.is_accepted:
            return ack
        if judge is not None:
            judge(ack)
        said = f"{self._partner} answered {ack.code}: {_found(ack.errors)}"
        if ack.code in ("AR", "CR"):
            if any(_is_about_the_line(error) for error in ack.errors):
                raise AccessRefused(said, setting=self._line_setting)
            if not any(error.code in _PASSING_CODES for error in ack.errors):
                raise Permanent(said)
        raise Transient(said)

    async def write(self, message: bytes) -> None:
        """To a partner that sends no acknowledgement: returns when the message is written. Transient, AccessRefused."""
        try:
            await next(self._turns).write(message)
        except MllpError as error:
            raise self._no_answer(error) from error

    async def close(self) -> None:
        for client in self._clients:
            await client.close()

    def _no_answer(self, error: MllpError) -> Transient:
        """The cause of the exception names the fault of the line."""
        match error.__cause__:
            case ssl.SSLCertVerificationError():
                return AccessRefused(
                    f"{self._partner}: its certificate is not trusted", setting=f"{self._section}.ca_file"
                )
            case ssl.SSLError():
                return AccessRefused(
                    f"{self._partner}: TLS could not be negotiated",
                    setting=f"{self._section}.tls, {self._section}.certificate_file, "
                    f"or the port's TLS in {self._partner}",
                )
            case socket.gaierror():
                return Transient(f"{self._partner}: the host's name is not known ({self._section}.host)")
        return Transient(f"{self._partner}: {error}")


def _is_about_the_line(error: AckError) -> bool:
    return error.code.strip() in _LINE_CODES or _LINE_PLACE.fullmatch(error.location) is not None


def _found(errors: Sequence[AckError]) -> str:
    """The place and code of each error. The partner's own words may name the patient: they are masked."""
    said = [
        f"{masking.place(error.location or 'message')} code {masking.shown(error.code)}"
        for error in errors[:_MOST_ERRORS]
    ]
    return "; ".join(said) or "no ERR"
