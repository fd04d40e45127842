"""Templates on the shared layout, and the stream of server-sent events by which a page keeps itself up to date."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from jinja2 import ChoiceLoader, Environment, FileSystemLoader, StrictUndefined, select_autoescape
from starlette.responses import StreamingResponse

from chassis.errors import StoreUnavailable
from chassis.store import asking

_HERE: Final = Path(__file__).parent
STATIC: Final = _HERE / "static"
_LOOK_SECONDS: Final = 1.0
_LOOKS_PER_KEEP_ALIVE: Final = 10


class Page(NamedTuple):
    """An entry of the navigation."""

    label: str
    path: str


def templates(service: str, pages: Sequence[Page], *folders: Path) -> Environment:
    """Jinja2 on the service's own ``folders``, then on the shared ones; templates extend ``layout.html``."""
    environment = Environment(
        loader=ChoiceLoader([FileSystemLoader(folder) for folder in (*folders, _HERE / "templates")]),
        autoescape=select_autoescape(),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["at"] = at
    environment.globals.update(service=service, pages=pages)
    return environment


def at(moment: datetime | None, zone: str | None = None) -> str:
    """A time to read, in ``zone`` (its name in words) or UTC."""
    if moment is None:
        return "–"
    shown = moment.astimezone(ZoneInfo(zone) if zone else UTC)
    return f"{shown:%Y-%m-%d %H:%M:%S} {shown.tzname() or zone}"


def changes(look: Callable[[], Awaitable[Hashable]]) -> StreamingResponse:
    """Sends ``changed`` whenever what ``look`` returns is another than before; it is asked once a second.

    While the store is away nothing is sent: the page stays as it is, and is told once there is something new.
    """
    return StreamingResponse(_changes(look), media_type="text/event-stream")


async def _changes(look: Callable[[], Awaitable[Hashable]]) -> AsyncIterator[str]:
    async def seen(before: Hashable) -> Hashable:
        try:
            with asking():
                return await look()
        except StoreUnavailable:
            return before

    told = await seen(None)
    quiet = 0
    yield "retry: 1000\n\n"
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        now = await seen(told)
        quiet += 1
        if now != told:
            told, quiet = now, 0
            yield "event: changed\ndata: page\n\n"
        elif quiet >= _LOOKS_PER_KEEP_ALIVE:
            quiet = 0
            yield ": still here\n\n"
