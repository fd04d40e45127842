"""The effect of a schema change on readers and writers that are not changed with it.

Old and new programs run side by side. An older reader meets messages of a newer writer; a newer reader meets messages
of an older writer, and all messages that a topic still holds. So within one version a schema may only gain optional
fields and better descriptions. A change that this module cannot judge is refused: it needs a new version.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from contracts.schemas import JsonObject

_WORDS_ONLY = {
    "$comment", "$defs", "$id", "$schema", "deprecated", "description", "discriminator", "examples", "title",
}  # fmt: skip
_LOWER_BOUNDS = {"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties", "minContains"}
_UPPER_BOUNDS = {"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties", "maxContains"}
_FORMS = {"format", "pattern"}
_OLDER_READER = "an older reader cannot take what a newer writer may send"
_OLDER_WRITER = "a newer reader refuses what an older writer sends"


@dataclass(frozen=True, slots=True)
class Change:
    """One breaking change: its place and its description."""

    path: str
    what: str


def breaking_changes(old: JsonObject, new: JsonObject) -> list[Change]:
    """The changes from ``old`` to ``new``, both self-contained JSON Schemas, that break an older reader or writer."""
    return list(_Comparison(old, new).schemas(old, new, "", frozenset()))


class _Comparison:
    def __init__(self, old: JsonObject, new: JsonObject) -> None:
        self._old_root = old
        self._new_root = new

    def schemas(self, old: Any, new: Any, path: str, inside: frozenset[tuple[str, str]]) -> Iterator[Change]:
        pair = (_reference(old), _reference(new))
        if pair[0] and pair[1]:
            if pair in inside:  # a recursive schema: already compared further out
                return
            inside |= {pair}
        old, new = _resolved(old, self._old_root), _resolved(new, self._new_root)
        if old.get("default") != new.get("default") or ("default" in old) != ("default" in new):
            yield Change(path, f"default changed: {_of(old, 'default')} to {_of(new, 'default')}")
        if _unions(old) or _unions(new):
            yield from self._variants(old, new, path, inside)
        else:
            yield from self._keywords(old, new, path, inside)

    def _keywords(
        self, old: JsonObject, new: JsonObject, path: str, inside: frozenset[tuple[str, str]]
    ) -> Iterator[Change]:
        yield from _types(old, new, path)
        yield from _values(old, new, path)
        yield from self._fields(old, new, path, inside)
        yield from self._additional(old, new, path, inside)
        if "items" in old and "items" in new:
            yield from self.schemas(old["items"], new["items"], f"{path}[]", inside)
        judged = {"type", "const", "enum", "properties", "required", "additionalProperties", "default"} | _WORDS_ONLY
        if "items" in old and "items" in new:
            judged |= {"items"}
        for keyword in sorted((old.keys() | new.keys()) - judged):
            if _written_out(old.get(keyword), self._old_root) != _written_out(new.get(keyword), self._new_root):
                yield Change(path, _limit(keyword, old, new))

    def _fields(
        self, old: JsonObject, new: JsonObject, path: str, inside: frozenset[tuple[str, str]]
    ) -> Iterator[Change]:
        before, after = old.get("properties", {}), new.get("properties", {})
        had_to, has_to = set(old.get("required", ())), set(new.get("required", ()))
        for name in sorted(before.keys() | after.keys() | had_to | has_to):
            here = f"{path}.{name}" if path else name
            if name not in before and name in has_to - had_to:
                yield Change(here, f"new required field: {_OLDER_WRITER}")
            elif name not in before and old.get("additionalProperties") is False:
                yield Change(here, f"new field in a closed object: {_OLDER_READER}")
            elif name in before and name not in after:
                yield Change(here, "field removed: an older reader misses it")
            elif name in had_to - has_to:
                yield Change(here, f"required field became optional: {_OLDER_READER}")
            elif name in before and name in has_to - had_to:
                yield Change(here, f"optional field became required: {_OLDER_WRITER}")
            if name in before and name in after:
                yield from self.schemas(before[name], after[name], here, inside)

    def _additional(
        self, old: JsonObject, new: JsonObject, path: str, inside: frozenset[tuple[str, str]]
    ) -> Iterator[Change]:
        before, after = old.get("additionalProperties", True), new.get("additionalProperties", True)
        if before is after:
            return
        if after is False:
            yield Change(path, f"additionalProperties closed: {_OLDER_WRITER} once it sends a field more")
        elif before is False:
            yield Change(path, f"additionalProperties opened: {_OLDER_READER}")
        else:
            yield from self.schemas(before, after, f"{path}.*", inside)

    def _variants(
        self, old: JsonObject, new: JsonObject, path: str, inside: frozenset[tuple[str, str]]
    ) -> Iterator[Change]:
        before, after = _choices(old), _choices(new)
        lone_old: list[Any] = []
        waiting = [(_signature(_resolved(choice, self._new_root)), choice) for choice in after]
        for choice in before:
            wanted = _signature(_resolved(choice, self._old_root))
            match = next((entry for entry in waiting if entry[0] == wanted), None)
            if match is None:
                lone_old.append(choice)
            else:
                waiting.remove(match)
                yield from self.schemas(choice, match[1], path, inside)
        lone_new = [choice for _, choice in waiting]
        if len(lone_old) == len(lone_new) == 1:
            yield from self.schemas(lone_old[0], lone_new[0], path, inside)
        else:
            for choice in lone_old:
                yield Change(path, f"{_called(choice, self._old_root)} no longer allowed: {_OLDER_WRITER}")
            for choice in lone_new:
                yield Change(path, f"{_called(choice, self._new_root)} allowed as well: {_OLDER_READER}")
        if _unions(old) and _unions(new):
            if _unions(old) != _unions(new):
                yield Change(path, f"{', '.join(_unions(old))} became {', '.join(_unions(new))}")
            yield from self._keywords(_without_unions(old), _without_unions(new), path, inside)


def _reference(schema: Any) -> str:
    return str(schema.get("$ref", "")) if isinstance(schema, dict) else ""


def _resolved(schema: Any, root: JsonObject) -> JsonObject:
    """The schema with its reference followed; keywords beside the reference win."""
    if isinstance(schema, bool):
        return {} if schema else {"not": {}}
    followed: JsonObject = schema
    while "$ref" in followed:
        target: Any = root
        for step in followed["$ref"].removeprefix("#/").split("/"):
            target = target[step.replace("~1", "/").replace("~0", "~")]
        followed = {**target, **{name: value for name, value in followed.items() if name != "$ref"}}
    return followed


def _written_out(value: Any, root: JsonObject, inside: frozenset[str] = frozenset()) -> Any:
    """The value with each reference replaced by its target, except references to a schema that contains them."""
    if isinstance(value, list):
        return [_written_out(one, root, inside) for one in value]
    if not isinstance(value, dict):
        return value
    reference = _reference(value)
    if reference in inside:
        return value
    followed = _resolved(value, root) if reference else value
    return {name: _written_out(one, root, inside | {reference}) for name, one in followed.items()}


def _types(old: JsonObject, new: JsonObject, path: str) -> Iterator[Change]:
    before, after = _type_names(old), _type_names(new)
    if before == after:
        return
    if not before or (after and after < before):
        yield Change(path, f"type narrowed: {_of(old, 'type')} to {_of(new, 'type')}; {_OLDER_WRITER}")
    elif before < after or not after:
        yield Change(path, f"type widened: {_of(old, 'type')} to {_of(new, 'type')}; {_OLDER_READER}")
    else:
        yield Change(path, f"type changed: {_of(old, 'type')} to {_of(new, 'type')}")


def _type_names(schema: JsonObject) -> set[str]:
    kind = schema.get("type", [])
    return {kind} if isinstance(kind, str) else set(kind)


def _values(old: JsonObject, new: JsonObject, path: str) -> Iterator[Change]:
    if "const" in old and "const" in new:
        if old["const"] != new["const"]:
            yield Change(path, f"const changed: {_of(old, 'const')} to {_of(new, 'const')}")
        return
    before, after = _allowed(old), _allowed(new)
    if before is None and after is None:
        return
    if before is None:
        yield Change(path, f"enum added where any value was allowed: {_OLDER_WRITER}")
    elif after is None:
        yield Change(path, f"enum removed, any value is allowed: {_OLDER_READER}")
    else:
        for value in before:
            if value not in after:
                yield Change(path, f"enum value removed: {json.dumps(value)}; {_OLDER_WRITER}")
        for value in after:
            if value not in before:
                yield Change(path, f"enum value added: {json.dumps(value)}; {_OLDER_READER}")


def _allowed(schema: JsonObject) -> list[Any] | None:
    if "const" in schema:
        return [schema["const"]]
    allowed: list[Any] | None = schema.get("enum")
    return allowed


def _limit(keyword: str, old: JsonObject, new: JsonObject) -> str:
    change = f"{_of(old, keyword)} to {_of(new, keyword)}"
    if keyword in _LOWER_BOUNDS | _UPPER_BOUNDS | _FORMS:
        if keyword not in old:
            return f"{keyword} tightened: {change}; {_OLDER_WRITER}"
        if keyword not in new:
            return f"{keyword} loosened: {change}; {_OLDER_READER}"
        if keyword in _FORMS:
            return f"{keyword} changed: {change}"
        if (new[keyword] > old[keyword]) == (keyword in _LOWER_BOUNDS):
            return f"{keyword} tightened: {change}; {_OLDER_WRITER}"
        return f"{keyword} loosened: {change}; {_OLDER_READER}"
    return f"{keyword} changed: {change}"


def _of(schema: JsonObject, keyword: str) -> str:
    return json.dumps(schema[keyword]) if keyword in schema else "none"


def _unions(schema: JsonObject) -> list[str]:
    return [keyword for keyword in ("anyOf", "oneOf") if keyword in schema]


def _without_unions(schema: JsonObject) -> JsonObject:
    return {keyword: value for keyword, value in schema.items() if keyword not in {"anyOf", "oneOf"}}


def _choices(schema: JsonObject) -> list[Any]:
    if _unions(schema):
        return [choice for keyword in _unions(schema) for choice in schema[keyword]]
    return [{keyword: value for keyword, value in schema.items() if keyword != "default"}]


def _signature(schema: JsonObject) -> str:
    """The marks by which a union's choices are told apart: the type, and for tagged objects the tags."""
    tags = {name: field["const"] for name, field in schema.get("properties", {}).items() if "const" in field}
    return json.dumps([schema.get("type"), schema.get("const"), tags], sort_keys=True)


def _called(schema: Any, root: JsonObject) -> str:
    resolved = _resolved(schema, root)
    return str(resolved.get("title") or resolved.get("type") or json.dumps(resolved))
