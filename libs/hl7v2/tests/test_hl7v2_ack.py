"""Acknowledgements: every code, both forms of ERR, and answers that partners really send."""

import re
from datetime import UTC, datetime
from pathlib import Path

import hl7
import pytest

from hl7v2 import Ack, AckError, Hl7Error, Message, build_ack, parse_ack

AT = datetime(2026, 11, 25, 14, 30, tzinfo=UTC)
ERRORS = [AckError("101", "PID-3[2].4.1", "no issuer & no id"), AckError("207", "", "ours")]


def request(version: str = "2.3.1", charset: str = "", encoding: str = "^~\\&") -> Message:
    tail = f"||||||{charset}" if charset else ""
    text = f"MSH|{encoding}|RAMSOFT|FAC01^1.2^ISO|SUITE|NORTHSIDE|20261125093000||SIU^S12|PS\\T\\1|T|{version}{tail}\r"
    return Message.parse(text.encode())


@pytest.mark.parametrize("code", ["AA", "AE", "AR", "CA", "CE", "CR"])
@pytest.mark.parametrize("version", ["2.3", "2.3.1", "2.4", "2.5", "2.5.1", "2.8", "2.10"])
def test_every_code_and_version_comes_back(code: str, version: str):
    errors = [] if code in ("AA", "CA") else ERRORS
    ack = build_ack(request(version), code, control_id="ACK|1", text="why ~", errors=errors, at=AT)  # type: ignore[arg-type]
    read = parse_ack(ack.to_bytes())
    assert (read.code, read.control_id, read.text) == (code, "PS&1", "why ~")
    assert read.is_accepted == (code in ("AA", "CA"))
    assert [e.code for e in read.errors] == [e.code for e in errors]
    assert [e.text for e in read.errors] == [e.text for e in errors]


def test_header_is_the_requests_turned_round():
    ack = build_ack(request(charset="8859/1"), "AA", control_id="A1", at=AT)
    assert ack.to_bytes() == (
        b"MSH|^~\\&|SUITE|NORTHSIDE|RAMSOFT|FAC01^1.2^ISO|20261125143000+0000||ACK^S12|A1|T|2.3.1||||||8859/1\r"
        b"MSA|AA|PS\\T\\1\r"
    )


def test_errors_up_to_2_4_stand_in_one_segment():
    ack = build_ack(request("2.4"), "AE", control_id="A1", errors=ERRORS, at=AT)
    assert ack.raw("ERR-1") == "PID^1^3^101&no issuer \\T\\ no id&HL70357~^^^207&ours&HL70357"
    assert len(ack.segments("ERR")) == 1
    assert ack.raw("MSH-9") == "ACK^S12^ACK"


def test_errors_from_2_5_on_stand_in_a_segment_each():
    ack = build_ack(request("2.5"), "AR", control_id="A1", errors=ERRORS, at=AT)
    assert ack.raw("ERR[1]-2") == "PID^1^3^2^4^1"
    assert ack.raw("ERR[1]-3") == "101^Required field missing^HL70357"
    assert ack.get("ERR[1]-4") == "E"
    assert ack.get("ERR[1]-8") == "no issuer & no id"
    assert ack.get("ERR[2]-3") == "207"
    assert parse_ack(ack.to_bytes()).errors[0].location == "PID-3[2].4.1"


def test_nothing_could_be_read():
    with pytest.raises(Hl7Error) as caught:
        Message.parse(b"garbage")
    ack = build_ack(None, "AR", control_id="A1", errors=[caught.value.as_ack_error()], at=AT)
    assert ack.to_bytes() == (
        b"MSH|^~\\&|||||20261125143000+0000||ACK|A1|P|2.3.1\rMSA|AR\r"
        b"ERR|MSH^1^^100&the message does not begin with MSH&HL70357\r"
    )


def test_header_that_lacks_much_is_answered_too():
    message = Message.parse(b"MSH|^~\\&|||||||||1", require_header=False)
    ack = build_ack(message, "AR", control_id="A1", at=AT)
    assert ack.get("MSH-12") == "2.3.1"
    assert ack.get("MSH-9") == "ACK"
    split = Message.parse(b"MSH|^~\\&|a\nb|||||ACK|\n1", require_header=False)
    assert Message.parse(build_ack(split, "AR", control_id="1", at=AT).to_bytes()).get("MSH-5") == "ab"


def test_own_delimiters_are_used_and_missing_ones_supplied():
    ack = build_ack(request(encoding="*"), "AE", control_id="A*1", errors=ERRORS, at=AT)
    assert ack.to_bytes().startswith(b"MSH|*~\\&|SUITE|")
    assert parse_ack(ack.to_bytes()).errors[0].code == "101"
    odd = build_ack(request(encoding="&"), "AE", control_id="A1", errors=ERRORS, at=AT)
    assert parse_ack(odd.to_bytes()).errors[1].text == "ours"


@pytest.mark.parametrize(("charset", "text"), [("UNICODE UTF-8", "weg – Ł"), ("8859/1", "weg ? ?"), ("", "weg ? ?")])
def test_words_never_break_an_answer(charset: str, text: str):
    ack = build_ack(request(charset=charset), "AE", control_id="A1", text="weg – Ł", at=AT)
    assert parse_ack(ack.to_bytes()).text == text


def test_utf_16_is_answered_in_kind():
    data = "MSH|^~\\&|A|B|C|D|2026||SIU^S12|é1|P|2.3.1||||||UNICODE UTF-16\r".encode("utf-16-le")
    ack = build_ack(Message.parse(data), "AA", control_id="A1", at=AT).to_bytes()
    assert ack.startswith("MSH|".encode("utf-16-le"))
    assert parse_ack(ack).control_id == "é1"


def test_python_hl7_reads_our_answers():
    theirs = hl7.parse(build_ack(request("2.5"), "AE", control_id="A1", errors=ERRORS, at=AT).to_bytes().decode())
    assert str(theirs.segment("MSA")(1)) == "AE"
    assert str(theirs.segment("MSH")(9)) == "ACK^S12^ACK"
    assert str(theirs.segments("ERR")[0](3)(1)(1)) == "101"


def test_our_answers_to_every_sample_are_read_by_us():
    for path in (Path(__file__).parent / "data").glob("*.hl7"):
        message = Message.parse(path.read_bytes())
        read = parse_ack(build_ack(message, "AA", control_id="A1").to_bytes())
        assert read == Ack("AA", message.control_id)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"MSH|^~\\&|A|B|C|D|2026||ACK|9|P|2.3\nMSA|AA|1\n", Ack("AA", "1")),
        (b"MSH|^~\\&|\rMSA|aa |1\r", Ack("AA", "1")),
        (b"MSH|^~\\&|A\rMSA|AE|1|\rNTE|1||x\r", Ack("AE", "1")),
        (b"MSH|^~\\&|A\rMSA|AR|1|go away\r", Ack("AR", "1", "go away")),
        (b"MSH|^~\\&|A\rMSA|CE|\r", Ack("CE", "")),
        (
            b"MSH|^~\\&|A|||||||||2.5.1\rMSA|AE|1\rERR||PID^1^5|101^Required field missing^HL70357|E\r",
            Ack("AE", "1", "Required field missing", (AckError("101", "PID-5", "Required field missing"),)),
        ),
        (
            b"MSH|^~\\&|A\rMSA|AE|1\rERR|PID^2^5^103&no such code\r",
            Ack("AE", "1", "no such code", (AckError("103", "PID[2]-5", "no such code"),)),
        ),
        (b"MSH|^~\\&|A\rMSA|AE|1\rERR|\r", Ack("AE", "1")),
    ],
)
def test_answers_of_partners(answer: bytes, expected: Ack):
    assert parse_ack(answer) == expected


@pytest.mark.parametrize("answer", [b"", b"ACK", b"MSH|^~\\&|A\r", b"MSH|^~\\&|A\rMSA|XX|1\r", b"MSH|^~\\&|A\rMSA\r"])
def test_what_is_no_answer_is_refused(answer: bytes):
    with pytest.raises(Hl7Error):
        parse_ack(answer)


def test_message_times_are_the_present_by_default():
    found = build_ack(request(), "AA", control_id="1").get("MSH-7")
    assert found is not None
    assert re.fullmatch(r"\d{14}\+0000", found)


LONG = "there is no issuer of this name & nothing | of the kind; set issuers in the site file " * 3


@pytest.mark.parametrize("version", ["2.3", "2.3.1", "2.4", "2.5", "2.5.1"])
@pytest.mark.parametrize("errors", [[], [AckError("103", "PID-3[2].4", LONG)], [AckError("101", "PID-5", "none")]])
def test_a_long_text_is_short_in_msa_3_and_whole_in_err(version: str, errors: list[AckError]):
    ack = build_ack(request(version), "AE", control_id="A1", text=LONG, errors=errors, at=AT)
    shown = ack.raw("MSA-3") or ""
    assert len(shown) <= 80
    assert shown.startswith("there is no issuer of this name \\T\\ nothing \\F\\ of the kind")
    assert shown.endswith("...")
    read = parse_ack(ack.to_bytes())
    assert read.text == LONG
    assert [error.text for error in read.errors].count(LONG) == 1
    assert len(read.errors) == (2 if errors and errors[0].text == "none" else 1)
    if version in ("2.5", "2.5.1"):
        assert all(len(segment.raw("8") or "") <= 250 for segment in ack.segments("ERR"))
    else:
        assert all(len(one) <= 80 for one in (ack.raw("ERR-1") or "").split("~"))


def test_an_endless_text_is_cut_in_err_too():
    for version, longest in (("2.3.1", 5 * 81), ("2.5.1", 250 + 2048 + 80)):
        ack = build_ack(request(version), "AR", control_id="A1", text="word " * 100_000, at=AT)
        assert sum(len(segment.to_bytes()) for segment in ack.segments("ERR")) < longest + 40


def test_a_text_without_blanks_is_cut():
    read = parse_ack(build_ack(request(), "AE", control_id="A1", text="x" * 500, at=AT).to_bytes())
    assert read.text is not None
    assert read.text == "x" * 77 + "..."
    assert len(read.errors) == 1


def test_two_errors_of_a_partner_stay_two():
    answer = b"MSH|^~\\&|A\rMSA|AE|1\rERR|PID^1^5^101&missing~PID^1^5^101&still missing\r"
    assert [error.text for error in parse_ack(answer).errors] == ["missing", "still missing"]


def test_a_text_of_80_characters_stands_as_it_is():
    ack = build_ack(request(), "AE", control_id="A1", text="x" * 80, at=AT)
    assert ack.get("MSA-3") == "x" * 80
    assert ack.segments("ERR") == []
