"""The page of the reconciliation: runs, differences with both values, and the answer to a run that asks."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Final, Literal

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from chassis.web import access
from chassis.web.guard import actor_of
from chassis.web.layout import Changes, Page
from scheduler_sync.domain.reconciliation import FIELDS, Kind, Settled, Side
from scheduler_sync.store.reconciliation import DifferenceFilter, DifferenceRow, Reports
from scheduler_sync.web.rendering import service_templates

HERE: Final = "/reconciliation"
STATES: Final[Mapping[str, tuple[str, str]]] = {
    "wanted": ("waits for its turn", "quiet"),
    "reading": ("reads and compares", "busy"),
    "healing": ("corrects", "busy"),
    "asks": ("asks for approval", "warn"),
    "approved": ("approved", "busy"),
    "done": ("done", "good"),
    "failed": ("failed", "bad"),
    "declined": ("declined", "quiet"),
    "superseded": ("superseded", "quiet"),
}
SETTLED: Final[Mapping[str, tuple[str, str]]] = {
    Settled.FOUND: ("found", "busy"),
    Settled.HEALED: ("corrected", "good"),
    Settled.LISTED: ("for a person", "warn"),
    Settled.MOVING: ("was changing", "quiet"),
    Settled.GONE: ("not confirmed", "quiet"),
}
SIDES: Final = [(Side.OMEGAAI, "OmegaAI"), (Side.POWERSERVER, "PowerServer's messages"), (Side.WORKLIST, "worklist")]
KINDS: Final = [
    (Kind.MISSING, "missing there"),
    (Kind.UNKNOWN, "unknown here"),
    (Kind.DOUBLE, "twice there"),
    (Kind.DIFFERS, "differs"),
]


class DriftPages:
    """Renders the page from the store, and keeps the answers."""

    def __init__(self, reports: Reports, consoles: Mapping[str, str] | None = None) -> None:
        self._reports = reports
        self._templates = service_templates(consoles)
        self._templates.globals.update(run_states=STATES, settled_names=SETTLED, facts=FIELDS)

    def routes(self) -> Sequence[BaseRoute]:
        return [
            *access.viewer(
                Route(HERE, self.latest),
                Route(f"{HERE}/events", Changes(self._reports.version).stream),
                Route(f"{HERE}/{{run_id:int}}", self.one),
            ),
            *access.operator(
                Route(f"{HERE}/run", self.wish, methods=["POST"]),
                Route(f"{HERE}/{{run_id:int}}/approve", self.approve, methods=["POST"]),
                Route(f"{HERE}/{{run_id:int}}/decline", self.decline, methods=["POST"]),
            ),
        ]

    async def latest(self, request: Request) -> Response:
        runs = await self._reports.runs()
        return await self._page(request, runs[0].id if runs else None)

    async def one(self, request: Request) -> Response:
        return await self._page(request, request.path_params["run_id"], up=Page("Reconciliation", HERE))

    async def wish(self, request: Request) -> Response:
        await self._reports.wish(actor=actor_of(request))
        return RedirectResponse(HERE, 303)

    async def approve(self, request: Request) -> Response:
        return await self._answer(request, "approved")

    async def decline(self, request: Request) -> Response:
        return await self._answer(request, "declined")

    async def _answer(self, request: Request, state: Literal["approved", "declined"]) -> Response:
        run_id: int = request.path_params["run_id"]
        if not await self._reports.answer(run_id, state, actor=actor_of(request)):
            raise HTTPException(409, f"Run {run_id} does not ask, or not any more.")
        return RedirectResponse(f"{HERE}/{run_id}", 303)

    async def _page(self, request: Request, run_id: int | None, *, up: Page | None = None) -> Response:
        query = request.query_params
        after = query.get("after", "")
        wanted = DifferenceFilter(
            side=_chosen(query.get("side"), Side),
            kind=_chosen(query.get("kind"), Kind),
            settled=_chosen(query.get("settled"), Settled),
            after=int(after) if after.isascii() and after.isdecimal() and len(after) < 19 else 0,
        )
        run = None if run_id is None else await self._reports.run(run_id)
        if run_id is not None and run is None:
            raise HTTPException(404, "There is no such run.")
        rows = [] if run is None else await self._reports.differences(run.id, wanted)
        shown: dict[str, Any] = {
            "title": "Reconciliation", "here": HERE, "up": up, "run": run, "rows": rows,
            "runs": await self._reports.runs(),
            "wanted": wanted, "sides": SIDES, "kinds": KINDS,
            "settleds": [(one, words) for one, (words, _) in SETTLED.items()],
            "older": _older(request, rows), "newest": _newest(request), "values": values_of,
        }  # fmt: skip
        return HTMLResponse(self._templates.get_template("drift.html").render(events=f"{HERE}/events", **shown))


def values_of(row: DifferenceRow) -> list[tuple[str, Any, Any]]:
    """The facts that differ, or all that one side shows, with both values."""
    names = [name for name in FIELDS if name in (row.fields or {**row.ours, **row.theirs})]
    return [(name, row.ours.get(name, "–"), row.theirs.get(name, "–")) for name in names]


def _chosen(value: str | None, words: type[StrEnum]) -> str:
    """A filter's value; empty where it is none of the words."""
    return value if value in set(words) else ""


def _older(request: Request, rows: list[DifferenceRow]) -> str | None:
    if len(rows) < DifferenceFilter.ROWS:
        return None
    return f"{request.url.path}?{request.url.include_query_params(after=rows[-1].id).query}"


def _newest(request: Request) -> str | None:
    if "after" not in request.query_params:
        return None
    return f"{request.url.path}?{request.url.remove_query_params('after').query}"
