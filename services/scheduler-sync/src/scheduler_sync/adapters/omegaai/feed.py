"""OmegaAI's change feed (SignalR, JSON hub protocol). It is at most once and proves nothing: all it may do is wake the
reader of the Task queue, which is the guarantee.
"""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import aiohttp
import structlog

from chassis.errors import NeedsSetup, Transient
from chassis.loops import LoopBase
from scheduler_sync.adapters.omegaai.token import TokenSource

_log = structlog.get_logger(__name__)

RECORD_END: Final = "\x1e"
_HANDSHAKE: Final = json.dumps({"protocol": "json", "version": 1}) + RECORD_END
_PING: Final = json.dumps({"type": 6}) + RECORD_END
_INVOCATION, _CLOSE = 1, 7
_PING_SECONDS: Final = 15.0
_SILENCE_SECONDS: Final = 60.0
_LOOK_SECONDS: Final = 1.0
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.5, 30.0


class ChangeFeed(LoopBase):
    """Listens and calls ``wake``: once when a connection stands (what was missed meanwhile), then at each change."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        base_url: str,
        tokens: TokenSource,
        *,
        hub: str,
        user: str,
        wake: Callable[[], None],
    ) -> None:
        super().__init__()
        self._session = session
        self._url = f"{base_url.rstrip('/')}/auth/Token/SignalRConnectionInfo"
        self._query = {"hub": hub, "user": user}
        self._tokens = tokens
        self._wake = wake
        self.is_connected = False

    async def run(self) -> None:
        """Stay connected until stopped; a lost connection is made again with growing pauses."""
        pause = _FIRST_PAUSE_SECONDS
        while not self.stopping:
            self.beat()
            try:
                await self._listen()
                pause = _FIRST_PAUSE_SECONDS
            except (Transient, NeedsSetup, aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                _log.info("feed.lost", error=type(error).__name__, retry_seconds=pause)
            self.is_connected = False
            await self.pause(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    async def _listen(self) -> None:
        url = await self._negotiate()
        async with self._session.ws_connect(url, heartbeat=None, autoping=True) as socket:
            await socket.send_str(_HANDSHAKE)
            self.is_connected = True
            self._wake()
            heard_at = pinged_at = time.monotonic()
            while not self.stopping:
                self.beat()
                now = time.monotonic()
                if now - pinged_at > _PING_SECONDS:
                    await socket.send_str(_PING)
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
        """Look at the records of one frame; False when the server says goodbye."""
        for record in filter(None, data.split(RECORD_END)):
            kind = json.loads(record).get("type")
            if kind == _INVOCATION:
                self._wake()
            elif kind == _CLOSE:
                return False
        return True

    async def _negotiate(self) -> str:
        token = await self._tokens.token()
        headers = {"Authorization": f"Bearer {token}"}
        async with self._session.get(self._url, params=self._query, headers=headers) as response:
            if response.status == 401:
                self._tokens.reject(token)
            if response.status != 200:
                raise Transient(f"OmegaAI's feed answered {response.status}")
            answer: Any = await response.json(content_type=None)
        if not isinstance(answer, dict) or not isinstance(answer.get("url"), str):
            raise Transient("OmegaAI's feed gave no address")
        parts = urlsplit(answer["url"])
        scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
        query = dict(parse_qsl(parts.query))
        query["access_token"] = str(answer.get("accessToken") or "")
        return urlunsplit((scheme, parts.netloc, parts.path, urlencode(query), ""))
