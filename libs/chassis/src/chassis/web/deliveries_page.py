"""``/console/deliveries``: the dead deliveries to one partner, selected by time and answer, and a retry of all.

The filter is a plain form whose values stand in the address; the page lists exactly the deliveries that the act
retries. Deliveries that die after the listing are left alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from chassis import deliveries
from chassis.clock import since_of
from chassis.deliveries import Selection
from chassis.errors import StoreUnavailable
from chassis.store import Store, asking
from chassis.web import access
from chassis.web.forms import FormTooLongError, read_form
from chassis.web.guard import actor_of
from chassis.web.queries import just_done

PATH: Final = "/console/deliveries"
ROWS: Final = 50
LONGEST_VALUE: Final = 200


class _RefusedError(Exception):
    """The request's filter is not valid; the text says why."""


@dataclass
class DeliveriesPage:
    """``templates``: the console's."""

    store: Store
    templates: Any
    destinations: Sequence[str]

    def routes(self) -> list[BaseRoute]:
        return [
            *access.viewer(Route(PATH, self._show)),
            *access.operator(Route(f"{PATH}/retry", self._retry, methods=["POST"])),
        ]

    async def _show(self, request: Request) -> Response:
        return await self._page(dict(request.query_params))

    async def _page(self, query: Mapping[str, str], refused: str | None = None) -> Response:
        """The selection of ``query``; ``refused`` says why an act was not done."""
        selection = count = None
        rows: Sequence[Any] = ()
        said = ""
        try:
            if query.get("destination"):
                with asking():
                    selection = await self._selection(query)
                    count = await deliveries.count_dead(self.store, selection)
                    rows = await deliveries.list_dead(self.store, selection, limit=ROWS)
                    said = await self._said(query, selection.destination)
        except _RefusedError as error:
            refused = refused or str(error)
        except StoreUnavailable as error:
            refused = refused or f"{error.reason}: nothing can be listed or sent again until it does"
        page = self.templates.get_template("deliveries.html").render(
            title="Dead deliveries",
            here="/console",
            pairs=[(one, one) for one in self.destinations],
            query={name: query.get(name, "") for name in ("destination", "since", "reason")},
            selection=selection,
            count=count,
            rows=rows,
            said=said,
            refused=refused,
        )
        return HTMLResponse(page, 400 if refused else 200)

    async def _said(self, query: Mapping[str, str], destination: str) -> str:
        """The outcome of an act, from the audit: an address cannot make the page report an act that never happened."""
        if query.get("done") != "1":
            return ""
        detail = await just_done(self.store, "delivery.retry-all", destination)
        if detail is None:
            return ""
        number = detail["number"]
        what = "1 delivery" if number == 1 else f"{number} deliveries"
        return f"{what} to {destination} {'is' if number == 1 else 'are'} sent again."

    async def _retry(self, request: Request) -> Response:
        form: dict[str, str] = {}
        try:
            form = await read_form(request)
            with asking():
                selection = await self._selection(form)
                number = await deliveries.retry_selected(self.store, selection, actor=actor_of(request))
        except (_RefusedError, FormTooLongError) as error:
            return await self._page(form, refused=str(error))
        except StoreUnavailable as error:
            return await self._page(form, refused=error.reason)
        # Redirects to the page, which reports the outcome; a reload does not act again.
        kept = {name: form[name] for name in ("destination", "since", "reason") if form.get(name)}
        return RedirectResponse(f"{PATH}?{urlencode({**kept, **({'done': '1'} if number else {})})}", 303)

    async def _selection(self, given: Mapping[str, str]) -> Selection:
        destination, reason = given.get("destination", ""), given.get("reason", "").strip()
        if destination not in self.destinations:
            raise _RefusedError(
                f"That is no destination of this service. It delivers to {', '.join(self.destinations)}."
            )
        if "\x00" in reason or len(reason) > LONGEST_VALUE:
            raise _RefusedError(f"The answer to look for is longer than {LONGEST_VALUE} characters, or no text.")
        now = await self.store.now()
        return Selection(
            destination,
            since=_time(given.get("since", ""), now),
            reason=reason or None,
            until=_time(given.get("until", ""), now) or now,
        )


def _time(text: str, now: datetime) -> datetime | None:
    if not text.strip():
        return None
    try:
        return since_of(text[:LONGEST_VALUE], now)
    except ValueError as error:
        raise _RefusedError("That is no time. Write 2h, 30m, 3d, or 2026-05-31T14:00 (UTC).") from error
