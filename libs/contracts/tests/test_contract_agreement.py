"""The reader accepts exactly the messages that the published schema allows; it raises nothing but ContractError."""

import copy
import json

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

import contracts
from chassis.testing.depth import DEPTH
from contracts import ContractError
from contracts.examples import EXAMPLES
from contracts.schemas import json_schema

BODIES = {type(example): json.loads(example.to_bytes()) for example in EXAMPLES.values()}
VALIDATORS = {message: Draft202012Validator(json_schema(message)) for message in BODIES}
MANY = settings(deadline=None, max_examples=DEPTH.examples(100))  # a busy machine must not fail the test
ODD_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=20),
    st.sampled_from(["", "en", "F", "confirmed", "nobody", "2026-11-25", "2026-11-25T14:30:00Z", 0, 1, [], {}]),
    st.lists(st.text(max_size=3), max_size=2),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=2),
)


def places(node: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The path of every value in a body, except the body itself."""
    inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return ([path] if path else []) + [place for key, value in inner for place in places(value, (*path, key))]


@st.composite
def spoilt(draw) -> tuple[type[contracts.Message], dict]:
    """A message in which one or two values were replaced, removed or added."""
    message = draw(st.sampled_from(list(BODIES)))
    body = copy.deepcopy(BODIES[message])
    for _ in range(draw(st.integers(1, 2))):
        *way, last = draw(st.sampled_from(places(body)))
        holder = body
        for step in way:
            holder = holder[step]
        match draw(st.sampled_from(["replace", "take out", "add"])):
            case "replace":
                holder[last] = draw(ODD_VALUES)
            case "take out":
                del holder[last]
            case "add" if isinstance(holder, dict):
                holder[draw(st.text(max_size=8))] = draw(ODD_VALUES)
        if not places(body):
            break
    assume(body.get("version") is not True)  # Reads as 1, which Python holds equal; it is written as 1 again.
    return message, body


@MANY
@given(spoilt())
def test_what_the_reader_takes_satisfies_the_schema_and_comes_back_the_same(case):
    message, body = case
    try:
        read = contracts.parse(json.dumps(body).encode())
    except ContractError:
        return
    versions = contracts.REGISTRY.versions[message.MESSAGE_TYPE]
    assert VALIDATORS[versions[body["version"]]].is_valid(body)
    assert contracts.parse(read.to_bytes()) == read
    assert type(read) is versions[max(versions)]


@MANY
@given(spoilt())
def test_what_the_schema_forbids_the_reader_refuses(case):
    message, body = case
    if body.get("type") == message.MESSAGE_TYPE and not VALIDATORS[message].is_valid(body):
        with pytest.raises(ContractError):
            contracts.parse(json.dumps(body).encode())


@MANY
@given(st.binary(max_size=200) | st.recursive(ODD_VALUES, st.lists).map(json.dumps).map(str.encode))
def test_any_bytes_are_a_message_or_a_contract_error(value):
    with pytest.raises(ContractError):
        contracts.parse(value)


def test_a_document_that_never_stops_nesting_is_refused():
    with pytest.raises(ContractError):
        contracts.parse(b'{"type":' + b"[" * 200_000)
