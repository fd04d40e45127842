"""OAuth 2 client credentials: one token for all requests, fetched again before it expires."""

import asyncio
import math
import re
import time
from collections.abc import Callable
from typing import Any, Final

import aiohttp

from chassis.errors import AccessRefused, Transient, UnusableAnswer
from chassis.http import TIMEOUT_SECONDS, Answer, HttpPartner

_MARGIN_SECONDS: Final = 60.0
_SHORTEST_LIFE_SECONDS: Final = 5.0
_USUAL_LIFE_SECONDS: Final = 300.0
_TOKEN: Final = re.compile(r"[!-~]{1,16384}")
"""Characters that may stand in a header: no blanks, no line ends."""
_CREDENTIALS: Final = "omegaai.client_id, omegaai.client_secret, omegaai.scope"
_ADDRESS: Final = "omegaai.base_url"
_WHAT: Final = "the token endpoint"


class TokenSource:
    """Gives a bearer token. ``reject`` reports a token that the server refused."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: str,
        *,
        client_id: str,
        client_secret: str,
        scope: str,
        clock: Callable[[], float] = time.monotonic,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        self._partner = HttpPartner(session, "OmegaAI", url, setting=_ADDRESS, timeout_seconds=timeout_seconds)
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
        self._fetches = 0
        self._failure: Transient | None = None

    async def token(self) -> str:
        """A token with some time left. Transient without an answer, AccessRefused when our credentials are refused.

        Callers that come while a token is being fetched share its result, also a refusal: a silent endpoint costs all
        of them one time-out, and a wrong secret is sent once.
        """
        fetches = self._fetches
        async with self._turn:
            if self._failure is not None and self._fetches > fetches:
                raise self._failure.with_traceback(None)
            if self._token is None or self._clock() >= self._renew_at:
                await self._renew()
            return self._token or ""

    async def _renew(self) -> None:
        try:
            token, lifetime_seconds = await self._fetch()
        except Transient as error:
            self._failure = error
            raise
        else:
            self._failure = None
        finally:
            self._fetches += 1
        margin = min(_MARGIN_SECONDS, lifetime_seconds / 2)
        self._token = token
        self._renew_at = self._clock() + max(_SHORTEST_LIFE_SECONDS, lifetime_seconds - margin)

    def reject(self, token: str) -> None:
        """Forget ``token``, so that the next request fetches another. A token that was already replaced is ignored."""
        if self._token == token:
            self._token = None

    async def _fetch(self) -> tuple[str, float]:
        answer = await self._partner.ask("POST", self._url, what=_WHAT, data=self._form)
        _check(answer)
        try:
            body = await answer.json()
        except ValueError:
            raise UnusableAnswer(f"OmegaAI: {_WHAT} answered 200 with what is no JSON") from None
        token = body.get("access_token") if isinstance(body, dict) else None
        if not isinstance(token, str) or _TOKEN.fullmatch(token) is None:
            raise UnusableAnswer(f"OmegaAI: {_WHAT} answered 200 without an access_token that can be used")
        return token, _lifetime_seconds(body.get("expires_in"))


def _check(answer: Answer) -> None:
    """Returns when the answer may hold a token. Its errors concern our access or the endpoint, never a message."""
    status = answer.status
    what = f"OmegaAI: {_WHAT} answered {status}"
    if status in (408, 425, 429) or (status >= 500 and status not in (501, 505, 511)):
        raise Transient(what, retry_after_seconds=answer.retry_after_seconds)
    if answer.is_page:
        raise AccessRefused(f"{what} with a web page", setting=f"{_ADDRESS}, or the proxy in front of OmegaAI")
    if status in (400, 401, 403):
        raise AccessRefused(f"{what}: it refuses the suite as a client", setting=_CREDENTIALS)
    if status >= 400:
        raise AccessRefused(what, setting=_ADDRESS)
    if status != 200:
        raise UnusableAnswer(what)


def _lifetime_seconds(given: Any) -> float:
    try:
        seconds = float(given)
    except (TypeError, ValueError, OverflowError):
        return _USUAL_LIFE_SECONDS
    return seconds if math.isfinite(seconds) and seconds > 0 else _USUAL_LIFE_SECONDS
