"""The identity provider: its discovery document, its keys, and the exchange of a code for an ID token.

It is asked through ``chassis.http`` at its own host, and at the hosts that the settings add. Its last answer is used
until a newer one comes; so an hour without the provider stops no service, and stops new log-ins only once its keys
change.
"""

import asyncio
import base64
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import quote, urlencode

import aiohttp
import structlog
from joserfc import jws, jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet
from yarl import URL

from chassis.clock import utc_now
from chassis.errors import NeedsSetup, Transient
from chassis.http import Answer, HttpPartner, open_session
from chassis.observe import Metrics, meters
from chassis.settings import HttpSettings, SettingsError
from chassis.web.oidc.claims import LogInRefused, check

ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Algorithms with a key of the provider's own. None with the shared secret, and never ``none``."""
FRESH_SECONDS: Final = 300.0
START_SECONDS: Final = 3.0
AGAIN_SECONDS: Final = 10.0
NEW_KEYS_SECONDS: Final = 10.0
"""Least time between two requests for an unknown key: a stranger's token must not make us ask at will."""
NAME: Final = "the identity provider"
SETTING: Final = "http.oidc.issuer"
LARGEST_ANSWER_BYTES: Final = 256 * 2**10
LARGEST_TOKEN: Final = 16 * 2**10
DEVELOPMENT_MARK: Final = "suite_development"
"""Marks the discovery document of the development provider, which lets anybody in with any role."""

log = structlog.get_logger(__name__)


class ProviderAway(Exception):  # noqa: N818 (what happened)
    """The provider does not answer now."""


class WrongProvider(SettingsError):  # noqa: N818 (what it is)
    """The answer comes from another provider than the settings name, or cannot be used."""

    def __init__(self, problem: str) -> None:
        super().__init__([f"{SETTING}: {problem}"])


@dataclass(frozen=True, slots=True)
class Known:
    """The provider's discovery document. ``clock_ahead_seconds``: how far its clock is ahead of ours."""

    authorization: str
    token: str
    end_session: str | None
    takes_basic: bool
    says_issuer: bool
    keys: KeySet
    clock_ahead_seconds: float


class Provider:
    """One per process. ``start`` asks once; ``keep_fresh`` goes on asking until it is cancelled."""

    def __init__(self, http: HttpSettings, metrics: Metrics) -> None:
        self.settings = http.oidc
        self._metrics = metrics
        self._is_development = http.is_development
        self._session: aiohttp.ClientSession | None = None
        self.known: Known | None = None
        self.problem = "it did not answer yet"
        self._looked_for_keys = -NEW_KEYS_SECONDS
        self._looking = asyncio.Lock()

    async def start(self) -> None:
        """Raises ``WrongProvider`` for the wrong one; logs one line when it is away or its clock is far off.

        A provider that hangs delays a service's start for ``START_SECONDS`` at most.
        """
        self._metrics.set(meters.IDENTITY_PROVIDER_UNUSABLE, 1)  # until its first answer
        try:
            async with asyncio.timeout(START_SECONDS):
                known = await self.look()
        except (ProviderAway, TimeoutError):
            log.error("oidc.away", issuer=self.settings.issuer, problem=self.problem, passwords_stay=True)  # noqa: TRY400
            return
        ahead = known.clock_ahead_seconds
        if abs(ahead) > self.settings.leeway_seconds:
            log.error("oidc.clock-off", issuer=self.settings.issuer, provider_ahead_seconds=round(ahead))

    async def keep_fresh(self) -> None:
        """Asks again and again; logs each change once."""
        while True:
            await asyncio.sleep(AGAIN_SECONDS if self.known is None or self.problem else FRESH_SECONDS)
            before = self.problem
            try:
                await self.look()
            except (ProviderAway, WrongProvider):
                if self.problem != before:
                    log.error("oidc.unusable", issuer=self.settings.issuer, problem=self.problem)  # noqa: TRY400
            else:
                if before:
                    log.info("oidc.back", issuer=self.settings.issuer)

    async def look(self) -> Known:
        """Asks for the discovery document and the keys. Raises ``ProviderAway``, ``WrongProvider``."""
        async with self._looking:
            try:
                found = await self._look()
            except (ProviderAway, WrongProvider) as error:
                self.problem = str(error)
                self._metrics.set(meters.IDENTITY_PROVIDER_UNUSABLE, 1)
                raise
            self.known, self.problem = found, ""
            self._metrics.set(meters.IDENTITY_PROVIDER_UNUSABLE, 0)
            return found

    async def _look(self) -> Known:
        said, ahead = await self._document(f"{self._reached_at.rstrip('/')}/.well-known/openid-configuration")
        if said.get("issuer") != self.settings.issuer:
            raise WrongProvider("the discovery document there is of another issuer: they must be equal, sign by sign")
        if said.get(DEVELOPMENT_MARK) and not self._is_development:
            raise WrongProvider("that is the development provider: it lets anybody in, and production refuses it")
        keys, _ = await self._document(self._asked_at(said, "jwks_uri"))
        methods = said.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
        return Known(
            authorization=self._own(said, "authorization_endpoint"),
            token=self._asked_at(said, "token_endpoint"),
            end_session=self._own(said, "end_session_endpoint") if said.get("end_session_endpoint") else None,
            takes_basic="client_secret_basic" in methods,
            says_issuer=said.get("authorization_response_iss_parameter_supported") is True,
            keys=_keys(keys),
            clock_ahead_seconds=ahead,
        )

    async def _document(self, url: str) -> tuple[Mapping[str, Any], float]:
        answer = await self._ask("GET", url, what="what it says of itself")
        if answer.status != 200:
            raise WrongProvider(f"{_path(url)} there answers {answer.status}")
        return await _object(answer, _path(url)), _ahead_seconds(answer)

    def _own(self, said: Mapping[str, Any], name: str) -> str:
        """An endpoint of the document: at the provider's own host, or at one that the settings add."""
        url = said.get(name)
        if not isinstance(url, str) or not url:
            raise WrongProvider(f"its discovery document has no {name}")
        try:
            HttpPartner(self._lent, NAME, self.settings.issuer, setting=SETTING, allowed_hosts=self._hosts).address(url)
        except NeedsSetup:
            raise WrongProvider(f"its {name} is at another host: HTTP__OIDC__ALLOWED_HOSTS lists more") from None
        return url

    def _asked_at(self, said: Mapping[str, Any], name: str) -> str:
        """An endpoint that we ask ourselves: at our own address of the issuer, where there is one."""
        url = URL(self._own(said, name))
        issuer, internal = URL(self.settings.issuer), URL(self._reached_at)
        if url.origin() != issuer.origin():
            return str(url)
        return str(url.with_scheme(internal.scheme).with_host(internal.host or "").with_port(internal.port))

    @property
    def _reached_at(self) -> str:
        return self.settings.internal_url or self.settings.issuer

    @property
    def _hosts(self) -> list[str]:
        return [host.strip() for host in self.settings.allowed_hosts.split(",") if host.strip()]

    @property
    def _lent(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = open_session(connections=4)
        return self._session

    def go_to(self, *, redirect: str, state: str, nonce: str, challenge: str) -> str:
        """The address that the browser opens to log in. Raises ``ProviderAway`` when the provider is unknown yet."""
        query = {
            "response_type": "code", "client_id": self.settings.client_id, "redirect_uri": redirect,
            "scope": self.settings.scope, "state": state, "nonce": nonce,
            "code_challenge": challenge, "code_challenge_method": "S256",
        }  # fmt: skip
        return _with_query(self._now_known().authorization, query)

    def end_session(self, *, back: str) -> str | None:
        """The address that ends the provider's own session; None where it has none."""
        if self.known is None or self.known.end_session is None:
            return None
        query = {"client_id": self.settings.client_id, "post_logout_redirect_uri": back}
        return _with_query(self.known.end_session, query)

    def form_targets(self) -> tuple[str, ...]:
        """The origins that a form of ours may lead to: the provider's, at log-out."""
        place = None if self.known is None else self.known.end_session
        return () if place is None else (str(URL(place).origin()),)

    async def claims(self, *, code: str, verifier: str, redirect: str, nonce: str) -> Mapping[str, Any]:
        """The checked claims of the ID token for ``code``. Raises ``LogInRefused``, ``ProviderAway``."""
        known = self._now_known()
        secret = self.settings.client_secret
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect, "code_verifier": verifier}
        headers = {"Accept": "application/json"}
        if secret is not None and known.takes_basic:
            login = f"{quote(self.settings.client_id, safe='')}:{quote(secret.get_secret_value(), safe='')}"
            headers["Authorization"] = "Basic " + base64.b64encode(login.encode()).decode()
        else:
            form["client_id"] = self.settings.client_id
            if secret is not None:
                form["client_secret"] = secret.get_secret_value()
        answer = await self._ask("POST", known.token, what="the exchange of a code", headers=headers, data=form)
        if answer.status != 200:
            raise LogInRefused(f"The identity provider did not accept the code of this log-in ({answer.status}).")
        try:
            token = (await _object(answer, "token")).get("id_token")
        except WrongProvider:
            token = None
        if not isinstance(token, str) or len(token) > LARGEST_TOKEN:
            raise LogInRefused("The identity provider gave no ID token.")
        claims = await self._decoded(token)
        check(claims, self.settings, nonce=nonce, now=time.time())
        return claims

    async def _decoded(self, token: str) -> Mapping[str, Any]:
        """The claims of a token that a key of the provider's has signed. An unknown key is asked for once."""
        for may_look in (True, False):
            try:
                return jwt.decode(token, self._now_known().keys, algorithms=ALGORITHMS, registry=_REGISTRY).claims
            except InvalidKeyIdError:
                if not may_look or time.monotonic() - self._looked_for_keys < NEW_KEYS_SECONDS:
                    break
                self._looked_for_keys = time.monotonic()
                try:
                    await self.look()
                except WrongProvider as error:
                    raise ProviderAway(str(error)) from error
            except (JoseError, ValueError) as error:
                raise LogInRefused(f"The ID token's signature is not trusted ({type(error).__name__}).") from error
        raise LogInRefused("The ID token is signed with a key that the identity provider does not publish.")

    def _now_known(self) -> Known:
        if self.known is None:
            raise ProviderAway(self.problem)
        return self.known

    async def _ask(self, method: str, url: str, *, what: str, **more: Any) -> Answer:
        try:
            answer = await self._partner().ask(method, url, what=what, largest_bytes=LARGEST_ANSWER_BYTES, **more)
        except (Transient, NeedsSetup) as error:
            raise ProviderAway(error.reason) from error
        if answer.status >= 500 or answer.status in (408, 425, 429):
            raise ProviderAway(f"the identity provider: {what} answered {answer.status}")
        return answer

    def _partner(self) -> HttpPartner:
        return HttpPartner(
            self._lent,
            NAME,
            self._reached_at,
            setting=SETTING,
            allowed_hosts=self._hosts,
            timeout_seconds=self.settings.timeout_seconds,
        )

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


_REGISTRY: Final = jws.JWSRegistry(algorithms=list(ALGORITHMS))


def _keys(said: Mapping[str, Any]) -> KeySet:
    """The signing keys. Raises ``WrongProvider`` when none of them can be used."""
    listed = said.get("keys")
    usable = [
        one
        for one in (listed if isinstance(listed, list) else [])
        if isinstance(one, dict) and one.get("kty") in ("RSA", "EC", "OKP") and one.get("use", "sig") == "sig"
    ]
    try:
        return KeySet.import_key_set({"keys": usable})
    except (JoseError, ValueError, KeyError, TypeError) as error:
        raise WrongProvider(f"its keys cannot be used ({type(error).__name__})") from error


async def _object(answer: Answer, what: str) -> Mapping[str, Any]:
    try:
        value = await answer.json()
    except (ValueError, Transient):
        value = None
    if not isinstance(value, dict):
        raise WrongProvider(f"{what} there is no JSON object")
    return value


def _ahead_seconds(answer: Answer) -> float:
    """How far the provider's clock is ahead of ours, to the second; 0 where it sends no time."""
    try:
        said = parsedate_to_datetime(answer.headers.get("Date", ""))
        return (said - utc_now()).total_seconds()
    except (TypeError, ValueError):
        return 0.0


def _path(url: str) -> str:
    return URL(url).path


def _with_query(url: str, query: Mapping[str, str]) -> str:
    return f"{url}{'&' if '?' in url else '?'}{urlencode(query)}"
