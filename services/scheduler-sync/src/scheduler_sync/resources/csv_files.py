"""PowerServer's resource grid as a CSV export: read tolerantly, each bad row named by line and column.

Accepted: UTF-8 with or without BOM, UTF-16 with BOM, Windows-1252; comma, semicolon, tab or bar; columns in any order
and case; line breaks within quotes. A resource's name is taken as it stands: a blank more is a difference that the user
must see. A bad row is left out, the others are taken.
"""

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, TypeVar

from scheduler_sync.domain.resource import GridRow, Hours, clock

SOURCE: Final = "csv"
LARGEST_BYTES: Final = 16 * 1024 * 1024
MOST_ROWS: Final = 20_000
MOST_PROBLEMS: Final = 1_000
LONGEST_VALUE: Final = 200
LONGEST_MINUTES: Final = 31 * 24 * 60
_DELIMITERS: Final = ",;\t|"
_ON: Final = frozenset({"1", "y", "yes", "true", "t", "on", "x", "✓", "checked", "ja", "oui", "si", "sí"})
_OFF: Final = frozenset({"0", "n", "no", "false", "f", "off", "", "unchecked", "nein", "non"})

_HEADERS: Final[Mapping[str, tuple[str, ...]]] = {
    "name": ("resource", "resource name", "name"),
    "facility": ("facility", "facility code", "imaging facility", "location facility"),
    "key": ("id", "resource id", "key"),
    "kind": ("type", "resource type"),
    "modality": ("modality",),
    "department": ("department", "department/floor", "department floor"),
    "room": ("room", "room name"),
    "category": ("class",),
    "opens": ("start time", "start", "opens", "from"),
    "closes": ("end time", "end", "closes", "to"),
    "duration": ("default duration", "duration", "default duration (min)", "default duration (minutes)", "minutes"),
    "overbooking": ("overbooking", "overbook", "allow overbooking"),
    "active": ("active", "enabled"),
}
_COLUMN: Final = {header: name for name, headers in _HEADERS.items() for header in headers}
_WORDS: Final = ("key", "kind", "department", "room", "category")
_EMPTY_HEADERS: Final = frozenset({""})
_HINT: Final = "sep="
_LONGEST_HEADER: Final = 100_000
MOST_OPEN_QUOTES: Final = 20
_LENGTH: Final = re.compile(r"(?:(\d{1,3}):([0-5]\d)(?::00)?|(\d{1,6}))\s*(?:m|min|mins|minute|minutes)?\.?", re.ASCII)
_TWELVE: Final = re.compile(r"(\d{1,2}(?::?[0-5]\d){0,2})\s*([ap])\.?m\.?", re.ASCII)
_HOUR: Final = 3600
_NOON: Final = 12


@dataclass(frozen=True, slots=True)
class Problem:
    """A part of the file that was not taken. ``line``: of the file, from 1; ``column``: its header."""

    line: int
    column: str
    why: str

    def words(self) -> str:
        return f"line {self.line}, {self.column}: {self.why}" if self.column else f"line {self.line}: {self.why}"


@dataclass(slots=True)
class CsvFile:
    """What a file holds: the rows that can be taken, the rows that cannot, and the columns that nobody reads."""

    rows: list[GridRow] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    ignored_columns: list[str] = field(default_factory=list)
    bad_rows: int = 0

    def add(self, row: "_Row", taken: GridRow | None) -> None:
        if taken is not None:
            self.rows.append(taken)
        self.bad_rows += bool(row.problems)
        self.problems += row.problems[: max(0, MOST_PROBLEMS - len(self.problems))]


class UnreadableFileError(Exception):
    """The file as a whole cannot be read; the text says why."""


class _BadValueError(Exception):
    """A value of a row is not valid."""


def read(content: bytes, *, facilities: Iterable[str], default_facility: str | None, at: datetime) -> CsvFile:
    """Reads an export. Raises ``UnreadableFileError`` for a file without the columns that are needed.

    ``default_facility``: of rows without one, because a facility's own grid has no such column.
    """
    if len(content) > LARGEST_BYTES:
        raise UnreadableFileError(f"the file is larger than {LARGEST_BYTES // 2**20} MiB")
    lines = _lines_of(_decoded(content))
    rows = _rows(lines, _delimiter(lines))
    header = next((cells for _, cells, _ in rows if any(cell.strip() for cell in cells)), None)
    if header is None:
        raise UnreadableFileError("the file has no rows")
    columns, ignored = _columns(header)
    known = frozenset(facilities)
    if "facility" not in columns and default_facility is None:
        raise UnreadableFileError("there is no column Facility; name the facility with --facility")
    if default_facility is not None and default_facility not in known:
        raise UnreadableFileError("the facility of --facility is not in the site file")
    found = CsvFile(ignored_columns=ignored)
    seen: dict[tuple[str, str], int] = {}
    for number, (line, cells, error) in enumerate(rows, 1):
        if number > MOST_ROWS:
            raise UnreadableFileError(f"line {line}: the file has more than {MOST_ROWS} rows")
        if error or any(cell.strip() for cell in cells):
            row = _Row(line, cells, header, columns)
            taken = None if row.is_refused(error) else row.taken(known, default_facility, at)
            found.add(row, taken if taken is None else row.first_of_its_name(taken, seen))
    return found


_V = TypeVar("_V")


@dataclass(slots=True)
class _Row:
    """One row while it is read."""

    line: int
    cells: Sequence[str]
    header: Sequence[str]
    columns: Mapping[str, int]
    problems: list[Problem] = field(default_factory=list)

    def refuse(self, name: str, why: str) -> None:
        place = self.columns.get(name)
        self.problems.append(Problem(self.line, name if place is None else self.header[place].strip(), why))

    def is_refused(self, error: str) -> bool:
        """Whether the row's quotes could not be read."""
        if error:
            self.refuse("", error)
        return bool(error)

    def taken(self, facilities: frozenset[str], default_facility: str | None, at: datetime) -> GridRow | None:
        """The row's facts; None where there are problems."""
        if len(self.cells) > len(self.header):
            self.refuse("", f"has {len(self.cells)} values for {len(self.header)} columns")
            return None
        facts: dict[str, Any] = {one: self._value(one, _text) for one in _WORDS}
        facts["modality"] = self._value("modality", _modality)
        facts["duration_minutes"] = self._value("duration", minutes)
        facts["overbooking"] = self._value("overbooking", _switch)
        facts["active"] = self._value("active", lambda text: _switch(text) if text.strip() else None)
        facts["hours"] = self._hours()
        name = self._value("name", _name)
        facility = self._value("facility", lambda text: _facility(text, facilities, default_facility))
        facility = facility or default_facility
        if self.problems or name is None or facility is None:
            return None
        return GridRow(facility=facility, name=name, at=at, source=SOURCE, **facts)

    def first_of_its_name(self, taken: GridRow, seen: dict[tuple[str, str], int]) -> GridRow | None:
        """The facts, unless an earlier row has the same name at the same facility."""
        first = seen.setdefault((taken.facility, taken.name), self.line)
        if first == self.line:
            return taken
        self.refuse("name", f"is in line {first} already: the first one is taken")
        return None

    def _hours(self) -> Hours | None:
        before = len(self.problems)
        opens, closes = self._value("opens", _clock), self._value("closes", _clock)
        if len(self.problems) > before or (opens is None and closes is None):
            return None
        if opens is None or closes is None:
            self.refuse("opens" if opens is None else "closes", "is missing")
            return None
        if opens == closes:
            self.refuse("closes", "is the start")
        return Hours.window(opens, closes)

    def _value(self, name: str, read_it: Callable[[str], _V]) -> _V | None:
        """The value of a column; None where the file has no such column, or the row's value is bad."""
        place = self.columns.get(name)
        if place is None:
            return None
        given = self.cells[place] if place < len(self.cells) else ""
        if len(given) > LONGEST_VALUE:
            self.refuse(name, f"is longer than {LONGEST_VALUE} characters")
            return None
        try:
            return read_it(given)
        except _BadValueError as bad:
            self.refuse(name, str(bad))
            return None


def _lines_of(text: str) -> list[str]:
    return list(io.StringIO(text, newline=""))


def _rows(lines: Sequence[str], delimiter: str) -> Iterator[tuple[int, list[str], str]]:
    """Each row with the line on which it begins, and what is wrong with its quotes.

    After a quote that is never closed the file is read on from the next line, a few times.
    """
    start, open_quotes = 0, 0
    while start < len(lines):
        reader = csv.reader((lines[place] for place in range(start, len(lines))), delimiter=delimiter, strict=True)
        line = start + 1
        for _ in iter(int, 1):
            line = start + reader.line_num + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error:
                is_open = start + reader.line_num >= len(lines)
                open_quotes += is_open
                yield line, [], "a quote is not closed" if is_open else "the quotes do not fit"
                break
            if not _is_hint(cells, line):
                yield line, cells, ""
        start = line
        if open_quotes > MOST_OPEN_QUOTES:
            yield line + 1, [], "not read from here on: too many quotes are not closed"
            return


def _is_hint(cells: Sequence[str], line: int) -> bool:
    """``sep=;`` in the first line is Excel's own word about the delimiter."""
    return line == 1 and cells[:1] != [] and cells[0].casefold().startswith("sep=")


def _decoded(content: bytes) -> str:
    """The text. Excel writes UTF-8 with a BOM, UTF-16 ("Unicode text") or Windows' own letters."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding = "utf-16"
    elif content.startswith(b"\xef\xbb\xbf"):
        encoding = "utf-8-sig"
    else:
        encoding = "utf-8"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        if encoding != "utf-8":
            raise UnreadableFileError(f"the file says {encoding} and is not") from None
        text = content.decode("cp1252", "replace")
    if "\x00" in text:
        raise UnreadableFileError("the file is not text: it holds NUL")
    return text


def _delimiter(lines: Sequence[str]) -> str:
    """The delimiter of the first row that is not empty: the one outside of quotes that occurs most."""
    row = next((line for line in lines if line.strip()), "").rstrip("\r\n")
    if row.casefold().startswith(_HINT) and len(row) > len(_HINT):
        return row[len(_HINT)]
    outside = "".join(row[:_LONGEST_HEADER].split('"')[::2])
    return max(_DELIMITERS, key=outside.count)


def _columns(header: Sequence[str]) -> tuple[dict[str, int], list[str]]:
    columns: dict[str, int] = {}
    ignored: list[str] = []
    for place, given in enumerate(header):
        words = " ".join(given.replace("_", " ").casefold().split()).rstrip(":")
        name = _COLUMN.get(words)
        if name is None:
            ignored += [] if words in _EMPTY_HEADERS else [given.strip()[:LONGEST_VALUE]]
        elif name in columns:
            raise UnreadableFileError(f"line 1: two columns mean the same: {header[columns[name]]!r} and {given!r}")
        else:
            columns[name] = place
    if "name" not in columns:
        raise UnreadableFileError("line 1: no column Resource (or Resource Name, Name)")
    return columns, ignored


def _name(text: str) -> str:
    if not text.strip():
        raise _BadValueError("is missing")
    if not text.isprintable():
        raise _BadValueError("holds a line break or a control character")
    return text


def _facility(text: str, known: frozenset[str], default: str | None) -> str:
    code = text.strip() or default
    if code is None:
        raise _BadValueError("is missing")
    if code not in known:
        raise _BadValueError("is not among the facilities of the site file")
    return code


def _text(text: str) -> str | None:
    if not text.replace("\n", " ").replace("\r", " ").isprintable():
        raise _BadValueError("holds a control character")
    return " ".join(text.split()) or None


def _modality(text: str) -> str | None:
    found = text.strip().upper()
    if not found.isprintable():
        raise _BadValueError("holds a control character")
    return found or None


def minutes(text: str) -> int | None:
    """``30``, ``30 min``, ``00:30``, ``0:30:00``; None when it is empty."""
    given = text.strip().casefold()
    if not given:
        return None
    match = _LENGTH.fullmatch(given)
    if match is None:
        raise _BadValueError("is no length in minutes")
    found = int(match[3]) if match[3] else int(match[1]) * 60 + int(match[2])
    if not 1 <= found <= LONGEST_MINUTES:
        raise _BadValueError("is no length in minutes")
    return found


def _switch(text: str) -> bool:
    given = text.strip().casefold()
    if given in _ON:
        return True
    if given in _OFF:
        return False
    raise _BadValueError("is neither yes nor no")


def _clock(text: str) -> int | None:
    """``08:00``, ``0800``, ``8:00 AM``, ``11:00 p.m.``; None when it is empty."""
    given = text.strip().casefold()
    if not given:
        return None
    match = _TWELVE.fullmatch(given)
    found = clock(match[1] if match else given)
    if found is not None and match is not None:
        hour = found // _HOUR
        is_on_the_face = 1 <= hour <= _NOON
        found = found % _HOUR + (hour % _NOON + (_NOON if match[2] == "p" else 0)) * _HOUR if is_on_the_face else None
    if found is None:
        raise _BadValueError("is no time of day")
    return found
