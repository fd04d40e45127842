"""Templates on the shared layout, and the server-sent events that keep a page up to date."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from jinja2 import ChoiceLoader, Environment, FileSystemLoader, StrictUndefined, select_autoescape
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from chassis.errors import StoreUnavailable
from chassis.store import asking
from chassis.web.access import current_person

_HERE: Final = Path(__file__).parent
STATIC: Final = _HERE / "static"
_LOOK_SECONDS: Final = 1.0
_KEEP_ALIVE_SECONDS: Final = 10.0


class Page(NamedTuple):
    """An entry of the navigation, shown to people who have ``role``."""

    label: str
    path: str
    role: str = "viewer"


def templates(
    service: str, pages: Sequence[Page], *folders: Path, consoles: Mapping[str, str] | None = None
) -> Environment:
    """Jinja2 on the service's own ``folders``, then on the shared ones; templates extend ``layout.html``.

    ``consoles``: the addresses of the suite's other consoles, by service.
    """
    environment = Environment(
        loader=ChoiceLoader([FileSystemLoader(folder) for folder in (*folders, _HERE / "templates")]),
        autoescape=select_autoescape(),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(at=at, pair=lambda value: (value, value))
    environment.globals.update(service=service, pages=pages, consoles=consoles or {}, person=_Asking())
    return environment


class _Asking:
    """``person`` in templates: the page's visitor. False when nobody is logged in; else as ``access.Person``.

    ``person.name``, ``person.role``, ``person.may("operator")``, and ``person.log_out``: the address to post to, or
    None.
    """

    def __bool__(self) -> bool:
        return current_person.get() is not None

    def __getattr__(self, name: str) -> Any:
        return getattr(current_person.get(), name)


def at(moment: datetime | None, zone: str | None = None) -> str:
    """A time as text, in ``zone`` (named in the text) or UTC."""
    if moment is None:
        return "–"
    shown = moment.astimezone(ZoneInfo(zone) if zone else UTC)
    return f"{shown:%Y-%m-%d %H:%M:%S} {shown.tzname() or zone}"


class Changes:
    """A stream that tells every viewer of a page when the page's content has changed.

    ``look`` returns a value that changes with the page. It is called once a second for all viewers together, and not at
    all without a viewer. While the store is away nothing is sent: pages stay as they are.
    """

    def __init__(self, look: Callable[[], Awaitable[Hashable]]) -> None:
        self._look = look
        self._viewers: dict[asyncio.Event, None] = {}
        self._looking: asyncio.Task[None] | None = None

    async def stream(self, _request: Request) -> Response:
        """Server-sent events: ``changed`` at each change, and a comment every ten seconds without one."""
        return StreamingResponse(self._events(), media_type="text/event-stream")

    async def _events(self) -> AsyncIterator[str]:
        has_changed = asyncio.Event()
        self._viewers[has_changed] = None
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._keep_looking())
        try:
            yield "retry: 1000\n\n"
            while True:
                try:
                    async with asyncio.timeout(_KEEP_ALIVE_SECONDS):
                        await has_changed.wait()
                except TimeoutError:
                    yield ": still here\n\n"
                else:
                    has_changed.clear()
                    yield "event: changed\ndata: page\n\n"
        finally:
            del self._viewers[has_changed]

    async def _keep_looking(self) -> None:
        told = await self._seen(None)
        while self._viewers:
            await asyncio.sleep(_LOOK_SECONDS)
            now = await self._seen(told)
            if now != told:
                told = now
                for has_changed in self._viewers:
                    has_changed.set()

    async def _seen(self, before: Hashable) -> Hashable:
        try:
            with asking():
                return await self._look()
        except StoreUnavailable:
            return before
