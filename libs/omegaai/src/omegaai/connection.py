"""A service's connection to OmegaAI: a session, a token, the FHIR client, the change feed."""

from collections.abc import Callable
from dataclasses import dataclass

import aiohttp

from chassis.http import open_session
from omegaai.client import FhirClient
from omegaai.feed import ChangeFeed
from omegaai.settings import OmegaAISettings
from omegaai.token import TokenSource


@dataclass(frozen=True, slots=True)
class Connection:
    """An open connection; the owner calls ``close`` at the end."""

    settings: OmegaAISettings
    session: aiohttp.ClientSession
    tokens: TokenSource
    client: FhirClient

    def feed(self, wake: Callable[[], None]) -> ChangeFeed:
        """The change feed, which calls ``wake`` at each change."""
        return ChangeFeed(
            self.session,
            self.settings.base_url,
            self.tokens,
            hub=self.settings.hub,
            user=self.settings.client_id,
            wake=wake,
            allowed_hosts=self.settings.hosts,
            timeout_seconds=self.settings.timeout_seconds,
        )

    async def close(self) -> None:
        await self.session.close()


def connect(settings: OmegaAISettings) -> Connection:
    """A connection with its own session; no request is made yet."""
    session = open_session(connections=4 * settings.concurrency)
    tokens = TokenSource(
        session,
        f"{settings.base_url.rstrip('/')}/auth/oauth2/v2.0/token",
        client_id=settings.client_id,
        client_secret=settings.client_secret.get_secret_value(),
        scope=settings.scope,
        timeout_seconds=settings.timeout_seconds,
    )
    client = FhirClient(
        session,
        settings.base_url,
        tokens,
        allowed_hosts=settings.hosts,
        timeout_seconds=settings.timeout_seconds,
        largest_answer_bytes=settings.largest_answer_bytes,
    )
    return Connection(settings, session, tokens, client)
