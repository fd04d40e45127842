"""How the command line shows rows: the same four columns in every list, within 100 columns, or everything as JSON.

The id is shown whole, because the next command needs it. Below it stand, in full, the text that does not fit and the
reason why something waits.
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
    """One row: its name, its time, its state, its kind; and the reason, if there is one."""

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
    """Prints the rows and, last, their number; as JSON one object a line, and the number on standard error."""
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
    """The columns; text that does not fit stands below them, so that nothing is cut."""
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
