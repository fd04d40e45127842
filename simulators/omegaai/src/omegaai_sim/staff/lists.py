"""Lists of stored resources: the newest first, a page at a time, counted by status."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from omegaai_sim.context import templates
from simulator_kit import web
from simulator_kit.store import Work

PAGE: Final = 50
_LONGEST_NUMBER: Final = 6


@dataclass(frozen=True, slots=True)
class Listing:
    """One page of a list. ``counts`` is the number of resources by status."""

    rows: list[Any]
    page: int
    total: int
    counts: Mapping[str, int]

    @property
    def has_more(self) -> bool:
        return self.page * PAGE < self.total


def newest(work: Work, kind: str, status: str, page: int) -> tuple[list[Any], int]:
    """Rows of a resource type, and their number. An empty status means all."""
    parameter, value = ("status", status) if status else ("_any", "")
    total = work.one(
        "SELECT count(*) AS n FROM search_value WHERE type = ? AND parameter = ? AND value = ?", kind, parameter, value
    )
    rows = work.all(
        "SELECT r.* FROM search_value s JOIN resource r ON r.type = s.type AND r.id = s.id "
        "WHERE s.type = ? AND s.parameter = ? AND s.value = ? ORDER BY s.number DESC LIMIT ? OFFSET ?",
        kind, parameter, value, PAGE, (page - 1) * PAGE,
    )  # fmt: skip
    return rows, int(total["n"]) if total else 0


def counts(work: Work, kind: str) -> dict[str, int]:
    rows = work.all(
        "SELECT value, count(*) AS n FROM search_value WHERE type = ? AND parameter = 'status' GROUP BY value", kind
    )
    return {row["value"]: row["n"] for row in rows}


def moment(text: str) -> datetime:
    """A stored time in UTC."""
    return datetime.fromisoformat(text).astimezone(UTC)


def page_of(request: Request) -> int:
    """`?page=`; the first page for any text that is no page number."""
    text = request.query_params.get("page", "1")
    return max(int(text), 1) if text.isdecimal() and len(text) <= _LONGEST_NUMBER else 1


def shown(request: Request, template: str, listing: Listing, status: str = "") -> Response:
    """The page of a list, with the addresses of its other pages and statuses."""

    def address(number: int, wanted: str = status) -> str:
        query = {"status": wanted, "page": number if number > 1 else ""}
        text = urlencode({name: value for name, value in query.items() if value})
        return request.url.path + (f"?{text}" if text else "")

    return web.page(templates, request, template, {"listing": listing, "chosen": status, "address": address})
