"""OAuth 2 client credentials: one token for all requests, fetched again before it expires."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

import aiohttp

from chassis.errors import NeedsSetup, Transient

_MARGIN_SECONDS: Final = 60.0
_SHORTEST_LIFE_SECONDS: Final = 5.0


class TokenSource:
    """Gives a bearer token. ``reject`` tells it that the server no longer takes one."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: str,
        *,
        client_id: str,
        client_secret: str,
        scope: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._session = session
        self._url = url
        self._form = {
            "grant_type": "client_credentials",
            "client_id": client_id,
            "client_secret": client_secret,
            "scope": scope,
        }
        self._clock = clock
        self._turn = asyncio.Lock()
        self._token: str | None = None
        self._renew_at = 0.0

    async def token(self) -> str:
        """A token with some time to live. Transient when the server does not answer, NeedsSetup when it refuses."""
        async with self._turn:
            if self._token is None or self._clock() >= self._renew_at:
                self._token, lifetime_seconds = await self._fetch()
                margin = min(_MARGIN_SECONDS, lifetime_seconds / 2)
                self._renew_at = self._clock() + max(_SHORTEST_LIFE_SECONDS, lifetime_seconds - margin)
            return self._token

    def reject(self, token: str) -> None:
        """Forget ``token``; the next request fetches another. One that was replaced already is left alone."""
        if self._token == token:
            self._token = None

    async def _fetch(self) -> tuple[str, float]:
        try:
            async with self._session.post(self._url, data=self._form) as response:
                if response.status in (400, 401, 403):
                    raise NeedsSetup(
                        f"OmegaAI refuses the client (token endpoint answered {response.status})",
                        setting="omegaai.client_id, omegaai.client_secret",
                    )
                if response.status != 200:
                    raise Transient(f"OmegaAI's token endpoint answered {response.status}")
                answer = await response.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise Transient(f"OmegaAI's token endpoint: {type(error).__name__}") from error
        token = answer.get("access_token") if isinstance(answer, dict) else None
        if not isinstance(token, str) or not token:
            raise Transient("OmegaAI's token endpoint answered without an access_token")
        try:
            return token, float(answer.get("expires_in", 300))
        except (TypeError, ValueError):
            return token, 300.0
