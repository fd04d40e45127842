"""The SMTP listener: a mail is acknowledged once it is on disk."""

import asyncio
import email.errors
import email.header
import sqlite3
from email.parser import BytesHeaderParser
from typing import cast

from aiosmtpd.smtp import SMTP, Envelope, Session

from mailsink.context import Services
from mailsink.inbox import mails
from mailsink.inbox.mails import IncomingMail

LARGEST_MAIL_BYTES = 32 * 2**20
_REPLIES = {
    421: "421 4.3.2 closing, told to",
    451: "451 4.3.0 try again later, told to",
    530: "530 5.7.0 log in first, told to",
    550: "550 5.1.1 no such mailbox, told to",
}


def _header(value: object) -> str:
    """A header as a reader sees it: encoded words decoded, folding undone."""
    text = str(value or "")
    if "=?" in text:
        try:
            text = str(email.header.make_header(email.header.decode_header(text)))
        except (email.errors.HeaderParseError, LookupError, UnicodeDecodeError):
            return text
    return " ".join(text.split())


class SinkHandler:
    """The hooks that aiosmtpd calls for one mail."""

    def __init__(self, services: Services) -> None:
        self._store = services.store
        self._misbehaviour = services.misbehaviour
        self._parser = BytesHeaderParser()

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: ARG002, N802 - aiosmtpd's signature
        raw = envelope.original_content or b""
        headers = self._parser.parsebytes(raw)
        mail = IncomingMail(
            sender=envelope.mail_from or "",
            recipients=tuple(envelope.rcpt_tos),
            message_id=_header(headers["Message-ID"]),
            subject=_header(headers["Subject"]),
            template=_header(headers["X-Suite-Template"]),
            appointment=_header(headers["X-Suite-Appointment"]),
            raw=raw,
        )
        fault = self._misbehaviour.take("smtp")
        mode = "" if fault is None else fault.mode
        if fault is not None and mode == "slow":
            await asyncio.sleep(fault.seconds)
        if fault is not None and mode == "status":
            return await self._refuse(server, mail, int(fault.status or 451))
        try:
            await self._store.write(lambda work: mails.keep(work, mail))
        except sqlite3.Error:
            return "451 4.3.0 the store does not take it"
        if mode == "accept-then-cut":
            _transport(server).abort()
            await _until_cancelled()
        return "250 2.0.0 kept"

    async def _refuse(self, server: SMTP, mail: IncomingMail, status: int) -> str:
        await self._store.write(lambda work: mails.refuse(work, mail, status))
        if status == 421:
            # RFC 5321 §3.8: 421 announces that the server closes the channel.
            _transport(server).write(f"{_REPLIES[status]}\r\n".encode())
            _transport(server).close()
            await _until_cancelled()
        return _REPLIES[status]


def _transport(server: SMTP) -> asyncio.Transport:
    return cast("asyncio.Transport", server.transport)


async def _until_cancelled() -> None:
    """Waits until aiosmtpd cancels this call, when the connection is gone. No reply may be written then."""
    await asyncio.get_running_loop().create_future()


async def start_smtp(handler: SinkHandler, host: str, port: int) -> asyncio.Server:
    loop = asyncio.get_running_loop()

    def connection() -> SMTP:
        return SMTP(
            handler, hostname="mailsink", ident="mailsink", enable_SMTPUTF8=True, data_size_limit=LARGEST_MAIL_BYTES
        )

    return await loop.create_server(connection, host, port)
