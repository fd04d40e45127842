"""Absent, empty, null: of every field that is read, at both ends; and the page that lists the fields."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kinds_line import LATER, Line
from sync_samples import orm, siu

from chassis.errors import NeedsSetup
from hl7v2 import Message, raw
from scheduler_sync.adapters.omegaai import writer
from scheduler_sync.adapters.powerserver.table import FIELDS

WIRE = Path(__file__).resolve().parents[3] / "docs" / "architecture" / "wire.md"
SIU_14 = siu("S14", made=LATER, control_id="B")
ORM_XO = orm("XO", made=LATER, control_id="B")
ORC_7 = b"||SC||^^30^20261201143000-0500^20261201150000-0500^ROUTINE||"
OBR_27 = b"|CT|||^^30^20261201143000-0500^20261201150000-0500^ROUTINE"


def telecom(system: str) -> Callable[[Line], Any]:
    return lambda line: [one["value"] for one in line.person.get("telecom", []) if one["system"] == system]


def patient(name: str) -> Callable[[Line], Any]:
    return lambda line: getattr(next(iter(line.suite.memory.patients.values())), name)


DELETES: dict[str, tuple[bytes, bytes, Callable[[Line], Any], Any]] = {
    "PID-5": (siu(), SIU_14, lambda line: line.person.get("name"), None),
    "PID-7": (siu(), SIU_14, lambda line: line.person.get("birthDate"), None),
    "PID-8": (siu(), SIU_14, lambda line: line.person["gender"], "unknown"),
    "PID-11": (siu(), SIU_14, lambda line: line.person.get("address"), None),
    "PID-13": (siu(), SIU_14, lambda line: line.person.get("telecom"), None),
    "PID-13.1": (siu(), SIU_14, telecom("phone"), []),
    "PID-13.4": (siu(), SIU_14, telecom("email"), []),
    "PID-5.2": (siu(), SIU_14, lambda line: line.person["name"][0].get("given"), ["A"]),
    "PID-5.3": (siu(), SIU_14, lambda line: line.person["name"][0].get("given"), ["Jane"]),
    "PID-15": (siu(), SIU_14, patient("language"), "en"),
    "PV1-8": (siu(), SIU_14, lambda line: line.link.referring_physician, None),
    "SCH-2": (siu(), SIU_14, lambda line: line.link.filler_id, None),
    "SCH-6": (
        siu("S15", control_id="C").replace(b"A100045^RAMSOFT||||", b"A100045^RAMSOFT||||^ill"),
        siu("S15", made=LATER, control_id="B"),
        lambda line: line.link.reason,
        "",
    ),
    "AIG-3": (siu(), SIU_14, lambda line: line.link.resource, NeedsSetup),
    "AIG-4": (siu(), SIU_14, lambda line: line.link.modality, "CT"),  # the resource's own
    "ORC-7.4": (orm(), ORM_XO.replace(OBR_27, b"|CT|||"), lambda line: line.card["status"], "cancelled"),
    "OBR-19": (orm(), ORM_XO, lambda line: line.link.resource, NeedsSetup),
    "OBR-24": (orm(), ORM_XO, lambda line: line.link.modality, "CT"),
    "OBR-27.4": (orm(), ORM_XO.replace(ORC_7, b"||SC||||"), lambda line: line.card["status"], "cancelled"),
    "NTE-3": (
        orm("CA", start="", end="").replace(b"ZDS|", b"NTE|1||ill\rZDS|"),
        orm("CA", made=LATER, control_id="B", start="", end="").replace(b"ZDS|", b"NTE|1||\rZDS|"),
        lambda line: line.link.reason,
        "",
    ),
}
"""By field: a message, one after it, what shows the field's value, and what is left of it after the null."""


def with_value(message: bytes, path: str, value: Any) -> bytes:
    changed = Message.parse(message)
    changed.set(path, value)
    return changed.to_bytes()


def test_every_field_that_the_null_deletes_is_tried() -> None:
    tried = {path.partition(".")[0] for path in DELETES}
    assert {f"{rule.segment}-{number}" for rule in FIELDS if rule.null == "deletes" for number in rule.fields} == tried


@pytest.mark.parametrize("path", DELETES)
def test_an_empty_and_an_absent_field_leave_what_is_known_at_both_ends(path: str) -> None:
    first, second, shown, _ = DELETES[path]
    segment, _, place = path.partition("-")
    number = int(place.partition(".")[0])
    lines = second.decode().rstrip("\r").split("\r")
    absent = "\r".join(
        "|".join(one.split("|")[:number]) if one.startswith(segment) and path.startswith("PID") else one
        for one in lines
    )
    for later in (with_value(second, path, None), absent.encode() + b"\r"):
        line = Line()
        assert line.say(first) is None
        before = shown(line)
        assert line.say(later) is None
        assert shown(line) == before


@pytest.mark.parametrize("path", DELETES)
def test_the_null_deletes_at_both_ends(path: str) -> None:
    first, second, shown, left = DELETES[path]
    line = Line()
    assert line.say(first) is None
    if path in {"SCH-6", "NTE-3"}:
        assert shown(line) == "ill"
    error = line.say(with_value(second, path, raw('""')))
    if left is NeedsSetup:
        assert isinstance(error, NeedsSetup)
    else:
        assert (error, shown(line)) == (None, left)


def test_what_powerserver_never_speaks_of_stays_as_omegaai_has_it() -> None:
    line = Line()
    quiet = siu(pid="PID|1||4711^^^NORTHSIDE||Roe^Jane")
    line.say(quiet)
    more = {
        "telecom": [{"system": "phone", "value": "555"}, {"system": "FAX", "value": "556"}], "gender": "female",
        "birthDate": "1980-02-29", "address": [{"city": "Toronto"}],
    }  # fmt: skip
    line.omegaai.resources["Patient", line.person["id"]].update(more)
    line.say(
        siu("S14", made=LATER, control_id="B", pid="PID|1||4711^^^NORTHSIDE||Roe^Janet||||||||^NET^Internet^a@b.org")
    )
    assert line.person["telecom"] == [
        {"system": "email", "value": "a@b.org", "rank": 1}, {"system": "phone", "value": "555"},
        {"system": "fax", "value": "556"},
    ]  # fmt: skip
    assert {name: line.person[name] for name in ("gender", "birthDate", "address")} == {
        name: more[name] for name in ("gender", "birthDate", "address")
    }
    assert line.person["name"][0]["given"] == ["Janet"]


@pytest.mark.parametrize(
    "name", ["telecom", "address", "birthDate", "name", "description", "serviceType", "cancelationReason"]
)
def test_an_element_that_is_to_go_is_a_difference(name: str) -> None:
    ours = {"resourceType": "X", "gender": "female"}
    assert writer.is_same(ours, {**ours, "meta": {"versionId": "2"}, "text": {"div": "x"}, name: []})
    assert not writer.is_same(ours, {**ours, name: [{"value": "x"}]})
    assert not writer.is_same({"address": [{"city": "A"}]}, {"address": [{"city": "A", "line": ["1 Elm St"]}]})


def test_the_page_of_the_wires_lists_every_field_with_its_rule() -> None:
    page = WIRE.read_text()
    for rule in FIELDS:
        assert table_row(rule) in page, f"missing in wire.md: {table_row(rule)}"


def table_row(rule: Any) -> str:
    names = ", ".join(f"{rule.segment}-{number}" for number in rule.fields)
    return f"| {names} | {rule.messages} | {rule.of} | {rule.rule} | {rule.null} |"
