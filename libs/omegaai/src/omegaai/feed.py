"""OmegaAI's change feed (SignalR, JSON hub protocol).

The feed delivers at most once, so it only wakes the reader of the Task queue; the queue is the guarantee.
"""

import asyncio
import json
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

import aiohttp
import structlog
from yarl import URL

from chassis.errors import Permanent, Transient, UnusableAnswer
from chassis.http import TIMEOUT_SECONDS, HttpPartner, parse_json
from chassis.loops import LoopBase
from omegaai.token import TokenSource

_log = structlog.get_logger(__name__)

RECORD_END: Final = "\x1e"
_HANDSHAKE: Final = json.dumps({"protocol": "json", "version": 1}) + RECORD_END
_PING: Final = json.dumps({"type": 6}) + RECORD_END
_INVOCATION, _CLOSE = 1, 7
_PING_SECONDS: Final = 15.0
_SILENCE_SECONDS: Final = 60.0
_LOOK_SECONDS: Final = 1.0
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.5, 30.0
_LARGEST_FRAME_BYTES: Final = 2**20
_REQUESTS_TO_CONNECT: Final = 3
"""Steps of one attempt: a token, the hub's address, the hub."""


class ChangeFeed(LoopBase):
    """Listens and calls ``wake``: once per new connection (for changes missed meanwhile), then at each change."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        base_url: str,
        tokens: TokenSource,
        *,
        hub: str,
        user: str,
        wake: Callable[[], None],
        allowed_hosts: Iterable[str] = (),
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        """``allowed_hosts``: hosts besides ``base_url``'s that the hub may have; OmegaAI's hub is another service."""
        super().__init__()
        self._partner = HttpPartner(
            session,
            "OmegaAI",
            base_url,
            setting="omegaai.base_url",
            allowed_hosts=allowed_hosts,
            timeout_seconds=timeout_seconds,
        )
        self._url = f"{base_url.rstrip('/')}/auth/Token/SignalRConnectionInfo"
        self._query = {"hub": hub, "user": user}
        self._tokens = tokens
        self._wake = wake
        self.is_connected = False

    async def run(self) -> None:
        """Stay connected until stopped; after a lost connection, reconnect with growing pauses."""
        pause = _FIRST_PAUSE_SECONDS
        while not self.stopping:
            self.beat()
            try:
                await self._listen()
                pause = _FIRST_PAUSE_SECONDS
            except (Transient, Permanent) as error:
                _log.info("feed.lost", reason=error.reason, retry_seconds=pause)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                _log.info("feed.lost", reason=type(error).__name__, retry_seconds=pause)
            self.is_connected = False
            await self.pause(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    async def _listen(self) -> None:
        with self.waiting("omegaai", longest_seconds=_REQUESTS_TO_CONNECT * self._partner.timeout_seconds):
            hub = await self._negotiate()
            socket = await self._partner.listen(hub, what="the feed", largest_frame_bytes=_LARGEST_FRAME_BYTES)
        async with socket:
            await self._send(socket, _HANDSHAKE)
            self.is_connected = True
            self._wake()
            heard_at = pinged_at = time.monotonic()
            while not self.stopping:
                self.beat()
                now = time.monotonic()
                if now - pinged_at > _PING_SECONDS:
                    await self._send(socket, _PING)
                    pinged_at = now
                try:
                    async with asyncio.timeout(_LOOK_SECONDS):
                        message = await socket.receive()
                except TimeoutError:
                    if time.monotonic() - heard_at > _SILENCE_SECONDS:
                        return
                    continue
                heard_at = time.monotonic()
                if message.type is not aiohttp.WSMsgType.TEXT or not self._take(message.data):
                    return

    def _take(self, data: str) -> bool:
        """Read the records of one frame; False when the server closes the feed."""
        for record in filter(None, data.split(RECORD_END)):
            try:
                value = parse_json(record.encode("utf-8", "replace"))
            except ValueError:
                raise UnusableAnswer("OmegaAI: the feed speaks no JSON") from None
            kind = value.get("type") if isinstance(value, dict) else None
            if kind == _INVOCATION:
                self._wake()
            elif kind == _CLOSE:
                return False
        return True

    async def _send(self, socket: aiohttp.ClientWebSocketResponse, record: str) -> None:
        """Send one record. A server that stops reading is dropped like a server that stops sending."""
        async with asyncio.timeout(self._partner.timeout_seconds):
            await socket.send_str(record)

    async def _negotiate(self) -> URL:
        token = await self._tokens.token()
        headers = {"Authorization": f"Bearer {token}"}
        answer = await self._partner.ask(
            "GET", self._url, what="the feed's address", headers=headers, query=self._query
        )
        if answer.status == 401:
            self._tokens.reject(token)
        if answer.status != 200:
            raise Transient(
                f"OmegaAI: the request for the feed's address was answered {answer.status}",
                retry_after_seconds=answer.retry_after_seconds,
            )
        try:
            found: Any = await answer.json()
        except ValueError:
            found = None
        if not isinstance(found, dict) or not isinstance(found.get("url"), str):
            raise UnusableAnswer("OmegaAI: the answer holds no address of the feed")
        return self._partner.address(found["url"]).update_query(access_token=str(found.get("accessToken") or ""))
