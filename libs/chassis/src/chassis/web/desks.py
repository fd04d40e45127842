"""A desk: an intake's part of the console, with a count of what waits, lists, acts and pages.

A composition root names the desks of its service's intakes; the console shows no others.
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
    """The number of items that wait for a person. ``level`` is the tile's colour above 0; ``link`` lists the items."""

    name: str
    waiting: int
    level: str = "bad"
    link: str = ""


@dataclass(frozen=True, slots=True)
class Look:
    """``shown``: the data of the desk's template, equal as long as nothing happens."""

    tiles: Sequence[Tile]
    shown: Mapping[str, Any]


class Desk(Protocol):
    """``template``: the file that shows the desk on the console."""

    @property
    def template(self) -> str: ...

    async def look(self) -> Look: ...

    def acts(self) -> Mapping[str, Act]:
        """The acts, by the path below ``/console/``; for operators."""
        ...

    def routes(self, templates: Any) -> Sequence[BaseRoute]:
        """The pages below ``/console/``; for viewers. ``templates``: the console's."""
        ...
