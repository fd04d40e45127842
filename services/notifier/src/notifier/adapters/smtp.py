"""Hands mails to a mail server over connections that are kept open.

When the connection breaks between the last line of DATA and its reply, the server may have the mail or not (RFC 5321
§6.1, RFC 1047). That case has an error of its own, ``Unanswered``, so that the caller can count it. After every other
failure the server is known not to have the mail.
"""

import asyncio
import re
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal, NoReturn

import aiosmtplib

from chassis.errors import AccessRefused, Permanent, Transient
from chassis.observe import blotted

_ADDRESS = re.compile(r"<?+(?<![^\s<>@])[^\s<>@]++@[^\s<>@]++>?+")
_LONGEST_REPLY = 200
_TLS = "smtp.host, smtp.port, smtp.tls, or the server's certificate"
_LOGIN = "smtp.username, smtp.password"
_SENDER = "smtp.sender, and what the mail server lets it send"
_RELAY = "what the mail server relays for smtp.host's client, smtp.username, smtp.sender"
_LOGIN_CODES = frozenset({530, 534, 535, 538})
"""RFC 4954 §6: the server requires a log-in, another log-in, or TLS."""
_STATUS = re.compile(r"#?\b5\.(\d{1,3})\.(\d{1,3})\b")
_OURS = re.compile(r"relay|sender|authenticat|client host|spf|dkim|dmarc", re.IGNORECASE)
_RECIPIENTS = re.compile(r"recipient address rejected|user unknown|mailbox", re.IGNORECASE)
_OF_SENDER = frozenset({7, 8})
"""RFC 3463 §3.2: X.1.7 and X.1.8 are about the sender's address, all others of X.1 about the recipient's."""


class Unanswered(Transient):
    """The mail was handed over and the mail server did not answer: the server may have it or not."""


@dataclass(frozen=True)
class MailServer:
    """``tls``: none, starttls (required), or tls from the first byte. Times are in seconds.

    ``timeout_seconds`` limits the mail's content with its answers, ``envelope_seconds`` everything before: together
    they bound a hand-over, so that the lease of a delivery can outlast it. aiosmtplib ends a reply at 32 KiB.
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
    """A server's reply, fit for logs and lists: one line, without addresses."""
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
        """A lease longer than this keeps a second worker from sending the same mail."""
        return self._server.envelope_seconds + self._server.timeout_seconds

    async def hand_over(self, content: bytes, to: str) -> str:
        """Returns the server's reply to the mail, without addresses.

        Raises Permanent with the server's answer where it refuses this mail or this recipient, AccessRefused where it
        refuses us (log-in, sender, relaying), Transient for 4xx and for every failure before the mail was on its way,
        Unanswered when it was and no reply came.
        """
        connection = await self._ready_for_data(to)
        try:
            try:
                async with asyncio.timeout(self._server.timeout_seconds):
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
        """A connection with its slot taken, ready for the mail's content."""
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

        The server may have just closed a kept connection; MAIL detects this, at the cost of one more try on a new one.
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
        except aiosmtplib.SMTPHeloError as error:
            connection.close()
            raise _no_connection(error) from error
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
        except (aiosmtplib.SMTPException, OSError) as error:
            connection.close()
            raise _no_connection(error) from error
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
        """Makes the connection usable after a refusal: RSET must be answered; after 421 the server closes it.

        After an unreadable reply the next reply cannot be matched, so the connection is closed.
        """
        if 400 <= code < 600 and code != 421:
            with suppress(aiosmtplib.SMTPException, OSError):
                await connection.rset(timeout=5)
                self._put_back(connection)
                return
        connection.close()


def _no_connection(error: Exception) -> Transient:
    """A failure before a mail is named is no mail's fault: the mail waits, like all others."""
    for cause in _causes(error):
        match cause:
            case ssl.SSLCertVerificationError():
                return AccessRefused("the mail server's certificate is not trusted", setting=_TLS)
            case ssl.SSLError():
                return AccessRefused("TLS could not be negotiated with the mail server", setting=_TLS)
            case socket.gaierror():
                return Transient("the mail server's name is not known (smtp.host)")
    where = "smtp.host, smtp.port, smtp.tls"
    match error:
        case aiosmtplib.SMTPAuthenticationError() if error.code >= 500:
            found: Transient = AccessRefused(f"the mail server refuses the login ({error.code})", setting=_LOGIN)
        case aiosmtplib.SMTPResponseException() if error.code >= 500:
            said = f"{error.code} {without_addresses(error.message)}"
            found = AccessRefused(f"the mail server does not talk to us: {said}", setting=where)
        case aiosmtplib.SMTPResponseException():
            found = Transient(f"the mail server is not ready ({error.code})")
        case OSError():
            found = Transient(f"no connection to the mail server ({type(error).__name__}): {where}")
        case _:
            # aiosmtplib raises this for a server without STARTTLS, without AUTH, or without a known method.
            offers = "the mail server does not offer what is set (TLS, a login)"
            found = AccessRefused(offers, setting="smtp.tls, smtp.username, smtp.port")
    return found


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__


def _refused(code: int, message: str, command: str) -> NoReturn:
    """Raises the meaning of a refusal, from the reply's code, its enhanced code (RFC 3463) and the command."""
    answer = f"the mail server answered {command} with {code} {without_addresses(message)}"
    if not 500 <= code < 600:
        raise Transient(answer)
    status = _STATUS.search(message)
    subject, detail = (int(status[1]), int(status[2])) if status else (0, 0)
    if code in _LOGIN_CODES:
        raise AccessRefused(answer, setting=_LOGIN)
    if command == "MAIL" and not (code == 552 or subject == 3):
        raise AccessRefused(answer, setting=_SENDER)
    if subject == 1 and detail in _OF_SENDER:
        raise AccessRefused(answer, setting=_SENDER)
    if subject == 7 and _is_ours(command, detail, message):
        raise AccessRefused(answer, setting=_RELAY)
    if status is None and command == "RCPT" and "relay" in message.lower():
        raise AccessRefused(answer, setting=_RELAY)
    raise Permanent(answer)


def _is_ours(command: str, detail: int, message: str) -> bool:
    """Whether X.7.``detail`` (a policy) is about us, and would meet every mail.

    X.7.0 and X.7.1 say only "not allowed": at a mail's content that means the mail, at a recipient it means us, unless
    the text says otherwise.
    """
    if detail > 1:
        return True
    if command == "RCPT":
        return _OURS.search(message) is not None or _RECIPIENTS.search(message) is None
    return _OURS.search(message) is not None
