"""Hands mails to a mail server over connections that are kept open.

What SMTP cannot tell: when the connection breaks between the last line of DATA and its reply, the server may have the
mail or not (RFC 5321 §6.1, RFC 1047). That case has an error of its own, ``Unanswered``, so that the caller can count
it; every other failure is known to have left no mail behind.
"""

import asyncio
import re
import ssl
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal, NoReturn

import aiosmtplib

from chassis.errors import Permanent, Transient
from chassis.redaction import blotted

_ADDRESS = re.compile(r"<?+(?<![^\s<>@])[^\s<>@]++@[^\s<>@]++>?+")
_LONGEST_REPLY = 200
_SET_UP_RETRY_SECONDS = 30.0


class Unanswered(Transient):
    """The mail was handed over and the mail server did not answer: it may have it or not."""


@dataclass(frozen=True)
class MailServer:
    """``tls``: none, starttls (refuses to go on without), or tls from the first byte. Times are in seconds.

    ``timeout_seconds`` holds for each answer, ``envelope_seconds`` for everything before the mail's content: together
    they bound a hand-over, so that the lease of a delivery can outlast it.
    """

    host: str
    port: int
    sender: str
    tls: Literal["none", "starttls", "tls"] = "none"
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    timeout_seconds: float = 30.0
    envelope_seconds: float = 20.0
    idle_seconds: float = 20.0
    connections: int = 4


def without_addresses(reply: str) -> str:
    """A server's reply as it may stand in logs and lists: one line, without anyone's address."""
    return blotted(" ".join(reply.split()), [_ADDRESS], longest=_LONGEST_REPLY - 1, blot="[address]")


class SmtpGateway:
    """A few connections, each used by one mail at a time, closed when idle for too long."""

    def __init__(self, server: MailServer, tls_context: ssl.SSLContext | None = None) -> None:
        self._server = server
        self._tls_context = tls_context
        self._free: list[tuple[aiosmtplib.SMTP, float]] = []
        self._slots = asyncio.Semaphore(server.connections)

    @property
    def longest_hand_over_seconds(self) -> float:
        """A lease that is longer than this keeps a second worker from sending the same mail."""
        return self._server.envelope_seconds + self._server.timeout_seconds

    async def hand_over(self, content: bytes, to: str) -> str:
        """Returns the server's reply to the mail, without addresses.

        Raises Permanent with the server's answer for 5xx, Transient for 4xx and for everything that failed before the
        mail was on its way, Unanswered when it was and no reply came.
        """
        connection = await self._ready_for_data(to)
        try:
            try:
                reply = await connection.data(content)
            except aiosmtplib.SMTPDataError as error:
                await self._put_back_or_close(connection, error.code)
                _refused(error.code, error.message, "DATA")
            except (aiosmtplib.SMTPException, OSError) as error:
                connection.close()
                raise Unanswered("the mail server took the mail and did not answer") from error
            except BaseException:
                connection.close()
                raise
            self._put_back(connection)
        finally:
            self._slots.release()
        return without_addresses(f"{reply.code} {reply.message}")

    async def _ready_for_data(self, to: str) -> aiosmtplib.SMTP:
        """A connection, its slot taken, on which the mail's content may follow."""
        try:
            async with asyncio.timeout(self._server.envelope_seconds):
                await self._slots.acquire()
                try:
                    return await self._envelope(to)
                except BaseException:
                    self._slots.release()
                    raise
        except TimeoutError as error:
            raise Transient("the mail server is too slow: no connection was ready for the mail in time") from error

    async def close(self) -> None:
        while self._free:
            connection, _ = self._free.pop()
            with suppress(aiosmtplib.SMTPException, OSError):
                await connection.quit(timeout=2)
            connection.close()

    async def _envelope(self, to: str) -> aiosmtplib.SMTP:
        """A connection on which MAIL and RCPT were accepted.

        A kept connection may have been closed by the server just now; that is found out at MAIL and costs one more try
        on a fresh one.
        """
        while (kept := self._take_kept()) is not None:
            with suppress(aiosmtplib.SMTPServerDisconnected, ConnectionError):
                return await self._address(kept, to)
        try:
            return await self._address(await self._connect(), to)
        except (aiosmtplib.SMTPServerDisconnected, ConnectionError) as error:
            raise Transient("the mail server closed the connection before the mail was on its way") from error

    async def _address(self, connection: aiosmtplib.SMTP, to: str) -> aiosmtplib.SMTP:
        try:
            await connection.mail(self._server.sender)
            await connection.rcpt(to)
        except aiosmtplib.SMTPResponseException as error:
            await self._put_back_or_close(connection, error.code)
            _refused(
                error.code, error.message, "RCPT" if isinstance(error, aiosmtplib.SMTPRecipientRefused) else "MAIL"
            )
        except (aiosmtplib.SMTPServerDisconnected, ConnectionError):
            connection.close()
            raise
        except (aiosmtplib.SMTPException, OSError) as error:
            connection.close()
            raise Transient(f"the mail server does not answer ({type(error).__name__})") from error
        except BaseException:
            connection.close()
            raise
        return connection

    async def _connect(self) -> aiosmtplib.SMTP:
        server = self._server
        connection = aiosmtplib.SMTP(
            hostname=server.host,
            port=server.port,
            timeout=server.timeout_seconds,
            username=server.username,
            password=server.password,
            local_hostname=server.sender.rpartition("@")[2],
            use_tls=server.tls == "tls",
            start_tls=server.tls == "starttls",
            tls_context=self._tls_context if server.tls != "none" else None,
        )
        try:
            await connection.connect()
        except aiosmtplib.SMTPAuthenticationError as error:
            connection.close()
            # Not this mail's fault: it waits until the set-up is right, like all the others.
            raise Transient(
                f"the mail server refuses the login ({error.code}): smtp.username, smtp.password",
                retry_after_seconds=_SET_UP_RETRY_SECONDS,
            ) from error
        except (aiosmtplib.SMTPException, OSError) as error:
            connection.close()
            raise Transient(
                f"no connection to the mail server ({type(error).__name__}): smtp.host, smtp.port, smtp.tls"
            ) from error
        except BaseException:
            connection.close()
            raise
        return connection

    def _take_kept(self) -> aiosmtplib.SMTP | None:
        while self._free:
            connection, since = self._free.pop()
            if connection.is_connected and time.monotonic() - since < self._server.idle_seconds:
                return connection
            connection.close()
        return None

    def _put_back(self, connection: aiosmtplib.SMTP) -> None:
        if connection.is_connected:
            self._free.append((connection, time.monotonic()))

    async def _put_back_or_close(self, connection: aiosmtplib.SMTP, code: int) -> None:
        """After a refusal the connection is good again once RSET is answered; after 421 the server closes it."""
        if code != 421:
            with suppress(aiosmtplib.SMTPException, OSError):
                await connection.rset(timeout=5)
                self._put_back(connection)
                return
        connection.close()


def _refused(code: int, message: str, command: str) -> NoReturn:
    answer = f"the mail server answered {command} with {code} {without_addresses(message)}"
    if 500 <= code < 600:
        raise Permanent(answer)
    raise Transient(answer)
