"""Each kind of change, at each place in a schema: refused or accepted, and never judged by accident."""

import copy
from collections.abc import Callable

import pytest

from contracts.compatibility import breaking_changes

Schema = dict

THING: Schema = {
    "type": "object",
    "title": "Thing",
    "description": "A thing.",
    "properties": {
        "code": {"type": "string", "minLength": 1, "maxLength": 20, "pattern": "^[A-Z]+$", "description": "Code."},
        "at": {"type": "string", "format": "date-time"},
        "count": {"type": "integer", "minimum": 1, "maximum": 9, "multipleOf": 1},
        "ratio": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
        "status": {"type": "string", "enum": ["open", "shut"]},
        "kind": {"type": "string", "const": "thing"},
        "note": {"anyOf": [{"type": "string", "format": "uri"}, {"type": "null"}], "default": None},
        "words": {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 5},
        "free": {"type": "string"},
        "several": {"type": ["string", "integer"]},
        "any": {},
        "counts": {"type": "object", "additionalProperties": {"type": "integer"}},
        "either": {"oneOf": [{"$ref": "#/$defs/Left"}, {"$ref": "#/$defs/Right"}]},
    },
    "required": ["code", "at", "count", "status", "kind", "words"],
}
TAGGED = {
    side: {
        "type": "object",
        "properties": {"side": {"type": "string", "const": side.lower()}, "depth": {"type": "integer"}},
        "required": ["side", "depth"],
    }
    for side in ("Left", "Right", "Middle")
}

PLACES: dict[str, tuple[Schema, str]] = {
    "top": ({"$ref": "#/$defs/Thing"}, ""),
    "field": ({"type": "object", "properties": {"data": {"$ref": "#/$defs/Thing", "description": "It."}}}, "data"),
    "list": (
        {"type": "object", "properties": {"many": {"type": "array", "items": {"$ref": "#/$defs/Thing"}}}},
        "many[]",
    ),
    "nullable": (
        {"type": "object", "properties": {"maybe": {"anyOf": [{"$ref": "#/$defs/Thing"}, {"type": "null"}]}}},
        "maybe",
    ),
    "deep": (
        {
            "type": "object",
            "properties": {"a": {"type": "object", "properties": {"b": {"$ref": "#/$defs/Thing"}}}},
        },
        "a.b",
    ),
    "dictionary": (
        {"type": "object", "properties": {"by": {"type": "object", "additionalProperties": {"$ref": "#/$defs/Thing"}}}},
        "by.*",
    ),
}


def edit(field: str, **keywords) -> Callable[[Schema], None]:
    """Sets keywords of a field; None removes a keyword."""

    def change(thing: Schema) -> None:
        for keyword, value in keywords.items():
            if value is None:
                thing["properties"][field].pop(keyword)
            else:
                thing["properties"][field][keyword] = value

    return change


def swap(field: str, schema: Schema) -> Callable[[Schema], None]:
    return lambda thing: thing["properties"].update({field: schema})


def do(*changes: Callable[[Schema], object]) -> Callable[[Schema], None]:
    def change(thing: Schema) -> None:
        for one in changes:
            one(thing)

    return change


STRING_OR_NULL = [{"type": "string", "format": "uri"}, {"type": "null"}]

REFUSED: dict[str, tuple[Callable[[Schema], object], str, str]] = {
    # kind: (what is done to the new schema, field, what the check says)
    "new required field": (
        do(swap("fresh", {"type": "string"}), lambda thing: thing["required"].append("fresh")),
        "fresh",
        "new required field",
    ),
    "new required field without a schema": (lambda thing: thing["required"].append("ghost"), "ghost", "new required"),
    "required field removed": (
        do(lambda thing: thing["properties"].pop("code"), lambda thing: thing["required"].remove("code")),
        "code",
        "field removed",
    ),
    "optional field removed": (lambda thing: thing["properties"].pop("note"), "note", "field removed"),
    "field renamed": (
        lambda thing: thing["properties"].update(remark=thing["properties"].pop("note")),
        "note",
        "field removed",
    ),
    "optional made required": (
        lambda thing: thing["required"].append("note"),
        "note",
        "optional field became required",
    ),
    "required made optional": (
        lambda thing: thing["required"].remove("code"),
        "code",
        "required field became optional",
    ),
    "type changed": (edit("free", type="integer"), "free", "type changed"),
    "type widened": (edit("free", type=["string", "integer"]), "free", "type widened"),
    "type narrowed": (edit("several", type="string"), "several", "type narrowed"),
    "type set": (edit("any", type="string"), "any", "type narrowed"),
    "type let go": (edit("free", type=None), "free", "type widened"),
    "integer to number": (edit("count", type="number"), "count", "type changed"),
    "number to integer": (edit("ratio", type="integer"), "ratio", "type changed"),
    "became nullable": (
        swap("free", {"anyOf": [{"type": "string"}, {"type": "null"}]}),
        "free",
        "null allowed as well",
    ),
    "no longer nullable": (
        swap("note", {"type": "string", "format": "uri", "default": None}),
        "note",
        "null no longer allowed",
    ),
    "type changed below null": (
        edit("note", anyOf=[{"type": "integer"}, {"type": "null"}]),
        "note",
        "type changed",
    ),
    "format changed below null": (
        edit("note", anyOf=[{"type": "string", "format": "email"}, {"type": "null"}]),
        "note",
        "format changed",
    ),
    "choice added": (
        edit("either", oneOf=[{"$ref": f"#/$defs/{side}"} for side in ("Left", "Right", "Middle")]),
        "either",
        "allowed as well",
    ),
    "choice removed": (
        edit("either", oneOf=[{"$ref": "#/$defs/Left"}]),
        "either",
        "no longer allowed",
    ),
    "oneOf to anyOf": (
        swap("either", {"anyOf": [{"$ref": "#/$defs/Left"}, {"$ref": "#/$defs/Right"}]}),
        "either",
        "oneOf became anyOf",
    ),
    "enum value added": (edit("status", enum=["open", "shut", "ajar"]), "status", 'enum value added: "ajar"'),
    "enum value removed": (edit("status", enum=["open"]), "status", 'enum value removed: "shut"'),
    "enum value renamed": (edit("status", enum=["open", "closed"]), "status", 'enum value removed: "shut"'),
    "enum closed": (edit("free", enum=["a"]), "free", "enum added"),
    "enum let go": (edit("status", enum=None), "status", "enum removed"),
    "const changed": (edit("kind", const="object"), "kind", "const changed"),
    "const to enum": (edit("kind", const=None, enum=["thing", "object"]), "kind", 'enum value added: "object"'),
    "const let go": (edit("kind", const=None), "kind", "enum removed"),
    "const set": (edit("free", const="a"), "free", "enum added"),
    "default changed": (edit("note", default="x"), "note", "default changed"),
    "default removed": (lambda thing: thing["properties"]["note"].pop("default"), "note", "default changed"),
    "format added": (edit("free", format="email"), "free", "format tightened"),
    "format changed": (edit("at", format="date"), "at", "format changed"),
    "format removed": (edit("at", format=None), "at", "format loosened"),
    "pattern added": (edit("free", pattern="^a"), "free", "pattern tightened"),
    "pattern changed": (edit("code", pattern="^[A-Z]{3}$"), "code", "pattern changed"),
    "pattern removed": (edit("code", pattern=None), "code", "pattern loosened"),
    "minLength raised": (edit("code", minLength=2), "code", "minLength tightened"),
    "minLength lowered": (edit("code", minLength=0), "code", "minLength loosened"),
    "minLength added": (edit("free", minLength=1), "free", "minLength tightened"),
    "minLength removed": (edit("code", minLength=None), "code", "minLength loosened"),
    "maxLength lowered": (edit("code", maxLength=19), "code", "maxLength tightened"),
    "maxLength raised": (edit("code", maxLength=21), "code", "maxLength loosened"),
    "maxLength added": (edit("free", maxLength=9), "free", "maxLength tightened"),
    "minimum raised": (edit("count", minimum=2), "count", "minimum tightened"),
    "minimum lowered": (edit("count", minimum=0), "count", "minimum loosened"),
    "maximum lowered": (edit("count", maximum=8), "count", "maximum tightened"),
    "maximum raised": (edit("count", maximum=10), "count", "maximum loosened"),
    "exclusiveMinimum raised": (edit("ratio", exclusiveMinimum=0.1), "ratio", "exclusiveMinimum tightened"),
    "exclusiveMaximum lowered": (edit("ratio", exclusiveMaximum=0.9), "ratio", "exclusiveMaximum tightened"),
    "multipleOf changed": (edit("count", multipleOf=2), "count", "multipleOf changed"),
    "minItems raised": (edit("words", minItems=2), "words", "minItems tightened"),
    "maxItems lowered": (edit("words", maxItems=4), "words", "maxItems tightened"),
    "uniqueItems added": (edit("words", uniqueItems=True), "words", "uniqueItems changed"),
    "items' type changed": (edit("words", items={"type": "integer"}), "words[]", "type changed"),
    "items let go": (edit("words", items=None), "words", "items changed"),
    "items of their own": (edit("words", prefixItems=[{"type": "string"}]), "words", "prefixItems changed"),
    "object closed": (lambda thing: thing.update(additionalProperties=False), None, "additionalProperties closed"),
    "dictionary closed": (edit("counts", additionalProperties=False), "counts", "additionalProperties closed"),
    "dictionary's values changed": (
        edit("counts", additionalProperties={"type": "string"}),
        "counts.*",
        "type changed",
    ),
    "dictionary's values set": (
        swap("counts", {"type": "object", "additionalProperties": {"type": "integer", "minimum": 0}}),
        "counts.*",
        "minimum tightened",
    ),
    "keyword that is not known": (edit("free", contentEncoding="base64"), "free", "contentEncoding changed"),
    "not": (edit("free", **{"not": {"const": "x"}}), "free", "not changed"),
    "names limited": (lambda thing: thing.update(propertyNames={"pattern": "^a"}), None, "propertyNames changed"),
}

ACCEPTED: dict[str, Callable[[Schema], object]] = {
    "nothing": lambda thing: None,
    "new optional field": swap("fresh", {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None}),
    "new optional object": swap("fresh", {"$ref": "#/$defs/Left"}),
    "description changed": edit("code", description="The code, in other words."),
    "description removed": edit("code", description=None),
    "the thing's description changed": lambda thing: thing.update(description="Something.", title="Something"),
    "examples added": edit("code", examples=["ABC"]),
    "marked as deprecated": edit("note", deprecated=True),
    "comment": edit("code", **{"$comment": "why"}),
    "order of fields": lambda thing: thing.update(properties=dict(reversed(thing["properties"].items()))),
    "order of required": lambda thing: thing["required"].reverse(),
    "order of enum": edit("status", enum=["shut", "open"]),
    "order of choices": edit("note", anyOf=[{"type": "null"}, {"type": "string", "format": "uri"}]),
    "order of tagged choices": edit("either", oneOf=[{"$ref": "#/$defs/Right"}, {"$ref": "#/$defs/Left"}]),
    "one choice in anyOf": swap("free", {"anyOf": [{"type": "string"}]}),
    "const as enum of one": edit("kind", const=None, enum=["thing"]),
    "reference written out": swap("either", {"oneOf": [TAGGED["Left"], TAGGED["Right"]]}),
    "open, said in so many words": lambda thing: thing.update(additionalProperties=True),
}


def schema_with(thing: Schema, place: str) -> Schema:
    return {**copy.deepcopy(PLACES[place][0]), "$defs": {"Thing": thing, **copy.deepcopy(TAGGED)}}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", REFUSED)
def test_a_breaking_change_is_refused_where_it_is(place, kind):
    change, field, says = REFUSED[kind]
    thing = copy.deepcopy(THING)
    change(thing)
    found = breaking_changes(schema_with(THING, place), schema_with(thing, place))
    expected = ".".join(step for step in (PLACES[place][1], field) if step)
    assert any(says in one.what for one in found)
    assert {one.path for one in found} == {expected}, "and nothing else is blamed"


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", ACCEPTED)
def test_a_compatible_change_is_let_through(place, kind):
    thing = copy.deepcopy(THING)
    ACCEPTED[kind](thing)
    assert breaking_changes(schema_with(THING, place), schema_with(thing, place)) == []


def test_a_change_behind_a_reference_to_a_reference_is_found():
    old = {
        "$ref": "#/$defs/A",
        "$defs": {"A": {"$ref": "#/$defs/B"}, "B": {"type": "object", "properties": {"x": {"type": "string"}}}},
    }
    new = copy.deepcopy(old)
    new["$defs"]["B"]["properties"]["x"]["type"] = "integer"
    assert [change.path for change in breaking_changes(old, new)] == ["x"]


def test_a_change_behind_a_reference_in_a_keyword_that_is_not_known_is_found():
    old = {
        "type": "object",
        "properties": {"pair": {"type": "array", "prefixItems": [{"$ref": "#/$defs/A"}]}},
        "$defs": {"A": {"type": "string"}},
    }
    new = copy.deepcopy(old)
    assert breaking_changes(old, new) == []
    new["$defs"]["A"]["maxLength"] = 3
    assert [change.path for change in breaking_changes(old, new)] == ["pair"]


def test_a_definition_may_change_its_name():
    old = {"$ref": "#/$defs/A", "$defs": {"A": THING | {"properties": {}}}}
    new = {"$ref": "#/$defs/B", "$defs": {"B": THING | {"properties": {}}}}
    assert breaking_changes(old, new) == []


def test_a_schema_that_holds_itself_ends_and_its_change_is_found():
    node = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "next": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]}},
    }
    old = {"$ref": "#/$defs/Node", "$defs": {"Node": node}}
    new = copy.deepcopy(old)
    assert breaking_changes(old, new) == []
    new["$defs"]["Node"]["properties"]["name"]["maxLength"] = 5
    assert [change.path for change in breaking_changes(old, new)] == ["name"]


def test_an_object_that_was_closed_cannot_gain_a_field_or_open():
    old = {"type": "object", "properties": {}, "additionalProperties": False}
    gained = {"type": "object", "properties": {"x": {"type": "string"}}, "additionalProperties": False}
    opened = {"type": "object", "properties": {}}
    assert [change.path for change in breaking_changes(old, gained)] == ["x"]
    assert "opened" in breaking_changes(old, opened)[0].what
