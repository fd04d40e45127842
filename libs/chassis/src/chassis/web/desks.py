"""What an intake adds to the console: how much of it waits for a person, its lists, its acts and its own pages.

A composition root names the desks of the intakes that its service has; the console shows no others.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

Act = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Tile:
    """A number on the console: so many wait for a person. ``level`` colours it while any does; ``link`` lists them."""

    name: str
    waiting: int
    level: str = "bad"
    link: str = ""


@dataclass(frozen=True, slots=True)
class Look:
    """``shown``: what the desk's template shows, the same as long as nothing happens."""

    tiles: Sequence[Tile]
    shown: Mapping[str, Any]


class Desk(Protocol):
    """``template``: the file that shows its part of the console."""

    @property
    def template(self) -> str: ...

    async def look(self) -> Look: ...

    def acts(self) -> Mapping[str, Act]:
        """By the path below ``/console/``; an operator's."""
        ...

    def routes(self, templates: Any) -> Sequence[BaseRoute]:
        """Its pages below ``/console/``; a viewer's. ``templates``: the console's."""
        ...
