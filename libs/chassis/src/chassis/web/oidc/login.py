"""The log-in and log-out pages: ``/login``, its start and call-back, ``/logout``, ``/logged-out``.

One cookie for ten minutes holds a random word, from which state, nonce and PKCE's verifier are derived. So a log-in
belongs to the browser that began it, and any process of the service can finish it.
"""

import base64
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

import structlog
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from chassis.errors import StoreUnavailable
from chassis.observe import Metrics, meters
from chassis.settings import HttpSettings
from chassis.store import Store
from chassis.web import access
from chassis.web.access import Declared, Person
from chassis.web.brake import Brake
from chassis.web.layout import templates
from chassis.web.oidc.claims import LogInRefused, person_of
from chassis.web.oidc.provider import Provider, ProviderAway
from chassis.web.sessions import Sessions

PATH: Final = "/login"
START: Final = "/login/start"
CALLBACK: Final = "/login/callback"
LOG_OUT: Final = "/logout"
LOGGED_OUT: Final = "/logged-out"
BEGUN_SECONDS: Final = 600
LONGEST_NEXT: Final = 2000
_ERROR: Final = re.compile(r"[a-z_]{1,40}")

log = structlog.get_logger(__name__)


@dataclass
class LogIn:
    """The log-in through an identity provider. One per process; call ``start`` before use."""

    http: HttpSettings
    service: str
    store: Store
    brake: Brake
    metrics: Metrics
    provider: Provider = field(init=False)
    sessions: Sessions = field(init=False)
    path: str = PATH
    _templates: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.provider = Provider(self.http, self.metrics)
        self.sessions = Sessions(self.store, self.http.session, LOG_OUT)
        self._templates = templates(self.service, ())
        prefix = "" if self.http.is_development else "__Host-"  # a browser accepts this name over TLS only
        self.session_cookie = f"{prefix}session-{self.service}"
        self.begun_cookie = f"{prefix}login-{self.service}"

    def routes(self) -> list[Declared]:
        return access.login(
            Route(PATH, self._ask),
            Route(START, self._begin),
            Route(CALLBACK, self._come_back),
            Route(LOG_OUT, self._leave, methods=["POST"]),
            Route(LOGGED_OUT, self._left),
        )

    @property
    def is_ready(self) -> bool:
        """Whether the provider can be used now."""
        return self.provider.known is not None

    def form_targets(self) -> tuple[str, ...]:
        return self.provider.form_targets()

    async def person(self, request: Request) -> Person | None:
        """The logged-in person. A page that only refreshes itself does not prolong a session."""
        token = request.cookies.get(self.session_cookie)
        if not token or len(token) > 200:
            return None
        is_act = request.method not in ("GET", "HEAD", "OPTIONS")
        is_use = is_act or request.headers.get("sec-fetch-mode", "navigate") == "navigate"
        return await self.sessions.person(token, is_use=is_use, is_act=is_act)

    async def _ask(self, request: Request) -> Response:
        """Asks for a click before the log-in begins, so that a refusal does not become a redirect loop."""
        there = own_path(request.query_params.get("next", ""))
        if await self.person(request) is not None:
            return RedirectResponse(there, 303)
        if not self.is_ready:
            return self._page("Log in", problem=self._away(), status=503)
        return self._page("Log in", start=f"{START}?next={quote(there, safe='/')}")

    async def _begin(self, request: Request) -> Response:
        there = own_path(request.query_params.get("next", ""))
        word = secrets.token_urlsafe(32)
        begun = _Begun(word, there)
        try:
            place = self.provider.go_to(
                redirect=self._here(request, CALLBACK), state=begun.state, nonce=begun.nonce, challenge=begun.challenge
            )
        except ProviderAway:
            return self._page("Log in", problem=self._away(), status=503)
        answer = RedirectResponse(place, 303)
        self._set(answer, self.begun_cookie, begun.cookie, BEGUN_SECONDS)
        return answer

    async def _come_back(self, request: Request) -> Response:
        address = request.client.host if request.client else ""
        if self.brake.wait_seconds(address) > 0:
            return self._page(
                "Log in", problem="Too many log-ins failed from your address. Try again later.", status=429
            )
        begun = _Begun.of(request.cookies.get(self.begun_cookie, ""))
        if begun is None:  # a cached page, or an expired cookie: nobody guesses anything
            problem = "This log-in was not begun in this browser, or more than ten minutes ago."
            return self._page("You are not logged in", problem=problem, start=PATH, status=400)
        try:
            claims = await self._claims(request, begun)
            person = person_of(claims, self.provider.settings, LOG_OUT)
            token = await self.sessions.begin(person, instead_of=request.cookies.get(self.session_cookie))
        except LogInRefused as error:
            self.brake.wrong(address)
            self.metrics.count(meters.CONSOLE_REFUSED, reason="log-in")
            log.warning("oidc.refused", source=address, why=str(error))
            start = f"{START}?next={quote(begun.there, safe='/')}"
            answer = self._page("You are not logged in", problem=str(error), start=start, status=403)
        except ProviderAway as error:
            log.warning("oidc.away", why=str(error))
            answer = self._page("Log in", problem=self._away(), start=START, status=503)
        else:
            log.info("oidc.logged-in", role=person.role)
            answer = RedirectResponse(begun.there, 303)
            self._set(answer, self.session_cookie, token, int(self.http.session.longest_hours * 3600))
        self._drop(answer, self.begun_cookie)
        return answer

    async def _claims(self, request: Request, begun: "_Begun") -> Any:
        query = request.query_params
        if not hmac.compare_digest(query.get("state", "").encode(), begun.state.encode()):
            raise LogInRefused("The answer belongs to another log-in than this browser's last one.")
        issuer = query.get("iss")
        known = self.provider.known
        if (issuer is not None or (known and known.says_issuer)) and issuer != self.provider.settings.issuer:
            raise LogInRefused("The answer comes from another issuer than HTTP__OIDC__ISSUER.")
        if "error" in query:
            said = query["error"]
            raise LogInRefused(f"The identity provider refused: {said if _ERROR.fullmatch(said) else 'for no reason'}.")
        return await self.provider.claims(
            code=query.get("code", ""), verifier=begun.verifier, nonce=begun.nonce,
            redirect=self._here(request, CALLBACK),
        )  # fmt: skip

    async def _leave(self, request: Request) -> Response:
        token = request.cookies.get(self.session_cookie)
        if token:
            try:
                await self.sessions.end(token)
            except StoreUnavailable as error:
                log.warning("oidc.session-left", reason=error.reason)
        back = self._here(request, LOGGED_OUT)
        answer = RedirectResponse(self.provider.end_session(back=back) or LOGGED_OUT, 303)
        self._drop(answer, self.session_cookie)
        return answer

    async def _left(self, _request: Request) -> Response:
        return self._page("You are logged out", start=PATH)

    def _page(self, title: str, *, problem: str = "", start: str | None = None, status: int = 200) -> Response:
        page = self._templates.get_template("login.html").render(
            title=title, here=None, problem=problem, start=start, provider=self.provider.settings.issuer
        )
        return HTMLResponse(page, status)

    def _away(self) -> str:
        also = " People with a password can log in meanwhile." if self.http.named() else ""
        return f"The identity provider cannot be used now: {self.provider.problem or 'it did not answer'}.{also}"

    def _here(self, request: Request, path: str) -> str:
        """Our own address as the browser knows it; the guard has checked the name. Outside development it is https."""
        return f"{'http' if self.http.is_development else 'https'}://{request.headers['host']}{path}"

    def _set(self, answer: Response, name: str, value: str, seconds: int) -> None:
        is_secure = not self.http.is_development
        answer.set_cookie(name, value, max_age=seconds, path="/", secure=is_secure, httponly=True, samesite="lax")

    def _drop(self, answer: Response, name: str) -> None:
        self._set(answer, name, "", 0)


@dataclass(frozen=True, slots=True)
class _Begun:
    """A log-in that a browser began: its secret word, and the page to open afterwards."""

    word: str
    there: str

    @classmethod
    def of(cls, cookie: str) -> "_Begun | None":
        word, dot, there = cookie.partition(".")
        if not dot or len(word) != 43 or len(cookie) > LONGEST_NEXT * 2:
            return None
        try:
            return cls(word, own_path(base64.urlsafe_b64decode(there + "==").decode()))
        except ValueError:
            return None

    @property
    def cookie(self) -> str:
        return f"{self.word}.{_base64(self.there.encode())}"

    @property
    def state(self) -> str:
        return self._derived("state")

    @property
    def nonce(self) -> str:
        return self._derived("nonce")

    @property
    def verifier(self) -> str:
        return self._derived("verifier")

    @property
    def challenge(self) -> str:
        return _base64(hashlib.sha256(self.verifier.encode()).digest())

    def _derived(self, use: str) -> str:
        return _base64(hmac.digest(self.word.encode(), use.encode(), "sha256"))


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def own_path(there: str) -> str:
    """``there`` when it is one of our pages, else the first page: a link to us leads nobody elsewhere."""
    is_own = (
        there.startswith("/") and not there.startswith(("//", "/\\", PATH, LOGGED_OUT)) and len(there) <= LONGEST_NEXT
    )
    return there if is_own and there.isascii() and there.isprintable() and "\\" not in there else "/"
