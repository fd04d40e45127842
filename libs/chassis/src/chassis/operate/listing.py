"""How the command line shows rows: the same four columns in every list, within 100 columns; all of them as JSON.

The id comes whole, because the next command wants it; what does not fit beside it and why something waits stand below,
in full.
"""

import json
import sys
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

from chassis.clock import moment

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

R = TypeVar("R", bound="DataclassInstance")
WIDTH = 100
_HEADER = ("id", "at (UTC)", "state", "what")
_WIDTHS = (36, 19, 11)


@dataclass(frozen=True, slots=True)
class Line:
    """One row: what it is called, when it came, how it stands, what it is; why, where there is something to say."""

    id: object
    at: datetime | None
    state: str
    what: str
    why: str = ""


def show(
    rows: Sequence[R],
    line: Callable[[R], Line],
    *,
    one: str,
    many: str,
    limit: int | None = None,
    as_json: bool = False,
) -> int:
    """Prints the rows and, last, how many they are; as JSON one object a line, and the count on standard error."""
    count = f"{len(rows)} {one if len(rows) == 1 else many}"
    if limit is not None and len(rows) == limit:
        count += " (no more are shown: --limit)"
    if as_json:
        for row in rows:
            print(json.dumps({one.name: plain(getattr(row, one.name)) for one in fields(row)}, ensure_ascii=False))
        print(count, file=sys.stderr)
        return 0
    if rows:
        print(_columns(_HEADER))
    for row in rows:
        shown = line(row)
        for text in _lines(shown):
            print(text)
        if shown.why:
            print(textwrap.fill(shown.why, WIDTH, initial_indent="    ", subsequent_indent="    "))
    print(count)
    return 0


def _lines(shown: Line) -> list[str]:
    """The columns; of what does not fit beside them the rest stands below, so that nothing is cut."""
    first = (str(shown.id), moment(shown.at) if shown.at else "–", shown.state)
    beside, *below = shown.what.split(" ") or [""]
    room = WIDTH - len(_columns((*first, "")))
    while below and len(beside) + 1 + len(below[0]) <= room:
        beside += f" {below.pop(0)}"
    if len(beside) > room:
        beside, below = "", [beside, *below]
    rest = textwrap.wrap(" ".join(below), WIDTH, initial_indent="    ", subsequent_indent="    ")
    return [_columns((*first, beside)).rstrip(), *rest]


def _columns(texts: Sequence[str]) -> str:
    *first, last = texts
    padded = [text.ljust(width) for text, width in zip(first, _WIDTHS, strict=True)]
    return "  ".join([*padded, last])


def plain(value: object) -> object:
    """A value as JSON has it."""
    if isinstance(value, datetime):
        return value.isoformat()
    return value if isinstance(value, str | int | float | bool | dict | list | None) else str(value)
