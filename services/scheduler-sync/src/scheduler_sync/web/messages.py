"""The pages of messages: the search, a message with its outcome, and its content.

The terms of a search may be patient data. They come by POST and are kept in the store; the address of the results has
an opaque id. A content is shown to operators only, and each look is audited before the page is made.
"""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlencode
from uuid import UUID

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

import contracts
from chassis.clock import since_of
from chassis.errors import StoreUnavailable
from chassis.hl7 import kept_message
from chassis.messaging import Replayed
from chassis.observe import listed
from chassis.store import Store
from chassis.web import access
from chassis.web.forms import FormTooLongError, read_form
from chassis.web.guard import actor_of
from chassis.web.layout import Changes
from chassis.web.notice import back, notice
from hl7v2 import Hl7Error
from scheduler_sync.domain.appointment import State
from scheduler_sync.store.message_details import MessageDetails
from scheduler_sync.store.messages import KINDS, OUTCOMES, Found, Messages, Place, Wanted, outcome_of
from scheduler_sync.store.views import Views
from scheduler_sync.web.content import Content, NotEditableError, Reader
from scheduler_sync.web.pages import LEVELS, STATE_NAMES
from scheduler_sync.web.rendering import service_templates

HERE: Final = "/messages"
FIELDS: Final = ("kind", "outcome", "order", "patient", "control_id", "since", "until")
LONGEST_VALUE: Final = 200
_FIRST_YEAR, _LAST_YEAR = 1970, 9999
_MOST_ROWS: Final = 2**63
LONGEST_EDIT_BYTES: Final = 3 * 2**20
"""A form's text is up to three times as long as the message's: ``%0D``."""
OUTCOME_LEVELS: Final[Mapping[str, str]] = {"done": "good", "waits": "warn", "refused": "bad", "dropped": "quiet"}

Replay = Callable[[UUID, str], Awaitable[Replayed]]
"""Processes a kept message again, for the named actor. KeyError when it does not wait."""
Edit = Callable[[UUID, bytes, str], Awaitable[tuple[UUID, Replayed]]]
"""Processes an edited copy in place of a kept message, for the named actor. KeyError, Hl7Error, ValueError."""


class MessagePages:
    """Renders the pages from the store. ``reader`` explains contents."""

    def __init__(
        self,
        store: Store,
        messages: Messages,
        details: MessageDetails,
        views: Views,
        reader: Reader,
        *,
        replay: Replay,
        edit: Edit,
        consoles: Mapping[str, str] | None = None,
    ) -> None:
        self._store = store
        self._messages = messages
        self._details = details
        self._views = views
        self._reader = reader
        self._replay = replay
        self._edit = edit
        self._templates = service_templates(consoles)
        self._templates.globals.update(
            kinds=KINDS, outcomes=OUTCOMES, outcome_levels=OUTCOME_LEVELS,
            state_names=STATE_NAMES, levels=LEVELS, state_of=State,
        )  # fmt: skip

    def routes(self) -> Sequence[BaseRoute]:
        received, sent = f"{HERE}/in/{{id:uuid}}", f"{HERE}/out/{{id:uuid}}"
        return [
            *access.viewer(
                Route(HERE, self.newest),
                Route(f"{HERE}/search", self.search, methods=["POST"]),
                Route(f"{HERE}/search/{{id:uuid}}", self.results),
                Route(f"{HERE}/events", Changes(self._details.version).stream),
                Route(received, self.received),
                Route(sent, self.sent),
            ),
            *access.operator(
                Route(f"{received}/content", self.received_content),
                Route(f"{received}/replay", self.replay, methods=["POST"]),
                Route(f"{received}/edit", self.edit, methods=["POST"]),
                Route(f"{sent}/content", self.sent_content),
            ),
        ]

    async def newest(self, request: Request) -> Response:
        return await self._list(request, HERE, {})

    async def search(self, request: Request) -> Response:
        """Keeps the terms and leads to the results. What is not valid is shown at once, and kept nowhere."""
        try:
            form = await read_form(request)
        except FormTooLongError as error:
            return self._page("messages.html", 400, **self._form({}, [str(error)]))
        given = {name: form.get(name, "").strip() for name in FIELDS if form.get(name, "").strip()}
        problems = _problems(given)
        if not problems:
            try:
                await self._wanted(given)
            except ValueError:
                problems.append("That is no time. Write 2h, 30m, 3d, or 2026-05-31T14:00 (UTC).")
        if problems:
            return self._page("messages.html", 400, **self._form(given, problems))
        if not given:
            return RedirectResponse(HERE, 303)
        search_id = contracts.uuid7()
        await self._messages.keep(await self._fixed(given), actor=actor_of(request), search_id=search_id)
        return RedirectResponse(f"{HERE}/search/{search_id}", 303)

    async def results(self, request: Request) -> Response:
        search_id: UUID = request.path_params["id"]
        given = await self._messages.kept(search_id, actor=actor_of(request))
        if given is None:
            return self._page("messages.html", 404, **self._form({}, ["This search is forgotten: search again."]))
        return await self._list(request, f"{HERE}/search/{search_id}", given)

    async def received(self, request: Request) -> Response:
        """A received message: what became of it, without its content."""
        return await self._received_page(request)

    async def _received_page(
        self, request: Request, *, content: Content | None = None, refused: str = "", status: int = 200
    ) -> Response:
        message_id: UUID = request.path_params["id"]
        kept = await kept_message(self._store, message_id)
        if kept is None:
            raise HTTPException(404, "There is no such message.")
        effects = await self._details.effects_of(message_id)
        told = await notice(self._store, dict(request.query_params))
        return self._page(
            "message.html",
            status,
            title=f"HL7 message {listed(kept).type}",
            here=HERE,
            kept=listed(kept),
            message_id=message_id,
            outcome=outcome_of(kept.state),
            copies=await self._details.copies_of(message_id),
            effects=effects,
            deliveries=await self._views.deliveries([one for line in effects for one in line.delivery_ids]),
            content=content,
            said=told.said,
            refused=refused or told.refused,
        )

    async def received_content(self, request: Request) -> Response:
        content = await self._content(request)
        return await self._received_page(request, content=content)

    async def _content(self, request: Request) -> Content:
        """The content of a received message; the look is in the audit before the content is in a page."""
        message_id: UUID = request.path_params["id"]
        await self._details.note_look("hl7.show", message_id, actor=actor_of(request))
        kept = await kept_message(self._store, message_id)
        if kept is None:
            raise HTTPException(404, "There is no such message.")
        return await self._reader.received(kept.raw, kept.received_at)

    async def replay(self, request: Request) -> Response:
        message_id: UUID = request.path_params["id"]
        here = f"{HERE}/in/{message_id}"
        try:
            await self._replay(message_id, actor_of(request))
        except KeyError:
            return back(None, "hl7", message_id, to=here)
        except StoreUnavailable:
            return back(None, "store-away", message_id, to=here)
        return back("hl7.replay", "hl7", message_id, to=here)

    async def edit(self, request: Request) -> Response:
        """Processes the edited text in place of the message."""
        message_id: UUID = request.path_params["id"]
        here = f"{HERE}/in/{message_id}"
        text = ""
        try:
            text = (await read_form(request, longest_bytes=LONGEST_EDIT_BYTES)).get("text", "")
            kept = await kept_message(self._store, message_id)
            raw = self._reader.encoded(text, like=b"" if kept is None else kept.raw)
            await self._edit(message_id, raw, actor_of(request))
        except KeyError:
            return back(None, "hl7", message_id, to=here)
        except StoreUnavailable:
            return back(None, "store-away", message_id, to=here)
        except (FormTooLongError, Hl7Error, NotEditableError, ValueError) as error:
            content = (await self._content(request)).with_text(text)
            return await self._received_page(
                request, content=content, refused=f"Nothing was processed: {error}", status=400
            )
        return back("hl7.edit", "hl7", message_id, to=here)

    async def sent(self, request: Request) -> Response:
        return await self._sent_page(request)

    async def sent_content(self, request: Request) -> Response:
        delivery_id: UUID = request.path_params["id"]
        await self._details.note_look("delivery.show", delivery_id, actor=actor_of(request))
        payload = await self._details.payload_of(delivery_id)
        if payload is None:
            raise HTTPException(404, "There is no such delivery.")
        return await self._sent_page(request, content=self._reader.sent(payload))

    async def _sent_page(self, request: Request, *, content: Content | None = None) -> Response:
        delivery_id: UUID = request.path_params["id"]
        found = (await self._views.deliveries([delivery_id])).get(delivery_id)
        if found is None:
            raise HTTPException(404, "There is no such delivery.")
        told = await notice(self._store, dict(request.query_params))
        return self._page(
            "delivery.html",
            title=f"Delivery {found.kind}",
            here=HERE,
            delivery=found,
            receipt=_receipt(found.receipt),
            outcome=outcome_of(found.state),
            link_id=await self._details.link_of(delivery_id),
            content=content,
            said=told.said,
            refused=told.refused,
        )

    async def _list(self, request: Request, address: str, given: Mapping[str, str]) -> Response:
        query = request.query_params
        newer, older = _place(query.get("newer", "")), _place(query.get("older", ""))
        wanted = await self._wanted(given)
        found = await self._messages.search(wanted, newer or older, newer=newer is not None)
        listed_now = {
            "found": found,
            "is_first": newer is None and older is None,
            "first": address,
            "newer": _address(address, "newer", found) if found.has_newer else None,
            "older": _address(address, "older", found) if found.has_older else None,
        }
        return self._page("messages.html", **{**self._form(given), **listed_now}, events=f"{HERE}/events")

    async def _wanted(self, given: Mapping[str, str]) -> Wanted:
        values: dict[str, Any] = {name: given.get(name, "") for name in FIELDS}
        now = await self._store.now() if values["since"] or values["until"] else None
        for name in ("since", "until"):
            values[name] = since_of(values[name], now) if values[name] and now is not None else None
        return Wanted(**values)

    async def _fixed(self, given: Mapping[str, str]) -> dict[str, str]:
        """The terms with fixed times: ``2h`` means the same on each page of the results."""
        wanted = asdict(await self._wanted(given))
        times = {name: wanted[name].isoformat() for name in ("since", "until") if isinstance(wanted[name], datetime)}
        return {**given, **times}

    def _form(self, given: Mapping[str, str], problems: Sequence[str] = ()) -> dict[str, Any]:
        return {
            "title": "Messages", "here": HERE, "problems": problems, "found": None,
            "given": {name: given.get(name, "") for name in FIELDS}, "is_search": bool(given),
        }  # fmt: skip

    def _page(self, template: str, status: int = 200, **values: Any) -> Response:
        return HTMLResponse(self._templates.get_template(template).render(**values), status)


def _problems(given: Mapping[str, str]) -> list[str]:
    problems = []
    if any(len(value) > LONGEST_VALUE or "\x00" in value for value in given.values()):
        problems.append(f"A value is longer than {LONGEST_VALUE} characters, or holds a character that is not allowed.")
    if given.get("kind", "") not in {"", *KINDS} or given.get("outcome", "") not in {"", *OUTCOMES}:
        problems.append("Choose a kind and an outcome of the lists.")
    return problems


def _address(address: str, name: str, found: Found) -> str:
    row = found.rows[0 if name == "newer" else -1]
    return f"{address}?{urlencode({name: json.dumps([row.at.isoformat(), row.kind, row.id])})}"


def _place(given: str) -> Place | None:
    """The place in the address; None for none, or where it is not valid."""
    try:
        at, kind, identifier = json.loads(given)
        place = Place(datetime.fromisoformat(at), kind, identifier)
        is_one = kind in KINDS and place.at.tzinfo is not None and _FIRST_YEAR < place.at.year < _LAST_YEAR
        if kind == "task":
            is_one = is_one and 0 <= int(identifier) < _MOST_ROWS
        elif kind == "parked-task":
            is_one = is_one and identifier.isprintable()
        else:
            UUID(identifier)
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None
    return place if is_one else None


def _receipt(text: str | None) -> Mapping[str, str]:
    """The partner's answer as it was kept, by name."""
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    return {str(name): str(value) for name, value in found.items()} if isinstance(found, dict) else {}
