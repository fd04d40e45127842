"""What a patient reads: the time on the facility's clock, and nothing that a record could smuggle in."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

import pytest
from notifier_examples import FORMER, START, TORONTO, appointment, letterhead

from notifier.adapters.letters import TEMPLATES_DIR, Letter, LetterWriter
from notifier.domain.appointment import Appointment
from notifier.domain.facility_time import UnknownZoneError, facility_time, offset_text, zone_of
from notifier.domain.notification import TEMPLATES
from notifier.languages import LANGUAGES, best_language

AT = datetime(2026, 11, 25, 9, 30, tzinfo=UTC)
EVENT_OF = {"please-confirm": "scheduled", "confirmed": "confirmed", "moved": "rescheduled"}


def written(one: Appointment, template: str = "please-confirm", **changes: object) -> EmailMessage:
    letter = Letter(template, "en", "jane.roe@example.org", "Jane", one, "key-1")
    mail = LetterWriter(letterhead()).write(replace(letter, **changes), AT)
    return message_from_bytes(mail, policy=policy.default)


def text_of(mail: EmailMessage, kind: str = "plain") -> str:
    return mail.get_body((kind,)).get_content().replace("\r\n", "\n")


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("kind", ["plain", "html"])
def test_a_mail_says_when_where_and_what_to_do(template: str, kind: str) -> None:
    text = text_of(written(appointment(event=EVENT_OF[template]), template), kind)
    for part in (
        "Hello Jane,",
        "Tuesday, 1 December 2026, 14:30",
        "15:00",
        "America/Toronto, EST, UTC−05:00",
        "Northside Imaging",
        "12 King St W, Toronto, ON",
        "+1 416 555 0111",
        "https://portal.example/blume",
    ):
        assert part in text, part
    assert ("arrive 30 minutes early" in text) == (template in {"confirmed", "moved"})


@pytest.mark.parametrize("kind", ["plain", "html"])
@pytest.mark.parametrize("who", ["patient", "nobody"])
def test_a_mail_about_a_move_says_the_old_time_and_the_new_and_whether_to_confirm(kind: str, who: str) -> None:
    text = text_of(written(appointment(event="rescheduled", who_acts_next=who), "moved"), kind)
    old, new = text.index("Monday, 30 November 2026, 09:00 to 09:30"), text.index("Tuesday, 1 December 2026, 14:30")
    assert old < new
    assert ("confirm the new time" in text) == (who == "patient")
    assert "Southside" not in text


def test_a_mail_about_a_move_to_another_facility_names_both() -> None:
    one = appointment(event="rescheduled", former=replace(FORMER, facility_name="Southside <Imaging>"))
    assert "Southside <Imaging>" in text_of(written(one, "moved"))
    assert "Southside &lt;Imaging&gt;" in text_of(written(one, "moved"), "html")


def test_headers_name_the_template_and_the_opaque_appointment_and_no_patient() -> None:
    one = appointment()
    mail = written(one)
    assert mail["X-Suite-Template"] == "please-confirm"
    assert mail["X-Suite-Appointment"] == str(one.appointment_id)
    assert mail["Message-ID"] == "<key-1@northside.example>"
    assert mail["Subject"] == "Northside Health: please confirm your appointment"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Content-Language"] == "en"
    assert mail["Date"].datetime == AT


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_record_cannot_add_headers_markup_or_template_code(template: str) -> None:
    evil = "Jane\r\nBcc: all@example.org<script>alert(1)</script>{{ 7*7 }}{% raw %}"
    facility = replace(TORONTO, name=evil, phone=evil, address=evil)
    former = replace(FORMER, facility_name=evil)
    mail = written(appointment(event=EVENT_OF[template], facility=facility, former=former), template, given_name=evil)
    assert mail["Bcc"] is None
    assert "<script>" not in text_of(mail, "html")
    for kind in ("plain", "html"):
        assert "\nBcc:" not in text_of(mail, kind)
        assert "49" not in text_of(mail, kind)
        assert "{{ 7*7 }}" in text_of(mail, kind)


def test_an_address_with_a_line_break_is_refused() -> None:
    with pytest.raises(ValueError, match="header To is not printable ASCII"):
        written(appointment(), to="jane@example.org\r\nBcc: all@example.org")


def test_a_facility_without_phone_and_address_leaves_no_gaps() -> None:
    mail = written(appointment(facility=replace(TORONTO, phone=None, address=None)))
    for kind in ("plain", "html"):
        assert "None" not in text_of(mail, kind)
        assert "Phone" not in text_of(mail, kind)
        assert "call" not in text_of(mail, kind)


@pytest.mark.parametrize(
    ("start", "minutes", "zone", "expected"),
    [
        # Toronto goes back on 1 November 2026 at 02:00: 01:30 exists twice.
        (datetime(2026, 11, 1, 5, 30, tzinfo=UTC), 15, "America/Toronto", ["01:30 to 01:45", "EDT, UTC−04:00"]),
        (datetime(2026, 11, 1, 6, 30, tzinfo=UTC), 15, "America/Toronto", ["01:30 to 01:45", "EST, UTC−05:00"]),
        (
            datetime(2026, 11, 1, 5, 45, tzinfo=UTC),
            30,
            "America/Toronto",
            ["01:45 (America/Toronto, EDT, UTC−04:00) to 01:15 (America/Toronto, EST, UTC−05:00)"],
        ),
        # It goes forward on 14 March 2027 at 02:00: there is no 02:30.
        (datetime(2027, 3, 14, 6, 45, tzinfo=UTC), 30, "America/Toronto", ["01:45 (", "EST", "to 03:15 (", "EDT"]),
        (datetime(2027, 3, 14, 7, 30, tzinfo=UTC), 30, "America/Toronto", ["03:30 to 04:00", "EDT, UTC−04:00"]),
        (datetime(2026, 7, 1, 12, 0, tzinfo=UTC), 30, "+0215", ["14:15 to 14:45", "Time zone: +0215, UTC+02:15"]),
        (datetime(2026, 7, 1, 12, 0, tzinfo=UTC), 30, "UTC-03:30", ["08:30 to 09:00", "UTC−03:30"]),
        (
            datetime(2026, 7, 1, 12, 0, tzinfo=UTC),
            30,
            "Asia/Kathmandu",
            ["17:45 to 18:15", "Asia/Kathmandu, UTC+05:45"],
        ),
        (datetime(2026, 7, 1, 2, 30, tzinfo=UTC), 30, "America/St_Johns", ["1 July 2026, 00:00", "NDT, UTC−02:30"]),
        # Over midnight and over the year's end, and on the leap day.
        (
            datetime(2027, 1, 1, 4, 45, tzinfo=UTC),
            30,
            "America/Toronto",
            ["Thursday, 31 December 2026, 23:45 to Friday, 1 January 2027, 00:15"],
        ),
        (datetime(2028, 2, 29, 17, 0, tzinfo=UTC), 30, "America/Toronto", ["Tuesday, 29 February 2028, 12:00"]),
        (datetime(2026, 7, 1, 12, 0, tzinfo=UTC), 30, "UTC", ["12:00 to 12:30", "Time zone: UTC, UTC+00:00"]),
    ],
)
def test_the_time_is_the_facilitys_with_zone_and_offset(
    start: datetime, minutes: int, zone: str, expected: list[str]
) -> None:
    one = appointment(start=start, end=start + timedelta(minutes=minutes), facility=replace(TORONTO, time_zone=zone))
    text = text_of(written(one))
    for part in expected:
        assert part in text, text


def test_the_same_instant_reads_the_same_whatever_offset_it_came_with() -> None:
    for zone in ("America/Vancouver", "Asia/Tokyo", "UTC"):
        text = text_of(written(appointment(start=START.astimezone(zone_of(zone)))))
        assert "Tuesday, 1 December 2026, 14:30 to 15:00" in text


@pytest.mark.parametrize("name", ["Eastern Standard Time", "", "../etc/passwd", "+25:00", "+02:75", "Mars/Olympus"])
def test_an_unknown_zone_is_said(name: str) -> None:
    with pytest.raises(UnknownZoneError):
        facility_time(START, START, name)


def test_offsets_read_as_people_write_them() -> None:
    assert offset_text(START) == "UTC+00:00"
    assert offset_text(START.astimezone(zone_of("-00:30"))) == "UTC−00:30"


@pytest.mark.parametrize(
    ("wanted", "got"), [("en", "en"), ("en-CA", "en"), ("EN_gb", "en"), ("fr-CA", "en"), ("", "en")]
)
def test_a_language_falls_back_to_one_that_exists(wanted: str, got: str) -> None:
    assert best_language(wanted) == got
    assert written(appointment(), language=wanted)["Content-Language"] == got


def test_every_language_has_every_template() -> None:
    for language in LANGUAGES:
        for template in TEMPLATES:
            for kind in ("subject.txt", "txt", "html"):
                assert (TEMPLATES_DIR / language / f"{template}.{kind}").is_file()
    assert {path.name for path in Path(TEMPLATES_DIR).iterdir()} == set(LANGUAGES)
