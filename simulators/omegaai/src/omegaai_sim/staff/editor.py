"""A page that makes or changes one resource: its form, its problems, and what was saved."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from omegaai_sim.context import Services
from omegaai_sim.fhir import records
from omegaai_sim.fhir.outcome import Refused
from omegaai_sim.fhir.records import Resource
from omegaai_sim.settings import STAFF_NAME
from omegaai_sim.staff.forms import Entries, WrongError
from omegaai_sim.staff.session import Staff
from simulator_kit import web
from simulator_kit.store import Work

Context = dict[str, Any]
_CHANGED_MEANWHILE: Final = "Somebody changed this meanwhile. Look at the present values, and save again."


@dataclass(frozen=True)
class Editor:
    """The form of one type of resource.

    `values` gives the form's fields of a stored resource, or of a new one (None). `body` reads the entries into the
    resource to be stored, beside what the stored one has. `more` is what the template needs besides. `lists` names
    the fields with several values, `ticks` those that are on or off.
    """

    kind: str
    template: str
    values: Callable[[Work, Resource | None], Context]
    body: Callable[[Work, Entries, Resource | None], Resource]
    more: Callable[[Work, Resource | None], Context]
    lists: tuple[str, ...] = ()
    ticks: tuple[str, ...] = ()

    def routes(self, services: Services, address: str) -> list[Route]:
        """`{address}/new` and `{address}/{id}`; after a save the browser is at the resource's own page."""
        pages = _Pages(self, services, address)
        paths = (f"{address}/new", f"{address}/{{id}}")
        return [Route(path, pages.answer, methods=["GET", "POST"]) for path in paths]


class _Pages:
    def __init__(self, editor: Editor, services: Services, address: str) -> None:
        self._editor = editor
        self._store = services.store
        self._staff = Staff(services)
        self._address = address
        self._shown = self._staff.only(self._show)
        self._saved = self._staff.form(self._save)

    async def answer(self, request: Request) -> Response:
        return await (self._saved if request.method == "POST" else self._shown)(request)

    async def _show(self, request: Request) -> Response:
        return await self._page(request)

    async def _page(
        self, request: Request, problems: Mapping[str, str] | None = None, entries: Entries | None = None
    ) -> Response:
        identifier = request.path_params.get("id")

        def ask(work: Work) -> Context | None:
            row = work.one("SELECT 1 FROM resource WHERE type = ? AND id = ?", self._editor.kind, identifier)
            if identifier is not None and row is None:
                return None
            stored = None if identifier is None else records.read(work, self._editor.kind, identifier)
            body = None if stored is None else stored.body
            return {
                "stored": body,
                "version": 0 if stored is None else stored.version,
                "values": self._editor.values(work, body),
                **self._editor.more(work, body),
            }

        context = await self._store.read(ask)
        if context is None:
            return self._staff.render(request, "staff/missing.html", {"what": "such entry"}, status=404)
        if entries is not None:
            context["values"] = entries.shown(self._editor.lists, self._editor.ticks)
        context |= {"problems": problems or {}, "is_saved": "saved" in request.query_params, "address": self._address}
        return self._staff.render(request, self._editor.template, context, status=422 if problems else 200)

    async def _save(self, request: Request) -> Response:
        form = await request.form()
        entries = Entries(form)
        identifier = request.path_params.get("id")
        version = web.text_of(form, "version")
        expected = int(version) if version.isascii() and version.isdecimal() and len(version) < 10 else None

        def change(work: Work) -> str:
            stored = None if identifier is None else records.read(work, self._editor.kind, identifier)
            if stored is not None and stored.version != expected:
                raise WrongError({"": _CHANGED_MEANWHILE})
            body = self._editor.body(work, entries, None if stored is None else stored.body)
            entries.check()
            return save(work, self._editor.kind, body, stored)

        try:
            saved = await self._store.write(change)
        except WrongError as wrong:
            is_stale = wrong.problems.get("") == _CHANGED_MEANWHILE
            return await self._page(request, wrong.problems, None if is_stale else entries)
        except Refused as refused:
            if refused.status == 404:
                return self._staff.render(request, "staff/missing.html", {"what": "such entry"}, status=404)
            return await self._page(request, {"": f"This cannot be saved. {refused.diagnostics}."}, entries)
        return RedirectResponse(f"{self._address}/{saved}?saved", 303)


def save(work: Work, kind: str, body: Resource, stored: records.Stored | None) -> str:
    """Stores what the staff made or changed, with its ledger row; the id."""
    body = {**body, "resourceType": kind}
    if stored is None:
        saved = records.create(work, kind, body, STAFF_NAME)
    else:
        saved = records.update(work, kind, stored.body["id"], body, by=STAFF_NAME, expected=stored.version)
    verb = "created" if stored is None else "updated"
    identifier = str(saved.body["id"])
    work.record("effect", f"{kind}.{verb}", identifier, {"versionId": str(saved.version), "by": STAFF_NAME})
    return identifier
