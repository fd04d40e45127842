"""OmegaAI's Tasks that wait for a person: parked ones are read again; unclaimed ones are listed as OmegaAI has them."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from chassis.errors import Permanent, Transient, reason_of
from chassis.messaging import ReplayOutcome
from chassis.store import Store
from chassis.web import access
from chassis.web.guard import actor_of
from chassis.web.queries import just_done
from omegaai.tasks import UnclaimedTask
from scheduler_sync.store.views import Views
from scheduler_sync.web.rendering import service_templates

MOST_SHOWN: Final = 100
_LONGEST_ID: Final = 64

ReadAgain = Callable[[str, str], Awaitable[object]]
"""Reads the Appointment of a parked Task again, for the named actor; audited."""
Unclaimed = Callable[[int], Awaitable[list[UnclaimedTask]]]
"""At most so many unclaimed Tasks, as OmegaAI has them now. Transient, Permanent."""


class TaskPages:
    """The desk of OmegaAI's Tasks."""

    def __init__(
        self,
        store: Store,
        views: Views,
        *,
        read_again: ReadAgain,
        unclaimed: Unclaimed,
        consoles: Mapping[str, str] | None = None,
    ) -> None:
        self._store = store
        self._views = views
        self._read_again = read_again
        self._unclaimed = unclaimed
        self._templates = service_templates(consoles)

    def routes(self) -> Sequence[BaseRoute]:
        return [
            *access.viewer(Route("/parked-tasks", self.parked), Route("/unclaimed-tasks", self.unclaimed)),
            *access.operator(Route("/parked-tasks/{task_id}/replay", self.replay, methods=["POST"])),
        ]

    async def parked(self, request: Request) -> Response:
        said, refused = await self._told(request.query_params.get("on", "")[:_LONGEST_ID])
        return self._page(
            "parked_tasks.html",
            title="Parked Tasks",
            tasks=await self._views.parked_tasks(),
            cursors=await self._views.cursors(),
            said=said,
            refused=refused,
            events="/links/events",
        )

    async def _told(self, task_id: str) -> tuple[str, str]:
        """What became of an act of just now, by the audit: an address cannot make the page report another."""
        detail = await just_done(self._store, "task.replay", task_id) if task_id and "\x00" not in task_id else None
        if detail is None:
            return "", ""
        if detail.get("outcome") == ReplayOutcome.PROCESSED:
            return f"Task {task_id} is processed.", ""
        reason = f": {detail['reason']}" if "reason" in detail else ""
        return "", f"Task {task_id}: {detail.get('outcome')}{reason}."

    async def replay(self, request: Request) -> Response:
        task_id: str = request.path_params["task_id"]
        await self._read_again(task_id, actor_of(request))
        return RedirectResponse(f"/parked-tasks?{urlencode({'on': task_id})}", 303)

    async def unclaimed(self, request: Request) -> Response:
        """Asks OmegaAI at each request; the page does not redraw itself."""
        del request
        rows: list[UnclaimedTask] = []
        refused = ""
        try:
            rows = await self._unclaimed(MOST_SHOWN)
        except (Transient, Permanent) as error:
            refused = f"OmegaAI was asked and did not list its Tasks: {reason_of(error)}."
        return self._page("unclaimed_tasks.html", title="Unclaimed Tasks", rows=rows, refused=refused, most=MOST_SHOWN)

    def _page(self, template: str, **values: object) -> Response:
        return HTMLResponse(self._templates.get_template(template).render(here="/needs-setup", **values))
