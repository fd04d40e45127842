"""HTTP to partners: one place makes the session, sends, and reads the answer.

A request goes only to hosts of the list, whatever an answer says: no redirect is followed, and an address from a
partner (a next page, a hub) must be on the list. Every answer is limited, in bytes and in seconds.
"""

import asyncio
import json
import math
import re
import ssl
import weakref
import zlib
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, Final
from urllib.parse import urljoin

import aiohttp
from yarl import URL

from chassis.clock import utc_now
from chassis.errors import AccessRefused, NeedsSetup, Transient, UnusableAnswer

SMALL_ANSWER_BYTES: Final = 64 * 2**10
"""Enough for a token, an address, an error."""
LARGE_ANSWER_BYTES: Final = 8 * 2**20
"""Enough for a page of a hundred resources of 80 KiB each."""
TIMEOUT_SECONDS: Final = 10.0
PARSED_BESIDE_BYTES: Final = 256 * 2**10
"""A larger answer is parsed in a thread: the loop answers HL7 meanwhile."""
MOST_JSON_VALUES: Final = 250_000
"""Most values of an answer. An empty list of two bytes takes seventy in memory, so a limit of bytes is not enough."""
DEEPEST_JSON: Final = 64
_CUT_AT_LEVEL: Final = DEEPEST_JSON + 16
_TOKENS: Final = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)
_MOST_DIGITS: Final = 1000
LONGEST_RETRY_AFTER_SECONDS: Final = 600.0

_WEB_SCHEMES: Final = {"ws": "http", "wss": "https"}
_CERTIFICATES: Final = "its certificate, or the authorities that this machine trusts"
_BESIDE: Final = ThreadPoolExecutor(max_workers=1, thread_name_prefix="large-answers")
"""Large answers are parsed one after the other, so that their memory does not add up."""


def open_session(*, connections: int) -> aiohttp.ClientSession:
    """A session for ``connections`` requests at once.

    It keeps no cookies: a partner must not fill the memory with them.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=connections), cookie_jar=aiohttp.DummyCookieJar(), trust_env=False
    )


@dataclass(frozen=True, slots=True)
class Answer:
    """A partner's whole answer; the body of a "not now" answer is left unread."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def is_page(self) -> bool:
        """Whether the answer is a web page (of a proxy, a log-in, a maintenance), which no interface sends."""
        media = self.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        return media in ("text/html", "application/xhtml+xml") or self.body[:64].lstrip()[:1] == b"<"

    @property
    def retry_after_seconds(self) -> float | None:
        """Retry-After as seconds from now, at most ten minutes; None without a readable one."""
        value = self.headers.get("Retry-After", "").strip()
        if value.isascii() and value.isdecimal():
            return min(float(value[:9]), LONGEST_RETRY_AFTER_SECONDS)
        try:
            seconds = (parsedate_to_datetime(value) - self._said_at).total_seconds()
        except (TypeError, ValueError, OverflowError):
            return None
        return min(max(seconds, 0.0), LONGEST_RETRY_AFTER_SECONDS)

    @property
    def _said_at(self) -> datetime:
        """The server's own time of the answer, where it sends one: times in the answer are by that clock."""
        try:
            at = parsedate_to_datetime(self.headers.get("Date", ""))
        except (TypeError, ValueError):
            return utc_now()
        return at if at.tzinfo is not None else at.replace(tzinfo=UTC)

    async def json(self, *, if_deep: Callable[[Any], Any] | None = None) -> Any:
        """The body's value.

        ValueError when it is not JSON, UnusableAnswer when it holds too much. As ``parse_json``.
        """
        if len(self.body) <= PARSED_BESIDE_BYTES:
            return parse_json(self.body, if_deep=if_deep)
        parse = partial(parse_json, self.body, if_deep=if_deep)
        return await asyncio.get_running_loop().run_in_executor(_BESIDE, parse)


def parse_json(body: bytes, *, if_deep: Callable[[Any], Any] | None = None) -> Any:
    """JSON from a partner. ValueError when it is not JSON; UnusableAnswer when it is too large or nests too deeply.

    ``if_deep`` receives a value that nests too deeply, and returns the usable part. A number of more digits than Python
    reads becomes infinite: then only the reader of that element refuses it, and not the whole answer.
    """
    containers = body.count(b"{") + body.count(b"[")
    if body.count(b",") + containers > MOST_JSON_VALUES:
        raise UnusableAnswer(f"the answer holds more than {MOST_JSON_VALUES} values")
    hook = _object if len(body) > PARSED_BESIDE_BYTES else None
    try:
        value = _loaded(body, hook)
    except RecursionError:
        value = _loaded(_without_the_deepest(body), hook)
    if containers > DEEPEST_JSON:
        if if_deep is not None and is_deep(value):
            value = if_deep(value)
        if is_deep(value):
            raise UnusableAnswer(f"the answer nests more than {DEEPEST_JSON} levels deep")
    return value


def _without_the_deepest(body: bytes) -> bytes:
    """``body`` without what nests deeper than Python's parser can go.

    The rest still nests too deeply: ``is_deep`` finds the place, and the other parts of the answer can be read.
    """
    text = body.decode(json.detect_encoding(body), "surrogatepass")
    kept: list[str] = []
    depth = start = 0
    for token in _TOKENS.finditer(text):
        if token[0] in "[{":
            depth += 1
            if depth == _CUT_AT_LEVEL + 1:
                kept.append(text[start : token.end()])
        elif token[0] in "]}":
            if depth == _CUT_AT_LEVEL + 1:
                start = token.start()
            depth -= 1
    if depth <= _CUT_AT_LEVEL:
        kept.append(text[start:])
    return "".join(kept).encode("utf-8", "surrogatepass")


def _loaded(body: bytes, hook: Callable[[list[tuple[str, Any]]], Any] | None) -> Any:
    try:
        return json.loads(body, object_pairs_hook=hook)
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise
    except ValueError:  # a number of too many digits; a function for each number would slow all answers down
        return json.loads(body, object_pairs_hook=hook, parse_int=_integer)


def _integer(digits: str) -> float:
    return int(digits) if len(digits) <= _MOST_DIGITS else math.copysign(math.inf, float(digits[:2]))


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """In Python on purpose: between two objects other threads may run; C code would block them."""
    return dict(pairs)


def is_deep(value: Any, deepest: int = DEEPEST_JSON) -> bool:
    """Whether lists and objects nest more than ``deepest`` levels."""
    level = [value]
    for _ in range(deepest):
        level = [inner for one in level for inner in _inner(one) if isinstance(inner, dict | list)]
    return bool(level)


def _inner(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


class Redirected(Exception):  # noqa: N818 (what happened)
    """The answer is a redirect; it was not followed."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class ForeignHost(Exception):  # noqa: N818
    """The address is not on the list."""


_FAILURES: Final = (aiohttp.ClientError, OSError, Redirected, ForeignHost)


class HttpPartner:
    """One partner's HTTP interface. ``session`` lends its connections; ``setting`` is the setting of ``base_url``.

    Only ``base_url``'s own origin (scheme, host and port) may be asked, and those of ``allowed_hosts``: each a host or
    ``host:port`` of the same scheme, or an origin such as ``https://hub.example:8443``.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        name: str,
        base_url: str,
        *,
        setting: str,
        allowed_hosts: Iterable[str] = (),
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        self.name = name
        self.setting = setting
        self._base = base_url
        self._allowed = allowed_origins(base_url, allowed_hosts)
        given_seconds = session.timeout.total
        self.timeout_seconds = min(timeout_seconds, given_seconds) if given_seconds else timeout_seconds
        self._lender = session
        self._own: aiohttp.ClientSession | None = None

    @property
    def _session(self) -> aiohttp.ClientSession:
        """A session with this partner's rules on the given session's connections.

        It ends with the lender's connector.
        """
        if self._own is None:
            self._own = aiohttp.ClientSession(
                connector=self._lender.connector,
                connector_owner=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None),
                trust_env=False,
                middlewares=(_guarding(self._allowed),),
            )
            weakref.finalize(self, self._own.detach)  # the lender closes the connections
        return self._own

    def address(self, url: str) -> URL:
        """An address of the partner's, perhaps from its answer. NeedsSetup when its host is not on the list."""
        try:
            found = URL(urljoin(self._base, url))
        except ValueError:
            raise NeedsSetup(f"{self.name} gave an address that is not valid", setting=self.setting) from None
        if not _may_be_asked(found, self._allowed):
            raise NeedsSetup(
                f"{self.name} gave an address on a host that is not allowed",
                setting=f"{self.setting}, or {self.setting.rpartition('.')[0]}.allowed_hosts",
            )
        return found

    async def ask(
        self,
        method: str,
        url: str | URL,
        *,
        what: str,
        largest_bytes: int = SMALL_ANSWER_BYTES,
        headers: Mapping[str, str] | None = None,
        data: bytes | Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request and its whole answer. ``what`` names both in texts: no ids, no queries.

        Raises Transient when there is no answer in time, UnusableAnswer when it does not end, AccessRefused for a
        redirect or an untrusted certificate, NeedsSetup when the address is on another host.
        """
        address = self.address(url) if isinstance(url, str) else url
        try:
            async with (
                asyncio.timeout(self.timeout_seconds),
                self._session.request(
                    method, address, data=data, params=query, allow_redirects=False, auto_decompress=False,
                    headers={**(headers or {}), "Accept-Encoding": "identity"},
                ) as response,
            ):  # fmt: skip
                status = response.status
                says_not_now = status >= 500 or status in (408, 425, 429)
                body = b"" if says_not_now else await self._body(response, what, largest_bytes)
                return Answer(status, response.headers, body)
        except _FAILURES as error:
            raise self._explained(error, what) from error

    async def listen(self, url: str | URL, *, what: str, largest_frame_bytes: int) -> aiohttp.ClientWebSocketResponse:
        """A WebSocket that the caller closes (``async with``); a frame ends at ``largest_frame_bytes``. As ``ask``."""
        address = self.address(url) if isinstance(url, str) else url
        try:
            async with asyncio.timeout(self.timeout_seconds):
                return await self._session.ws_connect(
                    address, heartbeat=None, autoping=True, max_msg_size=largest_frame_bytes
                )
        except _FAILURES as error:
            raise self._explained(error, what) from error

    def _explained(self, error: Exception, what: str) -> Exception:
        """Our error for an exception of a request."""
        said = f"{self.name}: {what}"
        match error:
            case Redirected():
                found: Exception = AccessRefused(
                    f"{said} answered {error.status}, a redirect: none is followed", setting=self.setting
                )
            case ForeignHost():
                found = NeedsSetup(f"{said} leads to a host that is not allowed", setting=self.setting)
            case aiohttp.ClientConnectorCertificateError() | ssl.SSLCertVerificationError():
                found = AccessRefused(f"{said}: its certificate is not trusted", setting=_CERTIFICATES)
            case aiohttp.ClientSSLError() | ssl.SSLError():
                found = AccessRefused(f"{said}: TLS could not be negotiated", setting=self.setting)
            case aiohttp.InvalidURL():
                found = AccessRefused(f"{said}: the address is not valid", setting=self.setting)
            case TimeoutError():
                found = Transient(f"{said}: no answer within {self.timeout_seconds:g} s")
            case aiohttp.ClientConnectorDNSError():
                found = Transient(f"{said}: the host's name is not known ({self.setting})")
            case _:
                found = Transient(f"{said}: {type(error).__name__}")
        return found

    async def _body(self, response: aiohttp.ClientResponse, what: str, largest_bytes: int) -> bytes:
        """The body, limited to ``largest_bytes`` both on the wire and unpacked."""
        encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding not in ("identity", "", "gzip", "x-gzip", "deflate"):
            raise UnusableAnswer(f"{self.name}: {what} is answered in an encoding that was not requested")
        unpacking = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32) if encoding not in ("identity", "") else None
        body, received_bytes = bytearray(), 0
        async for chunk in response.content.iter_any():
            received_bytes += len(chunk)
            try:
                body += chunk if unpacking is None else unpacking.decompress(chunk, largest_bytes - len(body) + 1)
            except zlib.error:
                raise UnusableAnswer(f"{self.name}: the answer to {what} cannot be unpacked") from None
            if max(received_bytes, len(body)) > largest_bytes:
                response.close()
                raise UnusableAnswer(f"{self.name}: the answer to {what} has more than {largest_bytes} bytes")
        return bytes(body)


def _guarding(allowed: frozenset[tuple[str, str, int]]) -> aiohttp.ClientMiddlewareType:
    """Checks every request of a session, including WebSockets and redirects."""

    async def guard(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        if not _may_be_asked(request.url, allowed):
            raise ForeignHost
        response = await handler(request)
        if 300 <= response.status < 400:
            response.close()
            raise Redirected(response.status)
        return response

    return guard


def _may_be_asked(url: URL, allowed: frozenset[tuple[str, str, int]]) -> bool:
    return url.user is None and url.password is None and _origin(url) in allowed


def allowed_origins(base_url: str, hosts: Iterable[str] = ()) -> frozenset[tuple[str, str, int]]:
    """(scheme, host, port) of each allowed origin. ValueError names an entry that is not valid."""
    scheme = URL(base_url).scheme
    found = []
    for entry in (base_url, *hosts):
        url = URL(entry if "://" in entry else f"{scheme}://{entry}")
        origin = _origin(url)
        if origin is None or "*" in entry or url.user is not None or (entry != base_url and url.path not in ("", "/")):
            raise ValueError(f"{entry!r} is no host, host:port or origin")
        found.append(origin)
    return frozenset(found)


def _origin(url: URL) -> tuple[str, str, int] | None:
    scheme = _WEB_SCHEMES.get(url.scheme, url.scheme)
    if scheme not in ("http", "https") or not url.host or not url.port:
        return None
    return scheme, url.host.lower(), url.port
