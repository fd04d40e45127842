"""A page that explains a pasted HL7 message: what it would do and why. Nothing of the message is kept.

The message comes in the body of a POST and never in an address. The audit has who looked, and nothing of the message.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from chassis.clock import utc_now
from chassis.store import Store
from chassis.store.rows import audit
from chassis.web import access
from chassis.web.forms import FormTooLongError, read_form
from chassis.web.guard import actor_of
from hl7v2 import Hl7Error
from scheduler_sync import explain
from scheduler_sync.commands import ChangeAppointmentByStaff
from scheduler_sync.domain.appointment import Decision
from scheduler_sync.ports import Resources
from scheduler_sync.site import Site
from scheduler_sync.store.views import LinkFilter, Views
from scheduler_sync.web.rendering import service_templates

LONGEST_MESSAGE: Final = 1024 * 1024
_LONGEST_FORM: Final = 3 * LONGEST_MESSAGE + 1024
"""A byte of a message takes up to three in a form."""


class ExplainPage:
    """``resources`` gives OmegaAI's resources; None where they have not been read."""

    def __init__(
        self,
        store: Store,
        site: Site,
        resources: Callable[[], Resources | None],
        consoles: Mapping[str, str] | None = None,
    ) -> None:
        self._store = store
        self._views = Views(store)
        self._site = site
        self._resources = resources
        self._templates = service_templates(consoles)
        self._templates.globals.update(decision_words=explain.decision_words)

    def routes(self) -> Sequence[BaseRoute]:
        return access.operator(
            Route("/explain", self.asked, methods=["GET"]), Route("/explain", self.explained, methods=["POST"])
        )

    async def asked(self, _: Request) -> Response:
        return self._page()

    async def explained(self, request: Request) -> Response:
        text = await _message(request)
        if text is None:
            return self._page(wrong=f"The message is longer than {LONGEST_MESSAGE // 1024} KiB.", status=413)
        if not text.strip():
            return self._page(wrong="There is no message. Paste one that begins with MSH.", status=422)
        async with self._store.session() as session:
            await audit(session, actor=actor_of(request), action="hl7.explain", subject="a pasted message")
            await session.commit()
        raw = text.strip().replace("\r\n", "\r").replace("\n", "\r").encode()
        try:
            found = await asyncio.to_thread(
                explain.explain, raw, self._site.file, self._resources(), received_at=utc_now()
            )
        except Hl7Error as error:
            said = f"This cannot be read as HL7, and would be answered AR: {error}"
            return self._page(wrong=said, message=text, status=422)
        known, decision = await self._known(found)
        return self._page(message=text, found=found, known=known, decision=decision)

    async def _known(self, found: explain.Explanation) -> tuple[Any, Decision | None]:
        """The appointment that the message is about, where it is known, and the decision about it."""
        command = found.command
        if not isinstance(command, ChangeAppointmentByStaff):
            return None, None
        rows = await self._views.links(LinkFilter(placer_number=command.placer_number))
        link = next((one for one in rows if one.placer_number == command.placer_number), None)
        known = None if link is None else await self._views.link(link.id)
        return known, None if known is None else explain.decided(known, command)

    def _page(self, *, status: int = 200, **values: Any) -> Response:
        shown = {"message": "", "wrong": "", "found": None, "known": None, "decision": None, **values}
        page = self._templates.get_template("explain.html").render(
            title="Explain an HL7 message", here="/explain", longest=LONGEST_MESSAGE, **shown
        )
        return HTMLResponse(page, status, headers={"Cache-Control": "no-store"})


async def _message(request: Request) -> str | None:
    """The form's message; empty where the form has none, None where it is too long."""
    try:
        text = (await read_form(request, longest_bytes=_LONGEST_FORM)).get("message", "")
    except FormTooLongError:
        return None
    return None if len(text.encode("utf-8", "replace")) > LONGEST_MESSAGE else text
