"""Health, ledger and misbehaviour of a simulator, and one page that lists all its faults.

No route here asks for a login: a simulator is for development only.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.templating import Jinja2Templates

from simulator_kit import ledger, misbehaviour, web
from simulator_kit.misbehaviour import FaultError, Misbehaviour
from simulator_kit.store import Store, Work

_LARGEST_SEQ: Final = 2**53


class _BadNumberError(ValueError):
    """A query parameter that is no whole number."""


def refusal(field: str, message: str, *, reason: str = "invalid", status: int = 422) -> JSONResponse:
    """`{"error": {"reason", "message", "field"}}`."""
    return JSONResponse({"error": {"reason": reason, "message": message, "field": field}}, status_code=status)


class Control:
    """The answers of one simulator. `frame` is its own base template, `health` the answer of `/healthz`."""

    def __init__(
        self,
        store: Store,
        misbehaviour: Misbehaviour,
        templates: Jinja2Templates,
        *,
        frame: str,
        health: Callable[[Work], Mapping[str, Any]],
    ) -> None:
        self._store = store
        self._misbehaviour = misbehaviour
        self._templates = templates
        self._frame = frame
        self._health = health

    def routes(self) -> list[Route]:
        return [
            Route("/healthz", self.healthz),
            Route("/ledger", self.ledger),
            Route("/control", self.page),
            Route("/control/misbehave", self.misbehave, methods=["GET", "POST", "DELETE"]),
        ]

    async def healthz(self, _request: Request) -> Response:
        return JSONResponse(dict(await self._store.read(self._health)))

    async def ledger(self, request: Request) -> Response:
        """`?after=&limit=&kind=&subject=`, see `ledger.rows`."""
        query = request.query_params
        try:
            after = _whole_number(query.get("after", "0"), "after", _LARGEST_SEQ)
            limit = _whole_number(query.get("limit", "1000"), "limit", ledger.MOST_ROWS)
        except _BadNumberError as problem:
            return refusal(str(problem), f"{problem} is a whole number.")
        filters = {name: query[name] for name in ledger.FILTERS if name in query}
        return JSONResponse(
            await self._store.read(lambda work: ledger.rows(work, after=after, limit=limit, filters=filters))
        )

    async def misbehave(self, request: Request) -> Response:
        """POST puts a fault in force (201), GET lists them, DELETE clears them (204)."""
        if request.method == "DELETE":
            self._misbehaviour.clear()
            return Response(status_code=204)
        if request.method == "GET":
            return JSONResponse({"faults": self._misbehaviour.all()})
        try:
            given = json.loads(await request.body())
        except ValueError:
            given = None
        if not isinstance(given, dict):
            return refusal("", "The body is a JSON object.")
        try:
            return JSONResponse(self._misbehaviour.add(given), status_code=201)
        except FaultError as problem:
            return refusal(problem.field, str(problem))

    async def page(self, request: Request) -> Response:
        context = {
            "frame": self._frame,
            "targets": self._misbehaviour.targets,
            "faults": self._misbehaviour.all(),
            "listed": misbehaviour.listed,
            "address": f"{request.url.scheme}://{request.url.netloc}",
        }
        return web.page(self._templates, request, "kit/control.html", context)


def _whole_number(text: str, name: str, most: int) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 16:
        raise _BadNumberError(name)
    return min(int(text), most)
