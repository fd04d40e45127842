"""Reads the site file, and reads it again when it changes.

An invalid edit keeps the content before it: a typing mistake must not stop a hospital's messages.
"""

from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import structlog
import yaml
from pydantic import ValidationError

from site_file.model import SharedSite

_log = structlog.get_logger(__name__)
S = TypeVar("S", bound=SharedSite)
_ALIKE: Final = 0.8
"""The ratio of difflib above which an unknown key counts as a misspelt one."""
_UNREAD: Final = (0, 0)


class SiteFileError(Exception):
    """The site file is invalid; the text names the file, the line and the key."""


def load(path: Path, of: type[S]) -> S:
    """The shared keys and the keys that ``of`` adds.

    Raises SiteFileError when the file is unreadable or a key is wrong. Any other top-level key that holds a mapping is
    another service's section and is ignored.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SiteFileError(f"{path}: cannot be read ({type(error).__name__})") from error
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        values: Any = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        raise SiteFileError(f"{path}{line}: is not YAML ({getattr(error, 'problem', 'unreadable')})") from error
    if isinstance(values, dict):
        values = {key: value for key, value in values.items() if not _is_of_another_service(key, value, of)}
    try:
        return of.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        keys = tuple(step for step in first["loc"] if step != "[key]")
        raise SiteFileError(f"{path}, line {_line_of(node, keys)}: {_said(keys, first, of)}") from error


def _is_of_another_service(key: object, value: object, of: type[SharedSite]) -> bool:
    """Whether ``key`` is another service's section. A misspelt key of ours is refused, not ignored."""
    known = _keys(of)
    return key not in known and isinstance(value, dict) and not get_close_matches(str(key), known, cutoff=_ALIKE)


def _keys(of: type[SharedSite]) -> list[str]:
    """The top-level keys that ``of`` reads."""
    return [field.alias or name for name, field in of.model_fields.items()]


def _said(keys: tuple[int | str, ...], error: Any, of: type[SharedSite]) -> str:
    """The error as one sentence that begins with the key."""
    key = ".".join(str(step) for step in keys) or "the file"
    if error["type"] != "extra_forbidden":
        return f"{key}: {error['msg']}"
    alike = get_close_matches(str(keys[-1]), _keys(of), n=1, cutoff=_ALIKE) if len(keys) == 1 else []
    return f"{key}: no service knows this key" + (f"; is {alike[0]} meant?" if alike else "")


def _line_of(node: yaml.Node | None, keys: tuple[int | str, ...]) -> int:
    """The line of the deepest of ``keys`` that is in the file."""
    line = 1 if node is None else node.start_mark.line + 1
    for key in keys:
        if not isinstance(node, yaml.MappingNode):
            break
        found = next(((name, value) for name, value in node.value if str(name.value) == str(key)), None)
        if found is None:
            break
        line, node = found[0].start_mark.line + 1, found[1]
    return line


class Site(Generic[S]):
    """The site file's present content. ``refresh`` looks for a change; ``problem`` says what is wrong with the file."""

    def __init__(self, path: Path, of: type[S]) -> None:
        self._path = path
        self._of = of
        self.problem: str | None = None
        self._seen = self._stamp()
        self.file: S = load(path, of)

    def refresh(self) -> bool:
        """Read the file again if it has changed; True when new content is in force."""
        stamp = self._stamp()
        if stamp == self._seen:
            return False
        self._seen = stamp
        try:
            self.file = load(self._path, self._of)
        except SiteFileError as error:
            self.problem = str(error)
            _log.error("site-file.refused", problem=self.problem, kept="the content before the edit")
            return False
        self.problem = None
        _log.info("site-file.read", facilities=len(self.file.facilities))
        return True

    def _stamp(self) -> tuple[int, int]:
        try:
            found = self._path.stat()
        except OSError:
            return _UNREAD
        return found.st_mtime_ns, found.st_size
