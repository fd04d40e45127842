"""Reading, changing and building messages: values, absent values, and content that is kept without being understood."""

import pytest

from hl7v2 import NULL, Hl7Error, Message, build_ack, parse_ack, raw, readable_part, repeat
from hl7v2.message import MAX_SEGMENTS

HEADER = b"MSH|^~\\&|RAMSOFT|FAC01|SUITE|NORTHSIDE|20261125093000-0500||SIU^S12|PS1|P|2.3.1\r"


def parsed(*segments: str, header: bytes = HEADER) -> Message:
    return Message.parse(header + b"".join(segment.encode() + b"\r" for segment in segments))


class TestReading:
    def test_header(self):
        message = parsed()
        assert (message.type, message.trigger, message.control_id, message.version) == ("SIU", "S12", "PS1", "2.3.1")
        assert message.get("MSH-1") == "|"
        assert message.get("MSH-2") == "^~\\&"
        assert message.get("MSH-3") == "RAMSOFT"
        assert message.raw("MSH-9") == "SIU^S12"

    def test_what_a_path_leaves_out_is_the_first(self):
        message = parsed("PID|1||4711^^^NORTH&1.2&ISO~0815^^^SOUTH||Roe&van^Jane")
        assert message.get("PID-3") == "4711"
        assert message.get("PID-3[2]") == "0815"
        assert message.get("PID-3.4") == "NORTH"
        assert message.get("PID-3.4.2") == "1.2"
        assert message.get("PID-3[2].4.1") == "SOUTH"
        assert message.get("PID-5.1.2") == "van"
        assert message.get("PID[1]-3[1].1.1") == "4711"

    @pytest.mark.parametrize("path", ["PID-3[3]", "PID-3.9", "PID-3.1.2", "PID-30", "PID[2]-3", "ZZZ-1", "PID-4"])
    def test_absent_and_empty_are_none(self, path: str):
        assert parsed("PID|1||4711||x").get(path) is None

    def test_null_is_not_empty(self):
        message = parsed('PID|1||4711^""||""|""~x')
        assert message.get("PID-5") is NULL
        assert message.get("PID-5.2") is NULL
        assert message.get("PID-3.2") is NULL
        assert message.get("PID-6[2]") == "x"
        assert message.get("PID-5") == '""'

    def test_whole_parts(self):
        message = parsed("PID|1||4711^^^NORTH~0815||Roe\\T\\Co^Jane")
        pid = message.segments("PID")[0]
        assert message.raw("PID-3") == "4711^^^NORTH~0815"
        assert message.raw("PID-3[2]") == "0815"
        assert message.raw("PID-5.1") == "Roe\\T\\Co"
        assert message.raw("PID-9") is None
        assert pid.count("3") == 2
        assert pid.count("4") == 0
        assert pid.components("5") == ["Roe&Co", "Jane"]
        assert pid.components("3") == ["4711", None, None, "NORTH"]

    def test_segments_in_order(self):
        message = parsed("AIS|1|A", "AIG|1", "AIS|2|B")
        assert [s.get("2") for s in message.segments("AIS")] == ["A", "B"]
        assert message.get("AIS[2]-2") == "B"
        assert [s.id for s in message.segments()] == ["MSH", "AIS", "AIG", "AIS"]
        assert message.segments("NTE") == []

    def test_require_names_what_is_missing(self):
        with pytest.raises(Hl7Error) as caught:
            parsed("SCH|").require("SCH-1")
        assert (caught.value.code, caught.value.location) == ("101", "SCH-1")
        assert parsed("SCH|P1^RAMSOFT").require("SCH-1") == "P1"

    @pytest.mark.parametrize("path", ["PID", "PID-", "PID-0", "PID-3[0]", "PID[0]-3", "PID-3.0", "pid-3-1", "3.1", ""])
    def test_wrong_path_is_the_programmers_error(self, path: str):
        with pytest.raises(ValueError, match="path"):
            parsed().get(path)

    def test_repr_holds_no_values(self):
        message = parsed("PID|1||4711")
        assert repr(message) == "<Message SIU^S12, 2 segments>"
        assert repr(message.segments("PID")) == "[<Segment PID>]"


class TestEscapes:
    @pytest.mark.parametrize(
        ("encoded", "value"),
        [
            ("a\\F\\b\\S\\c\\T\\d\\R\\e\\E\\f", "a|b^c&d~e\\f"),
            ("\\X0D\\\\X0A\\", "\r\n"),
            ("caf\\XC3A9\\", "café"),
            ("caf\\XC3\\\\XA9\\", "café"),
            ("caf\\XE9\\", "café"),
            ("\\XC3\\\\T\\\\XA9\\", "Ã&©"),
            ("\\XC3\\ \\XA9\\x", "Ã ©x"),
            ("\\XC3A\\\\X41\\", "\\XC3A\\A"),
            ("\\X41\\\\XC3A\\", "A\\XC3A\\"),
            ("\\E\\F\\E\\", "\\F\\"),
            ("\\.br\\next", "\\.br\\next"),
            ("\\H\\bold\\N\\", "\\H\\bold\\N\\"),
            ("\\Zabc\\", "\\Zabc\\"),
            ("\\C2842\\", "\\C2842\\"),
            ("\\X0\\", "\\X0\\"),
            ("\\XZZ\\", "\\XZZ\\"),
            ("C:\\temp", "C:\\temp"),
            ("C:\\temp \\T\\ x", "C:\\temp & x"),
            ("\\.br\\F\\F\\", "\\.br\\F|"),
            ("\\", "\\"),
            ("\\\\", "\\\\"),
        ],
    )
    def test_known_ones_are_resolved_and_unknown_ones_kept(self, encoded: str, value: str):
        message = parsed(f"NTE|1||{encoded}")
        assert message.get("NTE-3") == value
        assert message.raw("NTE-3") == encoded

    @pytest.mark.parametrize("value", ["a|b", "^", "~", "\\", "&", "\\F\\", "x\r\ny", "\x0b\x1c\x00\x7f", "é|ł", "#"])
    def test_what_is_set_is_what_is_got(self, value: str):
        message = parsed("NTE|1", header=HEADER.replace(b"2.3.1", b"2.3.1||||||UNICODE UTF-8"))
        message.set("NTE-3.2.2", value)
        again = Message.parse(message.to_bytes())
        assert again.get("NTE-3.2.2") == value
        assert len(again.segments()) == 2
        assert b"\x0b" not in message.to_bytes()
        assert b"\x1c" not in message.to_bytes()

    def test_truncation_character_of_version_2_7(self):
        message = parsed("NTE|1||a\\P\\b", header=HEADER.replace(b"^~\\&", b"^~\\&#"))
        assert message.get("NTE-3") == "a#b"
        message.set("NTE-3", "#")
        assert message.raw("NTE-3") == "\\P\\"


class TestDelimiters:
    def test_others_than_usual(self):
        message = Message.parse(b"MSH$*%!@$A$B$C$D$2026$$ADT*A08$1$P$2.3\rPID$1$$a*b%c@d!S!^~|\r")
        assert message.get("PID-3.2") == "b"
        assert message.get("PID-3[2].1.2") == "d*^~|"
        message.set("PID-4", "$^")
        assert message.raw("PID-4") == "!F!^"

    @pytest.mark.parametrize("encoding", [b"^", b"^~", b"^~\\"])
    def test_fewer_than_four_are_not_in_use(self, encoding: bytes):
        message = Message.parse(HEADER.replace(b"^~\\&", encoding) + b"PID|1||a&b~c\\T\\\r")
        assert message.get("MSH-9.2") == "S12"
        assert message.get("PID-3") == ("a&b" if b"~" in encoding else "a&b~c\\T\\")
        with pytest.raises(Hl7Error, match="MSH-2"):
            message.set("PID-3.1.2", "x")

    @pytest.mark.parametrize(
        ("header", "location", "code"),
        [
            (b"MSH", "MSH-1", "101"),
            (b"MSH\r", "MSH-1", "102"),
            (b"MSHA^~\\&A", "MSH-1", "102"),
            (b"MSH |^~\\&", "MSH-1", "102"),
            (b"MSH|", "MSH-2", "101"),
            (b"MSH||A|B", "MSH-2", "101"),
            (b"MSH|^^^^|A", "MSH-2", "102"),
            (b"MSH|^~\\\\&|A", "MSH-2", "102"),
            (b"MSH|^~\\&#*|A", "MSH-2", "102"),
            (b"MSH|abcd|A", "MSH-2", "102"),
            (b"MSH|^~\\&|A|B|C|D|2026||", "MSH-9", "101"),
            (b"MSH|^~\\&|A|B|C|D|2026||ADT^A08|", "MSH-10", "101"),
            (b"MSH|^~\\&|A|B|C|D|2026||ADT^A08|1\rMSH|^~\\&|A", "MSH[2]", "100"),
            (b"FHS|^~\\&|A", "MSH", "100"),
            (b"PID|1", "MSH", "100"),
            (b"junk MSH|^~\\&|A", "MSH", "100"),
            (b"", "MSH", "100"),
            (b"{}", "MSH", "100"),
        ],
    )
    def test_what_is_no_message_is_refused_with_its_place(self, header: bytes, location: str, code: str):
        with pytest.raises(Hl7Error) as caught:
            Message.parse(header)
        assert (caught.value.location, caught.value.code) == (location, code)

    def test_refusal_holds_what_could_be_read(self):
        with pytest.raises(Hl7Error) as caught:
            Message.parse(b"MSH|^~\\&|A|B|C|D|2026|||ID7|P|2.3.1\r")
        assert readable_part(caught.value) is not None
        assert readable_part(caught.value).control_id == "ID7"

    def test_header_may_be_short_when_the_caller_says_so(self):
        message = Message.parse(b"MSH|^~\\&", require_header=False)
        assert (message.type, message.trigger, message.control_id) == ("", "", "")


class TestOddShapes:
    def test_unknown_and_z_segments_are_kept(self):
        data = HEADER + b"ZDS|1.2.3^RAMSOFT\rQQ1|x\rpv1|1\rEVN\r"
        message = Message.parse(data)
        assert [s.id for s in message.segments()] == ["MSH", "ZDS", "QQ1", "pv1", "EVN"]
        assert message.get("ZDS-1.2") == "RAMSOFT"
        message.set("QQ1-1", "y")
        assert message.to_bytes() == data.replace(b"|x", b"|y")

    def test_line_break_inside_a_field_does_not_cut_the_segment(self):
        data = HEADER + b"OBX|1|TX|||first\nsecond line\nthird|N\rOBX|2|TX\r"
        message = Message.parse(data)
        assert len(message.segments("OBX")) == 2
        assert message.get("OBX-5") == "first\nsecond line\nthird"
        assert message.get("OBX-6") == "N"
        assert message.to_bytes() == data

    @pytest.mark.parametrize(("sender", "patient", "where"), [(b"A\x00B", b"1", "MSH"), (b"A", b"\x00", "PID")])
    def test_a_nul_is_refused_and_its_segment_named(self, sender, patient, where):
        data = b"MSH|^~\\&|" + sender + b"||||||ADT^A01|1|P|2.5\rPID|1|" + patient + b"\r"
        with pytest.raises(Hl7Error, match=f"{where}: the segment holds a NUL") as refused:
            Message.parse(data)
        errors = [refused.value.as_ack_error()]
        answer = build_ack(readable_part(refused.value), "AR", control_id="9", errors=errors).to_bytes()
        assert parse_ack(answer).errors[0].location == where

    @pytest.mark.parametrize("before", [b"\xef\xbb\xbf", b"\r\n", b"\x0b", b"\xef\xbb\xbf\r\n ", b"\x00"])
    @pytest.mark.parametrize("after", [b"", b"\x1c\r", b"\x1c", b"\r\r\n\n"])
    def test_wrapping_is_kept_and_not_read(self, before: bytes, after: bytes):
        data = before + HEADER + b"PID|1||4711\r" + after
        message = Message.parse(data)
        assert message.get("PID-3") == "4711"
        assert len(message.segments()) == 2
        message.set("PID-3", "12")
        assert message.to_bytes() == data.replace(b"4711", b"12")

    def test_missing_last_line_end(self):
        message = Message.parse(HEADER + b"PID|1||4711")
        message.add("ZZZ", {1: "x"})
        assert message.to_bytes() == HEADER + b"PID|1||4711\rZZZ|x\r"

    def test_more_lines_than_any_message_has_are_refused(self):
        with pytest.raises(Hl7Error, match="lines"):
            Message.parse(HEADER + b"A|\r" * (MAX_SEGMENTS + 1))

    def test_very_many_fields_are_kept_without_being_split(self):
        data = HEADER + b"OBX|1" + b"|" * 5_000_000 + b"last\r"
        message = Message.parse(data)
        assert message.get("OBX-1") == "1"
        assert message.get("OBX-999") is None
        message.set("OBX-1", "1")
        assert message.to_bytes() == data
        with pytest.raises(ValueError, match="999"):
            message.set("OBX-1000", "x")


class TestWriting:
    def test_set_at_every_level(self):
        message = parsed("PID|1||a^b~c")
        message.set("PID-3[2].3.2", "x")
        assert message.raw("PID-3") == "a^b~c^^&x"
        message.set("PID-3.2", None)
        assert message.raw("PID-3") == "a^~c^^&x"
        message.set("PID-3[1]", ["p", "q"])
        assert message.raw("PID-3") == "p^q~c^^&x"
        message.set("PID-3", "only")
        assert message.raw("PID-3") == "only"
        message.set("PID-11.3", "Toronto")
        assert message.raw("PID-11") == "^^Toronto"
        message.set("PID-5", NULL)
        assert message.get("PID-5") is NULL
        message.set("PID-3", 7)
        assert message.get("PID-3") == "7"

    def test_text_is_escaped_and_raw_is_not(self):
        message = parsed("PID|1")
        message.set("PID-5", "Roe^Jane")
        assert message.raw("PID-5") == "Roe\\S\\Jane"
        message.set("PID-5", raw("Roe^Jane"))
        assert message.get("PID-5.2") == "Jane"
        with pytest.raises(ValueError, match="PID-5"):
            message.set("PID-5", raw("Roe\rEVN|x"))

    def test_add(self):
        message = parsed()
        message.add("SCH", {1: ["P1", "RAMSOFT"], 25: ["50", "CONFIRMED", "99PS"], 3: None})
        message.add("PID", {3: repeat(["4711", None, None, ("NORTH", "1.2", "ISO")], "0815"), 5: ["Roe", "Jane", None]})
        message.add("RGS")
        assert message.to_bytes() == HEADER + (
            b"SCH|P1^RAMSOFT||||||||||||||||||||||||50^CONFIRMED^99PS\rPID|||4711^^^NORTH&1.2&ISO~0815||Roe^Jane\rRGS\r"
        )
        assert message.get("SCH-25.2") == "CONFIRMED"

    @pytest.mark.parametrize("name", ["", "PI", "PIDX", "P|D", "PÏD", "P D"])
    def test_odd_segment_names_are_not_added(self, name: str):
        with pytest.raises(ValueError, match="segment name"):
            parsed().add(name)

    def test_delimiters_do_not_change(self):
        with pytest.raises(ValueError, match="delimiters"):
            parsed().set("MSH-2", "abc")

    def test_setting_in_a_segment_that_is_not_there(self):
        with pytest.raises(LookupError, match="PV1"):
            parsed().set("PV1-2", "O")

    @pytest.mark.parametrize("value", [[["a", ["b"]]], repeat(repeat("a"))])
    def test_deeper_lists_than_hl7_has_levels(self, value: object):
        with pytest.raises(TypeError, match="PID-3"):
            parsed("PID|1").set("PID-3", value)  # type: ignore[arg-type]

    def test_error_texts_hold_no_values(self):
        message = parsed("PID|1")
        with pytest.raises(Hl7Error) as caught:
            message.set("PID-5", "Łucja")
        assert caught.value.location == "PID-5"
        assert "ucja" not in str(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__
