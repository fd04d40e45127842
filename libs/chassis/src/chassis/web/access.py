"""Who may see a page. Every route declares it; a route without a declaration is refused at start.

``viewer(Route("/links", show))`` declares; ``Guard`` serves declared routes and checks each request. Roles are ordered:
an admin may do everything that an operator may, an operator everything that a viewer may.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Match, Mount, Route
from starlette.types import Receive, Scope, Send

from chassis.settings import ROLES, SettingsError


class Access(StrEnum):
    """Who may use a route. The first two are served only on the public port, all others on the console's port."""

    PUBLIC = "public"  # everybody on the internet
    PATIENT_SESSION = "patient session"  # a patient whom the service has let in
    SERVICE = "service"  # another service, by its token
    VIEWER = "viewer"  # reads
    OPERATOR = "operator"  # retries, replays, drops, acknowledges
    ADMIN = "admin"  # sets up
    LOGIN = "login"  # the log-in pages: open to people who are not logged in
    PROBE = "probe"  # health and metrics, which hold no personal data


class Role(StrEnum):
    """A person's role on the console's pages."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"

    def includes(self, other: "Role | Access") -> bool:
        """Whether this role includes ``other``."""
        return _RANKS[self] >= _RANKS[other]


_RANKS: Final = {role: rank for rank, role in enumerate(ROLES)}
FOR_PEOPLE: Final = frozenset({Access.VIEWER, Access.OPERATOR, Access.ADMIN})
FOR_THE_INTERNET: Final = frozenset({Access.PUBLIC, Access.PATIENT_SESSION})


@dataclass(frozen=True, slots=True)
class Person:
    """A person at the console.

    ``subject`` stays the same when the name changes; ``log_out``: the address to post to, or None.

    ``actor`` is the audit's text: the name for people, the subject for certainty.
    """

    name: str
    role: Role
    subject: str = ""
    log_out: str | None = None

    @property
    def actor(self) -> str:
        return self.name if self.subject in ("", self.name) else f"{self.name} ({self.subject})"

    def may(self, role: str) -> bool:
        """For templates: whether to show what a route of ``role`` does."""
        return self.role.includes(Role(role))


current_person: ContextVar[Person | None] = ContextVar("current_person", default=None)
"""The person who asks for the page that is being rendered."""

Gate = Callable[[Scope, Access], Awaitable[Response | None]]
"""Checks a request before its route: returns the refusal, or None when the request may pass."""
GATE: Final = "chassis.gate"


class Declared(BaseRoute):
    """A route with its declaration. It asks the application's guard, and serves nothing without one."""

    def __init__(self, route: Route | Mount, access: Access) -> None:
        self.route = route
        self.access = access

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        return self.route.matches(scope)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        gate: Gate | None = scope.get(GATE)
        refusal = PlainTextResponse("No guard.", 403) if gate is None else await gate(scope, self.access)
        if refusal is None:
            await self.route.handle(scope, receive, send)
        else:
            await refusal(scope, receive, send)

    @property
    def path(self) -> str:
        return self.route.path + ("/…" if isinstance(self.route, Mount) else "")

    @property
    def methods(self) -> Sequence[str]:
        """The methods, without HEAD, which goes with GET."""
        methods = self.route.methods if isinstance(self.route, Route) else {"GET"}
        return sorted(methods - {"HEAD"}) if methods else ["any"]


def _declaring(access: Access) -> Callable[..., list[Declared]]:
    def declare(*routes: Route | Mount) -> list[Declared]:
        return [Declared(route, access) for route in routes]

    declare.__doc__ = f"The routes, declared ``{access}``."
    return declare


public = _declaring(Access.PUBLIC)
patient_session = _declaring(Access.PATIENT_SESSION)
service = _declaring(Access.SERVICE)
viewer = _declaring(Access.VIEWER)
operator = _declaring(Access.OPERATOR)
admin = _declaring(Access.ADMIN)
login = _declaring(Access.LOGIN)
probe = _declaring(Access.PROBE)


class UndeclaredRoute(SettingsError):  # noqa: N818 (what it is)
    """A route does not declare who may see it. One line per route."""


def declared(routes: Iterable[BaseRoute]) -> list[Declared]:
    """Returns the same routes. Raises ``UndeclaredRoute``, which names each route without a declaration."""
    found, problems = [], []
    for route in routes:
        if isinstance(route, Declared):
            found.append(route)
        else:
            problems.append(
                f"the route {getattr(route, 'path', route)} does not declare who may see it: "
                f"give it to one of chassis.web.access: {', '.join(name.replace(' ', '_') for name in Access)}"
            )
    if problems:
        raise UndeclaredRoute(problems)
    return found


def rows(routes: Iterable[Declared]) -> Iterator[tuple[str, str, Access]]:
    """Method, path and declaration of each route, in the order of paths."""
    for route in sorted(routes, key=lambda one: (one.path, one.methods)):
        for method in route.methods:
            yield method, route.path, route.access
