"""OAuth 2 client credentials (RFC 6749 §4.4): short-lived random tokens that this process remembers."""

import hmac
import secrets
import time
from base64 import b64decode
from contextlib import suppress

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from omegaai_sim.fhir import strangers
from omegaai_sim.fhir.outcome import Refused
from omegaai_sim.settings import CLIENT_ID, CLIENT_SECRET
from simulator_kit.misbehaviour import Misbehaviour


class Tokens:
    """Access tokens, and when each ends (`time.monotonic`)."""

    def __init__(self, lifetime_seconds: int, misbehaviour: Misbehaviour) -> None:
        self._lifetime_seconds = lifetime_seconds
        self._misbehaviour = misbehaviour
        self._ends: dict[str, tuple[str, float]] = {}

    def issue(self, client: str) -> tuple[str, int]:
        """A token and its life in seconds."""
        now = time.monotonic()
        self._ends = {token: known for token, known in self._ends.items() if known[1] > now}
        token = secrets.token_urlsafe(32)
        self._ends[token] = (client, now + self._lifetime_seconds)
        return token, self._lifetime_seconds

    def client_of(self, request: Request) -> str:
        """The client of a request. Raises `Refused` (401)."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        return self.client_of_token(token if scheme.lower() == "bearer" else "")

    def client_of_token(self, token: str) -> str:
        known = self._ends.get(token)
        if known is None or known[1] < time.monotonic():
            raise Refused(401, "login", "a valid bearer token is required")
        return known[0]

    async def answer(self, request: Request) -> Response:
        """`POST /auth/oauth2/v2.0/token`."""
        fault = self._misbehaviour.take("token")
        if fault is not None and fault.mode == "refuse":
            return JSONResponse({"error": "invalid_client", "error_description": "the client secret has expired"}, 401)
        if fault is not None and fault.mode in strangers.MODES:
            return strangers.answer(fault.mode)
        if fault is not None:
            return JSONResponse({"error": "temporarily_unavailable"}, int(fault.status or 503))
        form = await request.form()
        client, secret = str(form.get("client_id", "")), str(form.get("client_secret", ""))
        scheme, _, encoded = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "basic":
            with suppress(ValueError):
                client, _, secret = b64decode(encoded).decode().partition(":")
        if form.get("grant_type") != "client_credentials":
            return JSONResponse({"error": "unsupported_grant_type"}, 400)
        right = hmac.compare_digest(client.encode(), CLIENT_ID.encode()) & hmac.compare_digest(
            secret.encode(), CLIENT_SECRET.encode()
        )
        if not right:
            return JSONResponse({"error": "invalid_client"}, 401, headers={"WWW-Authenticate": "Basic"})
        token, seconds = self.issue(client)
        granted = {"token_type": "Bearer", "access_token": token, "expires_in": seconds}
        return JSONResponse(granted, headers={"Cache-Control": "no-store"})
