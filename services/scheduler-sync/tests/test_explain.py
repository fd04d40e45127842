"""``explain`` reads as the service does, says where each value stands, and takes nothing."""

import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sync_harness import RECEIVED_AT
from sync_samples import PID, SITE_FILE, directory, orm, site_file, siu

from chassis.operate import main
from hl7v2 import Message
from scheduler_sync.__main__ import DEFINITION
from scheduler_sync.domain.appointment import State
from scheduler_sync.explain import Explanation, FieldRead, explain, lines
from scheduler_sync.site import SiteFileError

CASES = Path(__file__).parent / "field_cases"
FILES = sorted(CASES.glob("*.hl7"))
EXPECTED: dict[str, Any] = {one["id"]: one["expect"] for one in json.loads((CASES / "expected.json").read_text())}

ALONE = [name for name, one in EXPECTED.items() if "ack" in one and not (CASES / f"{name}-2.hl7").exists()]
"""What of the field cases is refused, and needs no other message before it."""


def explained(raw: bytes, *, with_resources: bool = True) -> Explanation:
    site = site_file()
    return explain(raw, site, directory(site) if with_resources else None, received_at=RECEIVED_AT)


def at(found: Explanation, place: str) -> FieldRead:
    (one,) = [one for one in found.fields if one.place == place]
    return one


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_each_value_of_a_field_case_stands_where_it_is_said_to_stand(path):
    raw = path.read_bytes()
    found = explained(raw)
    assert found.fields
    for one in (*found.fields, *(one for one in found.ignored if one.segment)):
        there = raw[one.byte :]
        if one.value.isascii() and not any(char in one.value for char in "\\|^~&\r\n"):
            assert there.startswith(one.value.encode()), one
        name = one.place.partition("-")[0]
        assert raw.rfind(name.encode(), 0, one.byte + 1) >= 0, one


@pytest.mark.parametrize("case", ALONE)
def test_the_answer_of_a_field_case_is_what_is_right(case):
    raw = (CASES / f"{case}-1.hl7").read_bytes()
    found = explained(raw)
    assert found.code == EXPECTED[case]["ack"]
    assert EXPECTED[case].get("ack_text", "") in found.text
    assert not found.is_taken


def test_a_booking_is_explained_field_by_field():
    raw = siu()
    found = explained(raw)
    assert (found.message, found.meaning, found.code, found.text, found.setting) == (
        "SIU^S12",
        "a booking",
        "AA",
        "",
        None,
    )
    start = at(found, "SCH-11.4")
    assert (start.value, start.segment, start.gives) == ("20261201143000-0500", 2, "start, end, priority")
    assert raw[start.byte :].startswith(b"20261201143000-0500^20261201150000-0500")
    assert start.rule.startswith("SCH-11.4, .5")
    assert found.effect["start"] == "2026-12-01T14:30:00-05:00"
    assert found.effect["patient's numbers"] == ["4711 of NORTHSIDE"]
    assert ("PV1-18", "V100045") not in [(one.place, one.value) for one in found.fields]
    assert {one.place for one in found.ignored} >= {"PV1-2", "PID-18"}


def test_what_is_read_and_passed_over_is_among_what_is_ignored():
    found = explained(siu(pid=PID.replace("19800229", "00010101")))
    assert [one.why for one in found.ignored if one.place == "PID-7"] == ["read, and a value passed over: see its rule"]


@pytest.mark.parametrize(
    ("raw", "code", "words", "setting"),
    [
        (siu(start="99991231000000"), "AR", "SCH-11.4: is not of the years 1950 to 2199", None),
        (siu(facility="FAC77"), "AE", "facility 'FAC77' is not in the site file", "facilities.FAC77"),
        (siu(resource="NO SUCH CT"), "AE", "is not a HealthcareService", "OmegaAI: Scheduler"),
        (siu(status="77^ODD^99PS"), "AA", "it waits as well: SCH-25: status 77", "statuses.77"),
        (siu().replace(b"SIU^S12", b"SIU^S99"), "AR", "MSH-9.2", None),
        (siu().replace(b"2.3.1||||||", b"2.3.1|||NE|NE||"), "AR", "MSH-15", None),
    ],
)
def test_a_refusal_names_its_reason_and_what_to_set(raw, code, words, setting):
    found = explained(raw)
    assert (found.code, found.is_taken) == (code, False)
    assert words in found.text
    assert (found.setting or "").startswith(setting or "")
    assert (found.setting is None) == (setting is None)
    assert words in "\n".join(lines(found))


def test_an_enhanced_acknowledgement_is_told():
    found = explained(siu().replace(b"2.3.1||||||", b"2.3.1|||AL|NE||"))
    assert any("is answered CA" in one for one in found.remarks)


@pytest.mark.parametrize("codec", ["utf-16", "utf-16-be", "gb18030"])
def test_positions_are_those_of_the_file_whatever_its_character_set(codec):
    charset = "GB 18030-2000" if codec == "gb18030" else "UNICODE UTF-16"
    text = siu(pid=PID.replace("Roe", "Лукин")).decode().replace("UNICODE UTF-8", charset)
    raw = text.encode(codec)
    found = explained(raw)
    for place, value in (("PID-5.1", "Лукин"), ("PID-5.2", "Jane"), ("SCH-1.1", "P100045")):
        one = at(found, place)
        encoded = value.encode(codec).removeprefix(b"\xff\xfe") if codec == "utf-16" else value.encode(codec)
        assert raw[one.byte :].startswith(encoded), place


def test_positions_in_a_batch_and_a_frame_are_those_of_the_file():
    raw = b"\x0bFHS|^~\\&\rBHS|^~\\&\r" + siu() + b"BTS|1\rFTS|1\r\x1c\r"
    one = at(explained(raw), "SCH-1.1")
    assert raw[one.byte :].startswith(b"P100045")


def test_orders_are_explained_with_the_site_s_own_place_of_the_resource():
    found = explained(orm())
    assert (found.message, found.is_taken) == ("ORM^O01", True)
    assert (at(found, "OBR-19").value, at(found, "OBR-19").gives) == ("BLUME CT", "resource")


def test_each_value_names_the_line_of_the_mapping_that_looks_there():
    found = explained(siu())
    lines_of_file = (SITE_FILE.with_name("northside.hl7.yaml")).read_text().splitlines()
    for place, key in (("AIG-3.1", "resource"), ("SCH-25.1", "status"), ("SCH-11.4", "start"), ("SCH-11.5", "end")):
        decided = at(found, place).decided
        assert decided.startswith(f"siu.{key} (northside.hl7.yaml:"), decided
        number = int(decided.rstrip(")").rpartition(":")[2])
        assert lines_of_file[number - 1].strip().startswith(f"{key}:")
    assert at(found, "SCH-1.1").decided == ""
    assert "[siu.resource (northside.hl7.yaml:" in "\n".join(lines(found))


def test_the_decision_is_told_for_every_state():
    found = explained(siu("S15"))
    told = {one.state: one for one in found.decisions}
    assert found.trigger == "staff-cancelled"
    assert set(told) == set(State)
    assert (told["confirmed"].becomes, told["confirmed"].publishes) == ("cancelled", "appointment.cancelled")
    assert told["done"].refusal == "the exam is completed"
    shown = "\n".join(lines(found))
    assert "refused, a conflict: the exam is completed" in shown
    assert "becomes cancelled; publishes appointment.cancelled; tells omegaai" in shown


def test_the_fields_that_are_read_are_marked_in_their_segments():
    found = explained(siu())
    raw = ["|".join(piece.text for piece in one) for one in found.segments]
    assert raw == siu().decode().rstrip("\r").split("\r")
    pieces = [(one[0].text, number, piece) for one in found.segments for number, piece in enumerate(one)]
    marks = {(segment, number): piece.gives for segment, number, piece in pieces if piece.gives}
    assert marks["AIG", 3] == "resource"
    assert ("PV1", 2) not in marks


def run(monkeypatch: pytest.MonkeyPatch, *words: str, stdin: bytes = b"") -> int:
    monkeypatch.setenv("SCHEDULER_SYNC_STORE__URL", "postgresql://127.0.0.1:9/none")
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(stdin)))
    return main(DEFINITION, ["explain", *words])


def test_without_a_store_it_says_that_names_were_not_looked_up(monkeypatch, capsys, tmp_path):
    path = tmp_path / "booking.hl7"
    path.write_bytes(siu(resource="NO SUCH CT"))
    assert run(monkeypatch, str(path)) == 0
    shown = capsys.readouterr()
    assert "Resource names were not looked up" in shown.out
    assert shown.out.endswith("It would be answered AA.\n")
    assert shown.err == ""


def test_standard_input_and_json(monkeypatch, capsys):
    assert run(monkeypatch, "-", "--json", stdin=siu(facility="FAC77")) == 1
    shown = json.loads(capsys.readouterr().out)
    assert (shown["code"], shown["setting"]) == ("AE", "facilities.FAC77")
    assert {"place", "value", "segment", "byte", "gives", "rule", "why", "decided"} == set(shown["fields"][0])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "MSH: the message does not begin with MSH"),
        (b"hello", "MSH: the message does not begin with MSH"),
        (b"\x00\xff" * 50, "MSH"),
        (siu().replace(b"PS0000000123", b""), "MSH-10"),
        (siu().replace(b"P100045", b"P\x00"), "NUL"),
        (b"MSH", "MSH-1"),
    ],
)
def test_what_is_no_hl7_is_one_line_and_2(monkeypatch, capsys, tmp_path, content, words):
    path = tmp_path / "bad.hl7"
    path.write_bytes(content)
    assert run(monkeypatch, str(path)) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert words in shown.err
    assert shown.err.count("\n") == 1
    assert "Roe" not in shown.err


def test_no_such_file_and_a_folder_are_one_line_and_2(monkeypatch, capsys, tmp_path):
    for path in (tmp_path / "none.hl7", tmp_path):
        assert run(monkeypatch, str(path)) == 2
        shown = capsys.readouterr()
        assert (shown.out, shown.err.count("\n")) == ("", 1)
        assert str(path) in shown.err


def test_a_bad_site_file_is_named(monkeypatch, tmp_path):
    bad = tmp_path / "site.yaml"
    bad.write_text("site: [")
    monkeypatch.setenv("SCHEDULER_SYNC_SITE_FILE", str(bad))
    with pytest.raises(SiteFileError, match=r"site\.yaml"):
        run(monkeypatch, "-", stdin=siu())


@pytest.mark.stack
def test_resources_of_the_store_are_known(monkeypatch, capsys, migrated_url):
    monkeypatch.setenv("SCHEDULER_SYNC_STORE__URL", migrated_url)
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(siu())))
    assert main(DEFINITION, ["explain", "-"]) == 1
    shown = capsys.readouterr().out
    assert "have not been read from OmegaAI yet" in shown
    assert "were not looked up" not in shown


def test_help_says_that_it_shows_the_patients_data(capsys):
    with pytest.raises(SystemExit):
        main(DEFINITION, ["explain", "--help"])
    assert "patient's data" in " ".join(capsys.readouterr().out.split())


def test_values_of_many_bytes_and_of_control_characters_are_shown_on_one_line():
    found = explained(siu(pid=PID.replace("Roe", "R\x1boe")).replace(b"V100045", b"V" * 5000))
    shown = lines(found)
    assert all("\x1b" not in one and len(one) < 400 for one in shown)
    assert Message.parse(siu()).type == "SIU"
