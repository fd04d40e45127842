"""Reads the site file, and reads it again when it changes.

An invalid edit keeps the content before it: a typing mistake must not stop a hospital's messages.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, Generic, TypeAlias, TypeVar

import structlog
import yaml
from pydantic import BaseModel, ValidationError

from site_file.model import SharedSite

_log = structlog.get_logger(__name__)
S = TypeVar("S", bound=SharedSite)
M = TypeVar("M", bound=BaseModel)
_ALIKE: Final = 0.8
"""The ratio of difflib above which an unknown key counts as a misspelt one."""
_PERHAPS: Final = 0.6
"""The ratio above which a known key is offered for an unknown one."""
_UNREAD: Final = (0, 0)


class SiteFileError(Exception):
    """The site file is invalid; the text names the file, the line and the key."""


@dataclass(frozen=True, slots=True)
class Content:
    """A YAML file as it was read: its values, and the line of each key."""

    path: Path
    values: Any
    _node: yaml.Node | None

    def line(self, keys: Sequence[int | str]) -> int:
        """The line, from 1 on, of the deepest of ``keys`` that is in the file."""
        line, node = 1 if self._node is None else self._node.start_mark.line + 1, self._node
        for key in keys:
            found = _within(node, key)
            if found is None:
                break
            line, node = found
        return line

    def has(self, keys: Sequence[int | str]) -> bool:
        """Whether the file says anything under ``keys``."""
        node = self._node
        for key in keys:
            found = _within(node, key)
            if found is None:
                return False
            node = found[1]
        return True

    def validated(self, of: type[M], values: Any = None) -> M:
        """The file's values as ``of``. SiteFileError with the file, the line, the key, and what is wrong."""
        try:
            return of.model_validate(self.values if values is None else values)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            within = first.get("ctx", {}).get("keys", ())  # of a rule over several keys
            keys = (*(step for step in first["loc"] if step != "[key]"), *within)
            raise SiteFileError(f"{self.path}:{self.line(keys)}: {_said(keys, first, of)}") from error


def read(path: Path) -> Content:
    """The content of a YAML file. SiteFileError when it is unreadable or not YAML."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SiteFileError(f"{path}: cannot be read ({type(error).__name__})") from error
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        return Content(path, yaml.safe_load(text), node)
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark is not None else ""
        raise SiteFileError(f"{path}{line}: is not YAML ({getattr(error, 'problem', 'unreadable')})") from error


def load(path: Path, of: type[S]) -> S:
    """The shared keys and the keys that ``of`` adds.

    Raises SiteFileError when the file is unreadable or a key is wrong. Any other top-level key that holds a mapping is
    another service's section and is ignored.
    """
    return of_content(read(path), of)


def of_content(content: Content, of: type[S]) -> S:
    """As ``load``, from a file that was read."""
    values = content.values
    if isinstance(values, dict):
        values = {key: value for key, value in values.items() if not _is_of_another_service(key, value, of)}
    return content.validated(of, values)


def _is_of_another_service(key: object, value: object, of: type[SharedSite]) -> bool:
    """Whether ``key`` is another service's section. A misspelt key of ours is refused, not ignored."""
    known = _keys(of)
    return key not in known and isinstance(value, dict) and not get_close_matches(str(key), known, cutoff=_ALIKE)


def _keys(of: type[BaseModel]) -> list[str]:
    """The top-level keys that ``of`` reads."""
    return [field.alias or name for name, field in of.model_fields.items()]


def _said(keys: tuple[int | str, ...], error: Any, of: type[BaseModel]) -> str:
    """The error as one sentence that begins with the key."""
    key = ".".join(str(step) for step in keys) or "the file"
    if error["type"] != "extra_forbidden":
        return f"{key}: {error['msg'].removeprefix('Value error, ')}"
    section = _section(of, keys[:-1])
    former = getattr(section, "FORMER", {}).get(keys[-1])
    if former is not None:
        return f"{key}: {former}"
    alike = get_close_matches(str(keys[-1]), [] if section is None else _keys(section), n=1, cutoff=_PERHAPS)
    return f"{key}: no service knows this key" + (f"; is {alike[0]} meant?" if alike else "")


def _section(of: type[BaseModel], keys: Sequence[int | str]) -> type[BaseModel] | None:
    """The model of the section under ``keys``; None where it is none."""
    for key in keys:
        field = next((one for name, one in of.model_fields.items() if key in {name, one.alias}), None)
        if field is None or not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            return None
        of = field.annotation
    return of


def _within(node: yaml.Node | None, key: int | str) -> tuple[int, yaml.Node] | None:
    """The line and the node of one key, or of one item of a list."""
    if isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
        item = node.value[key]
        return item.start_mark.line + 1, item
    if not isinstance(node, yaml.MappingNode):
        return None
    found = next(((name, value) for name, value in node.value if str(name.value) == str(key)), None)
    return None if found is None else (found[0].start_mark.line + 1, found[1])


Loader: TypeAlias = Callable[[Path, Callable[[Path], None]], S]
"""Reads a site file and the files that it names. It calls the function with each further path, before it reads it."""


class Site(Generic[S]):
    """The site file's present content. ``refresh`` looks for a change; ``problem`` says what is wrong with the file."""

    def __init__(self, path: Path, of: type[S], loader: "Loader[S] | None" = None) -> None:
        self._path = path
        self._loader: Loader[S] = loader or (lambda where, _: load(where, of))
        self._named: dict[Path, tuple[int, int]] = {}
        self.problem: str | None = None
        self._seen = self._stamp()
        self.file: S = self._load()

    def refresh(self) -> bool:
        """Read the file again if it, or a file that it names, has changed; True when new content is in force."""
        stamp = self._stamp()
        if stamp == self._seen:
            return False
        self._seen = stamp
        try:
            self.file = self._load()
        except SiteFileError as error:
            self.problem = str(error)
            _log.error("site-file.refused", problem=self.problem, kept="the content before the edit")
            return False
        self.problem = None
        _log.info("site-file.read", facilities=len(self.file.facilities))
        return True

    def _load(self) -> S:
        """Refused content names files as well: they are looked at until it is mended."""
        self._named = {}
        try:
            return self._loader(self._path, self._watch)
        finally:
            self._seen = (self._seen[0], *self._named.values())

    def _watch(self, path: Path) -> None:
        self._named[path] = _stamp_of(path)

    def _stamp(self) -> tuple[tuple[int, int], ...]:
        return tuple(_stamp_of(path) for path in (self._path, *self._named))


def _stamp_of(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return _UNREAD
    return found.st_mtime_ns, found.st_size
