"""``/console/<list>``: the console's lists in full: filtered in the address, page by page."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode
from uuid import UUID

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from chassis.store import Store, asking
from chassis.store.rows import sql, tables

ROWS: Final = 100
LONGEST_VALUE: Final = 200
_FIRST_YEAR, _LAST_YEAR = 1, 9999
_MOST_ROWS: Final = 2**63


class Column(NamedTuple):
    """``kind``: how a value is shown: as a time, an identifier, a state, a number or text."""

    label: str
    name: str
    kind: str = "text"


class Choice(NamedTuple):
    """A filter. ``values`` are the choices; empty where a person types the value."""

    name: str
    label: str
    values: tuple[str, ...] = ()
    type: type = str


@dataclass(frozen=True)
class List:
    """One list: rows of the table class ``model``, the newest by ``when`` first.

    ``keys`` tell apart rows of the same time. ``is_by_keys``: the keys ascend with time, and they alone give the order.
    """

    name: str
    title: str
    noun: str
    model: str
    when: str
    keys: tuple[tuple[str, type], ...]
    columns: tuple[Column, ...]
    choices: tuple[Choice, ...]
    empty: str
    levels: dict[str, str] = field(default_factory=dict)
    is_by_keys: bool = False
    order: str = "Newest first."
    note: str = ""
    """A second sentence of the caption, such as where the contents of the rows are."""
    beside: str = ""
    """The name of a list that holds the other half of what one tile of the console counts."""

    @property
    def by(self) -> list[str]:
        """The columns that give the order."""
        return [*([] if self.is_by_keys else [self.when]), *(name for name, _ in self.keys)]

    @property
    def path(self) -> str:
        return f"/console/{self.name}"


LISTS: Final = (
    List(
        "dead-letters", "Dead letters", "letters", "DeadLetters", "created_at", (("id", UUID),),
        (
            Column("Since", "created_at", "moment"), Column("Id", "id", "identifier"),
            Column("Consumer", "consumer"), Column("Topic", "topic"), Column("Kind", "kind"),
            Column("Why", "reason"), Column("State", "state", "badge"), Column("Settled", "settled_at", "moment"),
        ),
        (
            Choice("state", "State", ("open", "replayed", "dropped")), Choice("topic", "Topic"),
            Choice("kind", "Kind", ("permanent", "bug", "undecodable")),
        ),
        "A message that cannot be handled is kept here with its reason. There is nothing to do.",
        {"open": "bad", "replayed": "good", "dropped": "quiet"},
        note="A message's content may hold a patient's data: dead-letters show ID --content shows it, audited.",
    ),
    List(
        "parked", "Parked keys", "keys", "ParkedKeys", "since", (("key", UUID), ("consumer", str)),
        (
            Column("Since", "since", "moment"), Column("Aggregate", "key", "identifier"),
            Column("Consumer", "consumer"), Column("Why", "reason"), Column("Tries", "attempts", "number"),
            Column("Next try", "next_attempt_at", "moment"),
        ),
        (Choice("consumer", "Consumer"),),
        "The messages of an aggregate wait here while one of them fails for a passing reason. There is nothing to do.",
        note="The messages of a key are tried again by themselves, in their order.",
    ),
    List(
        "timers", "Timers", "timers", "Timers", "due_at",
        (("key", UUID), ("kind", str), ("name", str), ("revision", int)),
        (
            Column("Due", "due_at", "moment"), Column("Kind", "kind"), Column("Name", "name"),
            Column("Of", "key", "identifier"), Column("State", "state", "badge"), Column("Tries", "attempts", "number"),
            Column("Why", "last_error"),
        ),
        (Choice("state", "State", ("waiting", "fired", "cancelled", "dead")), Choice("kind", "Kind")),
        "What is to happen later is listed here with its time. There is nothing to do.",
        {"waiting": "busy", "fired": "good", "cancelled": "quiet", "dead": "bad"},
        order="By the time when each is due, the latest first.",
    ),
    List(
        "missed", "Missed records", "records", "MissedRecords", "noticed_at", (("id", UUID),),
        (
            Column("Noticed", "noticed_at", "moment"), Column("Id", "id", "identifier"),
            Column("Consumer", "consumer"), Column("Kind", "kind"), Column("Topic", "topic"),
            Column("Partition", "partition", "number"), Column("Acknowledged", "acknowledged_at", "moment"),
        ),
        (Choice("consumer", "Consumer"), Choice("topic", "Topic")),
        "Records that Kafka no longer had when a consumer came to them are noted here.",
        beside="gaps",
    ),
    List(
        "gaps", "Missing revisions", "revisions", "RevisionGaps", "noticed_at",
        (("aggregate_id", UUID), ("consumer", str), ("revision", int)),
        (
            Column("Noticed", "noticed_at", "moment"), Column("Aggregate", "aggregate_id", "identifier"),
            Column("Revision", "revision", "number"), Column("Consumer", "consumer"),
            Column("Event that came instead", "type"), Column("Alarmed", "counted_at", "moment"),
        ),
        (Choice("consumer", "Consumer"), Choice("aggregate_id", "Aggregate", type=UUID)),
        "Revisions of an aggregate that a consumer did not get are noted here.",
        beside="missed",
    ),
    List(
        "acts", "What people did", "acts", "OperatorAudit", "at", (("id", int),),
        (
            Column("When", "at", "moment"), Column("Who", "actor"), Column("What", "action"),
            Column("On", "subject", "identifier"),
        ),
        (Choice("actor", "Who"), Choice("action", "What"), Choice("subject", "On")),
        "What a person does on the console or on the command line is noted here with its time and name.",
        is_by_keys=True,
    ),
)  # fmt: skip


@dataclass
class ListPages:
    """``templates``: the console's; ``names``: the lists to serve."""

    store: Store
    templates: Any
    names: Sequence[str]

    def routes(self) -> Sequence[BaseRoute]:
        """The routes, for viewers."""
        return [Route(one.path, self._page_of(one)) for one in LISTS if one.name in self.names]

    def _page_of(self, listed: List) -> Callable[[Request], Any]:
        async def show(request: Request) -> Response:
            wanted, problems = _filter(listed, request)
            before = _cursor(listed, request.query_params.get("before", ""))
            with asking():
                rows = await self._rows(listed, wanted, before)
            shown = rows[:ROWS]
            page = self.templates.get_template("list.html").render(
                title=listed.title,
                here="/console",
                events="/console/events",
                listed=listed,
                beside=next((one for one in LISTS if one.name == listed.beside), None),
                wanted=wanted,
                problems=problems,
                rows=shown,
                newest=None if before is None else _address(listed, wanted),
                older=_address(listed, wanted, _last(listed, shown)) if len(rows) > ROWS else None,
            )
            return HTMLResponse(page, 400 if problems else 200)

        return show

    async def _rows(
        self, listed: List, wanted: dict[str, Any], before: Sequence[Any] | None
    ) -> Sequence[dict[str, Any]]:
        async with self.store.session() as session:
            found = await session.exec(statement(listed, wanted, before))
            return [dict(zip(_names(listed), row, strict=True)) for row in found]


def _names(listed: List) -> list[str]:
    return list(dict.fromkeys([*(one.name for one in listed.columns), listed.when, *listed.by]))


def statement(listed: List, wanted: dict[str, Any], before: Sequence[Any] | None) -> Any:
    """The query of a page: the rows of the filter behind ``before``, and one more."""
    model = getattr(tables, listed.model)
    by = [sql.col(getattr(model, name)) for name in listed.by]
    chosen = sql.select(*(getattr(model, name) for name in _names(listed)))
    for name, value in wanted.items():
        chosen = chosen.where(getattr(model, name) == value)
    if before is not None:
        chosen = chosen.where(sql.tuple_(*by) < sql.tuple_(*before))
    return chosen.order_by(*(one.desc() for one in by)).limit(ROWS + 1)


def _filter(listed: List, request: Request) -> tuple[dict[str, Any], list[str]]:
    """The filter in the address, and a sentence for each part of it that is not valid."""
    wanted: dict[str, Any] = {}
    problems = []
    for choice in listed.choices:
        value = request.query_params.get(choice.name, "").strip()
        if value and choice.values and value not in choice.values:
            problems.append(f"{choice.name} is one of {', '.join(choice.values)}.")
        elif len(value) > LONGEST_VALUE or "\x00" in value:
            problems.append(f"{choice.name} is too long, or holds a character that is not allowed.")
        elif value:
            try:
                wanted[choice.name] = choice.type(value)
            except ValueError:
                problems.append(f"{choice.name} is no {choice.type.__name__}.")
    return wanted, problems


def _cursor(listed: List, given: str) -> Sequence[Any] | None:
    """The end of the previous page; None for the first page, or where the address is not valid."""
    try:
        at, *keys = json.loads(given)
        when = datetime.fromisoformat(at)
        values = [kind(value) for (_, kind), value in zip(listed.keys, keys, strict=True)]
        if not all(map(_is_storable, values)) or not _FIRST_YEAR < when.year < _LAST_YEAR:
            return None
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None
    if listed.is_by_keys:
        return values
    return [when if when.tzinfo is not None else when.replace(tzinfo=UTC), *values]


def _is_storable(value: Any) -> bool:
    """Whether Postgres takes it: a bigint, or text without NUL and lone surrogates."""
    if isinstance(value, int):
        return abs(value) < _MOST_ROWS
    return not isinstance(value, str) or value.isprintable()


def _last(listed: List, rows: Sequence[dict[str, Any]]) -> str:
    last = rows[-1]
    return json.dumps([last[listed.when].isoformat(), *(str(last[name]) for name, _ in listed.keys)])


def _address(listed: List, wanted: dict[str, Any], before: str | None = None) -> str:
    parts = wanted | ({} if before is None else {"before": before})
    return f"{listed.path}?{urlencode(parts)}" if parts else listed.path
