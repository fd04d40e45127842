"""HL7 times: any precision, any offset, no shift."""

import contextlib
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hl7v2 import Hl7Error, format_timestamp, parse_timestamp

TORONTO = ZoneInfo("America/Toronto")
KOLKATA = ZoneInfo("Asia/Kolkata")


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2026", utc(2026, 1, 1, 5)),
        ("202612", utc(2026, 12, 1, 5)),
        ("20261201", utc(2026, 12, 1, 5)),
        ("2026120114", utc(2026, 12, 1, 19)),
        ("202612011430", utc(2026, 12, 1, 19, 30)),
        ("20261201143059", utc(2026, 12, 1, 19, 30, 59)),
        ("20261201143059.5", utc(2026, 12, 1, 19, 30, 59, 500_000)),
        ("20261201143059.1234", utc(2026, 12, 1, 19, 30, 59, 123_400)),
        ("20261201143059.123456789", utc(2026, 12, 1, 19, 30, 59, 123_456)),
        ("20261201143000-0500", utc(2026, 12, 1, 19, 30)),
        ("198908181126+0215", utc(1989, 8, 18, 9, 11)),
        ("20150624084727.655-0500", utc(2015, 6, 24, 13, 47, 27, 655_000)),
        ("20261201143000+0000", utc(2026, 12, 1, 14, 30)),
        ("20261201143000-0000", utc(2026, 12, 1, 14, 30)),
        ("20261201143000Z", utc(2026, 12, 1, 14, 30)),
        ("20261201143000+05:30", utc(2026, 12, 1, 9)),
        ("20261201143000-0330", utc(2026, 12, 1, 18)),
        ("2026-0500", utc(2026, 1, 1, 5)),
        (" 20261201 ", utc(2026, 12, 1, 5)),
        # 24:00 is the end of the day, in winter, on the last day of a year, before a leap day.
        ("202612012400", utc(2026, 12, 2, 5)),
        ("20261231240000-0500", utc(2027, 1, 1, 5)),
        ("20280228240000+0215", utc(2028, 2, 28, 21, 45)),
        ("2028022824", utc(2028, 2, 29, 5)),
        ("20280229", utc(2028, 2, 29, 5)),
        ("20261231235960+0000", utc(2027, 1, 1)),
        # Daylight saving in Toronto: 8 March and 1 November 2026.
        ("20260308013000", utc(2026, 3, 8, 6, 30)),
        ("20260308033000", utc(2026, 3, 8, 7, 30)),
        ("20260308023000", utc(2026, 3, 8, 7, 30)),
        ("20261101003000", utc(2026, 11, 1, 4, 30)),
        ("20261101013000", utc(2026, 11, 1, 5, 30)),
        ("20261101013000-0500", utc(2026, 11, 1, 6, 30)),
        ("20261101023000", utc(2026, 11, 1, 7, 30)),
        ("202610312400", utc(2026, 11, 1, 4)),
        ("202611012400", utc(2026, 11, 2, 5)),
        ("202603082400", utc(2026, 3, 9, 4)),
    ],
)
def test_instant(text: str, instant: datetime):
    found = parse_timestamp(text, TORONTO)
    assert found.astimezone(UTC) == instant
    assert found.tzinfo is not None


def test_offset_and_zone_are_kept():
    assert parse_timestamp("198908181126+0215", TORONTO).utcoffset() == timedelta(hours=2, minutes=15)
    assert parse_timestamp("20260701", TORONTO).tzinfo is TORONTO


@pytest.mark.parametrize(
    "text",
    [
        "", "x", "202", "20261", "2026120", "202613", "20260230", "20270229", "00000101", "2026120125", "202612012401",
        "20261201240000.1", "202612011460", "20261201143061", "20261201143000-050", "20261201143000+0560",
        "20261201143000+2400", "2026-12-01", "20261201T1430", "٢٠٢٦", "999912312400", "20261201143000.",
        "20261201143000-0500 x", '""', "2026W011143000-0500", "20261201143000 0500", "20261201143000-05:0",
        "2026120114300٠-0500", "20261201256000-0500", "20261301143000-0500", "20261201143000-9959",
    ],
)  # fmt: skip
def test_what_is_no_time_is_refused_without_being_repeated(text: str):
    with pytest.raises(Hl7Error) as caught:
        parse_timestamp(text, TORONTO, location="PID-7")
    assert (caught.value.code, caught.value.location) == ("102", "PID-7")
    assert not text or text not in str(caught.value).replace("PID-7: ", "").split()


@pytest.mark.parametrize(
    ("at", "text"),
    [
        (datetime(2026, 12, 1, 14, 30, tzinfo=TORONTO), "20261201143000-0500"),
        (datetime(2026, 7, 1, 14, 30, tzinfo=TORONTO), "20260701143000-0400"),
        (datetime(2026, 11, 1, 1, 30, tzinfo=TORONTO, fold=1), "20261101013000-0500"),
        (datetime(2026, 11, 1, 1, 30, tzinfo=TORONTO), "20261101013000-0400"),
        (datetime(2026, 12, 1, 14, 30, tzinfo=KOLKATA), "20261201143000+0530"),
        (datetime(2026, 12, 1, 14, 30, tzinfo=timezone(-timedelta(hours=3, minutes=30))), "20261201143000-0330"),
        (datetime(26, 12, 1, 14, 30, tzinfo=UTC), "00261201143000+0000"),
        (datetime(1890, 1, 1, 12, 0, tzinfo=TORONTO), "18900101171732+0000"),
    ],
)
def test_written(at: datetime, text: str):
    assert format_timestamp(at) == text
    assert parse_timestamp(text, KOLKATA) == at.astimezone(UTC)


def test_written_with_and_without():
    at = datetime(2026, 12, 1, 14, 30, 5, 123_456, tzinfo=TORONTO)
    assert format_timestamp(at, with_offset=False) == "20261201143005"
    assert format_timestamp(at, fraction_digits=3) == "20261201143005.123-0500"
    assert format_timestamp(at, fraction_digits=9) == "20261201143005.1234-0500"
    with pytest.raises(ValueError, match="aware"):
        format_timestamp(datetime(2026, 12, 1))  # noqa: DTZ001  # that is the point


ZONES = st.sampled_from([TORONTO, KOLKATA, UTC, ZoneInfo("Asia/Kathmandu"), ZoneInfo("Australia/Lord_Howe")])


@given(
    st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1), timezones=ZONES),  # noqa: DTZ001  # hypothesis adds zones
    ZONES,
)
def test_what_is_written_is_read_as_the_same_instant(at: datetime, elsewhere: ZoneInfo):
    at = at.astimezone(UTC).astimezone(at.tzinfo).replace(microsecond=0)
    # Python compares a time inside a clock change as unequal to any time of another zone.
    assert parse_timestamp(format_timestamp(at), elsewhere).astimezone(UTC) == at.astimezone(UTC)


@given(st.text(alphabet="0123456789.+-Z", max_size=24))
def test_any_text_is_a_time_or_refused(text: str):
    with contextlib.suppress(Hl7Error):
        assert parse_timestamp(text, TORONTO).utcoffset() is not None
