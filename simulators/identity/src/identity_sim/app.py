"""The provider's routes. Clients' errors are refused as OpenID Connect Core and RFC 6749, 7636 and 9207 require."""

import asyncio
import base64
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, OctKey
from starlette.applications import Starlette
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from identity_sim.people import PEOPLE, Person
from identity_sim.settings import Settings, allows
from simulator_kit import web
from simulator_kit.control import Control
from simulator_kit.misbehaviour import Misbehaviour, Mode, Target, slow, status
from simulator_kit.store import Store

PACKAGE: Final = Path(__file__).parent
TOKEN_SECONDS: Final = 300
ASKED_SECONDS: Final = 600.0
MOST_KEPT: Final = 1000

Claims = dict[str, Any]
FALSE_CLAIMS: Final[Mapping[str, tuple[str, Callable[[Claims], Claims]]]] = {
    "wrong-issuer": ("The token names another issuer.", lambda c: {**c, "iss": "http://127.0.0.1:1"}),
    "wrong-audience": ("The token is for another client.", lambda c: {**c, "aud": "another"}),
    "two-audiences": (
        "The token is for two clients, and issued to the other.",
        lambda c: {**c, "aud": [c["aud"], "another"], "azp": "another"},
    ),
    "expired": ("The token ended an hour ago.", lambda c: {**c, "iat": c["iat"] - 3900, "exp": c["exp"] - 3900}),
    "clock-ahead": ("The token begins in an hour.", lambda c: {**c, "iat": c["iat"] + 3600, "exp": c["exp"] + 3600}),
    "not-yet": ("The token may not be used for an hour.", lambda c: {**c, "nbf": c["iat"] + 3600}),
    "other-nonce": ("The token belongs to another log-in.", lambda c: {**c, "nonce": "another"}),
    "no-role": ("The token has no claim roles.", lambda c: {k: v for k, v in c.items() if k != "roles"}),
    "foreign-role": ("The token's roles are not known.", lambda c: {**c, "roles": ["gardener"]}),
    "no-subject": ("The token names nobody.", lambda c: {k: v for k, v in c.items() if k != "sub"}),
    "no-times": ("The token has no times.", lambda c: {k: v for k, v in c.items() if k not in ("iat", "exp")}),
}  # fmt: skip
TARGETS: Final = (
    Target(
        "id-token",
        "The ID token that the next log-in gets.",
        [
            *(Mode(name, words) for name, (words, _) in FALSE_CLAIMS.items()),
            Mode("foreign-key", "A key that is not published has signed it."),
            Mode("unsigned", "Its algorithm is none."),
            Mode("shared-secret", "It is signed with the client's secret (HS256)."),
        ],
    ),
    Target(
        "discovery",
        "The document about the provider.",
        [Mode("wrong-issuer", "It names another issuer."), status(503, range(400, 600)), slow(30.0)],
    ),
    Target("token", "The exchange of a code.", [status(503, range(400, 600)), slow(30.0)]),
)


@dataclass(frozen=True, slots=True)
class Asked:
    """A log-in that a client requested, and later the code for it."""

    client: str
    redirect: str
    state: str
    nonce: str
    challenge: str
    until: float
    person: Person | None = None


class _RefusedError(Exception):
    def __init__(self, error: str, words: str, *, status: int = 400) -> None:
        super().__init__(words)
        self.error = error
        self.status = status


@dataclass
class Provider:
    """One provider. `now`: seconds since the epoch. `key` may be replaced, as a real provider renews its keys."""

    settings: Settings
    store: Store
    now: Callable[[], float] = time.time
    key: ECKey = field(
        default_factory=lambda: ECKey.generate_key("P-256", {"use": "sig", "alg": "ES256"}, auto_kid=True)
    )
    misbehaviour: Misbehaviour = field(default_factory=lambda: Misbehaviour(TARGETS))
    _asked: dict[str, Asked] = field(default_factory=dict)
    _codes: dict[str, Asked] = field(default_factory=dict)

    @property
    def app(self) -> Starlette:
        templates = web.templates(PACKAGE / "pages", product="Development log-in")
        control = Control(
            self.store, self.misbehaviour, templates, frame="base.html", health=lambda _work: {"status": "ok"}
        )
        self._templates = templates
        routes = [
            Route("/.well-known/openid-configuration", self.discovery),
            Route("/keys", self.keys),
            Route("/authorize", self.authorize),
            Route("/authorize", self.decide, methods=["POST"]),
            Route("/token", self.token, methods=["POST"]),
            Route("/end-session", self.end_session),
            Route("/", self.home),
            *control.routes(),
            web.static(PACKAGE),
        ]
        return Starlette(routes=routes, middleware=web.middleware("identity"))

    async def home(self, request: Request) -> Response:
        context = {"people": PEOPLE.values(), "issuer": self.settings.address}
        return web.page(self._templates, request, "home.html", context)

    async def discovery(self, _request: Request) -> Response:
        fault = self.misbehaviour.take("discovery")
        if fault is not None and fault.mode == "status":
            return Response(status_code=int(fault.status or 503))
        if fault is not None and fault.mode == "slow":
            await asyncio.sleep(fault.seconds)
        issuer = self.settings.address
        return JSONResponse(
            {
                "issuer": "http://127.0.0.1:1" if fault is not None and fault.mode == "wrong-issuer" else issuer,
                "authorization_endpoint": f"{issuer}/authorize",
                "token_endpoint": f"{issuer}/token",
                "jwks_uri": f"{issuer}/keys",
                "end_session_endpoint": f"{issuer}/end-session",
                "response_types_supported": ["code"],
                "grant_types_supported": ["authorization_code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["ES256"],
                "token_endpoint_auth_methods_supported": ["client_secret_basic"],
                "code_challenge_methods_supported": ["S256"],
                "scopes_supported": ["openid", "profile"],
                "claims_supported": ["sub", "preferred_username", "name", "roles"],
                "authorization_response_iss_parameter_supported": True,
                "suite_development": True,
            }
        )

    async def keys(self, _request: Request) -> Response:
        return JSONResponse(KeySet([self.key]).as_dict(private=False))

    async def authorize(self, request: Request) -> Response:
        """The page on which a click chooses the person who logs in."""
        query = request.query_params
        client, redirect = query.get("client_id", ""), query.get("redirect_uri", "")
        if not client or not allows(self.settings.redirects, redirect):
            # Nothing is sent to an unknown address; the person sees the error.
            problem = "redirect_uri is not one of this provider's, or client_id is missing."
            return web.page(self._templates, request, "refused.html", {"problem": problem}, status=400)
        try:
            asked = self._asked_for(query, client, redirect)
        except _RefusedError as error:
            return self._answer(redirect, query.get("state", ""), error=error.error, error_description=str(error))
        handle = secrets.token_urlsafe(24)
        _keep(self._asked, handle, asked, self.now())
        context = {"people": PEOPLE, "client": client, "handle": handle}
        page = web.page(self._templates, request, "authorize.html", context)
        # Chromium also applies the form policy to the redirect after a form.
        place = urlsplit(redirect)
        page.headers["Content-Security-Policy"] = (
            "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; frame-ancestors 'none'; "
            f"form-action 'self' {place.scheme}://{place.netloc}"
        )
        return page

    def _asked_for(self, query: Mapping[str, str], client: str, redirect: str) -> Asked:
        if query.get("response_type") != "code":
            raise _RefusedError("unsupported_response_type", "response_type is code.")
        if "openid" not in query.get("scope", "").split():
            raise _RefusedError("invalid_scope", "scope holds openid.")
        if query.get("code_challenge_method") != "S256" or len(query.get("code_challenge", "")) != 43:
            raise _RefusedError("invalid_request", "PKCE with S256 is required.")
        for name in ("state", "nonce"):
            if len(query.get(name, "")) < 16:
                raise _RefusedError("invalid_request", f"{name} is required, 16 characters or more.")
        return Asked(
            client, redirect, query["state"], query["nonce"], query["code_challenge"], self.now() + ASKED_SECONDS
        )

    async def decide(self, request: Request) -> Response:
        form = await request.form()
        asked = _taken(self._asked, web.text_of(form, "handle"), self.now())
        person = PEOPLE.get(web.text_of(form, "person"))
        if asked is None or web.is_from_elsewhere(request):
            problem = "This page is over: begin the log-in again."
            return web.page(self._templates, request, "refused.html", {"problem": problem}, status=400)
        if person is None:
            return self._answer(asked.redirect, asked.state, error="access_denied")
        code = secrets.token_urlsafe(32)
        until = self.now() + self.settings.code_seconds
        _keep(self._codes, code, replace(asked, person=person, until=until), self.now())
        await self.store.write(
            lambda work: work.record("effect", "person.logged-in", person.subject, {"client": asked.client})
        )
        return self._answer(asked.redirect, asked.state, code=code)

    def _answer(self, redirect: str, state: str, **said: str) -> Response:
        return RedirectResponse(f"{redirect}?{urlencode({**said, 'state': state, 'iss': self.settings.address})}", 303)

    async def token(self, request: Request) -> Response:
        fault = self.misbehaviour.take("token")
        if fault is not None and fault.mode == "status":
            return Response(status_code=int(fault.status or 503))
        if fault is not None:
            await asyncio.sleep(fault.seconds)
        try:
            return JSONResponse(self._exchanged(request, await request.form()), headers={"Cache-Control": "no-store"})
        except _RefusedError as error:
            asks = {"WWW-Authenticate": "Basic"} if error.status == 401 else {}
            said = {"error": error.error, "error_description": str(error)}
            return JSONResponse(said, error.status, headers=asks)

    def _exchanged(self, request: Request, form: FormData) -> Mapping[str, Any]:
        client = self._client(request)
        if web.text_of(form, "grant_type") != "authorization_code":
            raise _RefusedError("unsupported_grant_type", "grant_type is authorization_code.")
        asked = _taken(self._codes, web.text_of(form, "code"), self.now())  # valid once, whatever the result
        if asked is None or asked.person is None:
            raise _RefusedError("invalid_grant", "The code is not known, is over, or was used.")
        if asked.client != client or asked.redirect != web.text_of(form, "redirect_uri"):
            raise _RefusedError("invalid_grant", "The code belongs to another client or redirect_uri.")
        verifier = web.text_of(form, "code_verifier")
        if not 43 <= len(verifier) <= 128 or not hmac.compare_digest(_challenge(verifier), asked.challenge):
            raise _RefusedError("invalid_grant", "code_verifier is not the one of code_challenge.")
        return {
            "access_token": secrets.token_urlsafe(24),
            "token_type": "Bearer",
            "expires_in": TOKEN_SECONDS,
            "id_token": self._id_token(asked, asked.person),
        }

    def _client(self, request: Request) -> str:
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        try:
            name, _, secret = base64.b64decode(given, validate=True).decode().partition(":")
        except ValueError:
            name, secret = "", ""
        is_right = hmac.compare_digest(unquote(secret).encode(), self.settings.client_secret.encode())
        if scheme.lower() != "basic" or not is_right:
            raise _RefusedError("invalid_client", "The client's name and secret come by Basic.", status=401)
        return unquote(name)

    def _id_token(self, asked: Asked, person: Person) -> str:
        issued = int(self.now())
        claims: Claims = {
            "iss": self.settings.address,
            "sub": person.subject,
            "aud": asked.client,
            "iat": issued,
            "exp": issued + TOKEN_SECONDS,
            "nonce": asked.nonce,
            "preferred_username": person.username,
            "name": person.name,
            "roles": list(person.roles),
        }
        fault = self.misbehaviour.take("id-token")
        if fault is None:
            return self._signed(claims, self.key)
        if fault.mode in FALSE_CLAIMS:
            return self._signed(FALSE_CLAIMS[fault.mode][1](claims), self.key)
        if fault.mode == "foreign-key":
            return self._signed(claims, ECKey.generate_key("P-256", auto_kid=True))
        if fault.mode == "shared-secret":
            secret = OctKey.import_key(self.settings.client_secret.ljust(32, "."))
            return jwt.encode({"alg": "HS256", "kid": self.key.kid}, claims, secret, algorithms=["HS256"])
        header = {"alg": "none", "kid": self.key.kid}
        return ".".join([*(_base64(json.dumps(part).encode()) for part in (header, claims)), ""])

    def _signed(self, claims: Claims, key: ECKey) -> str:
        return jwt.encode({"alg": "ES256", "kid": key.kid}, claims, key, algorithms=["ES256"])

    async def end_session(self, request: Request) -> Response:
        """The provider keeps no session: it sends the browser back when the address is known."""
        back = request.query_params.get("post_logout_redirect_uri", "")
        if request.query_params.get("client_id") and allows(self.settings.logouts, back):
            return RedirectResponse(back, 303)
        problem = "You are logged out. post_logout_redirect_uri is not one of this provider's."
        return web.page(self._templates, request, "refused.html", {"problem": problem}, status=400)


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Provider]:
    """A provider with its ledger."""
    store = await Store.open(settings.data_dir / "identity.sqlite3")
    try:
        yield Provider(settings, store)
    finally:
        await store.close()


def _keep(kept: dict[str, Asked], name: str, asked: Asked, now: float) -> None:
    for old in [key for key, one in kept.items() if one.until < now]:
        del kept[old]
    while len(kept) >= MOST_KEPT:
        del kept[next(iter(kept))]
    kept[name] = asked


def _taken(kept: dict[str, Asked], name: str, now: float) -> Asked | None:
    asked = kept.pop(name, None)
    return asked if asked is not None and asked.until >= now else None


def _challenge(verifier: str) -> str:
    return _base64(hashlib.sha256(verifier.encode()).digest())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
