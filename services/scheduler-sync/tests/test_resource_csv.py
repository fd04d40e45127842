"""PowerServer's resource grid as a CSV export, as people and Excel write it."""

import csv
import io
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler_sync.domain.resource import Hours, clock
from scheduler_sync.resources.csv_files import CsvFile, UnreadableFileError, read

AT = datetime(2026, 11, 25, 15, 0, tzinfo=UTC)
FACILITIES = ("FAC01", "FAC02")
HEADER = "Facility,Resource,Modality,Start Time,End Time,Default duration,Overbooking"


def taken(content: str | bytes, *, facility: str | None = None) -> CsvFile:
    raw = content.encode() if isinstance(content, str) else content
    return read(raw, facilities=FACILITIES, default_facility=facility, at=AT)


def names(content: str | bytes, *, facility: str | None = None) -> list[str]:
    return [row.name for row in taken(content, facility=facility).rows]


def problems(content: str | bytes) -> list[str]:
    return [one.words() for one in taken(content).problems]


def test_the_vendors_own_grid_is_read():
    (row,) = taken(f"{HEADER}\nFAC01,BLUME XR,DX,08:00,22:59,15,yes\n").rows
    assert (row.facility, row.name, row.modality, row.duration_minutes, row.overbooking) == (
        "FAC01", "BLUME XR", "DX", 15, True,
    )  # fmt: skip
    assert row.hours == Hours.window(8 * 3600, 22 * 3600 + 59 * 60)
    assert row.active is None


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfFacility;Resource\r\nFAC01;R\xc3\xb6ntgen\r\n",
        "Facility;Resource\r\nFAC01;Röntgen\r\n".encode("utf-16"),
        "Facility;Resource\r\nFAC01;Röntgen\r\n".encode("cp1252"),
        "resource\tFACILITY\nRöntgen\tFAC01\n".encode(),
        "sep=|\nRESOURCE NAME|imaging_facility\nRöntgen|FAC01".encode(),
        '"Resource";"Facility";"Note"\n"Röntgen";"FAC01";"two\nlines"\n'.encode(),
        "\n\n;;\nName;Facility;;\nRöntgen;FAC01;;\n;;;\n".encode(),
    ],
    ids=["bom", "utf-16", "windows", "tabs", "sep", "quoted-break", "empty-rows"],
)
def test_encodings_delimiters_and_headers_of_any_order_and_case(content: bytes):
    assert names(content) == ["Röntgen"]
    assert taken(content).problems == []


def test_a_name_is_taken_as_it_stands():
    assert names("Facility,Resource\nFAC01,BLUME CT \nFAC01,  BLUME  CT\n") == ["BLUME CT ", "  BLUME  CT"]


def test_each_bad_row_is_named_by_line_and_column_and_the_rest_is_taken():
    rows = [
        "FAC01,ONE,CT,08:00,23:00,30,no",
        "FAC77,TWO,CT,08:00,23:00,30,no",
        "FAC01,,CT,08:00,23:00,30,no",
        "FAC01,FOUR,CT,25:00,23:00,half,maybe",
        "FAC01,FIVE,CT,08:00,,30,no",
        "FAC01,SIX,CT,08:00,23:00,30,no,extra",
        "FAC01,ONE,MR,08:00,23:00,30,no",
        'FAC01,"EIG\nHT",CT,08:00,23:00,30,no',
        "FAC01,NINE,CT,08:00,23:00,30,no",
    ]
    content = "\n".join([HEADER, *rows])
    found = taken(content)
    assert [row.name for row in found.rows] == ["ONE", "NINE"]
    assert found.bad_rows == 7
    assert [one.words() for one in found.problems] == [
        "line 3, Facility: is not among the facilities of the site file",
        "line 4, Resource: is missing",
        "line 5, Default duration: is no length in minutes",
        "line 5, Overbooking: is neither yes nor no",
        "line 5, Start Time: is no time of day",
        "line 6, End Time: is missing",
        "line 7: has 8 values for 7 columns",
        "line 8, Resource: is in line 2 already: the first one is taken",
        "line 9, Resource: holds a line break or a control character",
    ]


def test_an_open_quote_does_not_swallow_the_rows_after_it():
    bad = 'FAC01,TWO,"B\nFAC01,THREE,C\nFAC01,FO"UR",D\nFAC01,"FI"VE,E\n'
    content = f"Facility,Resource,Room\nFAC01,ONE,A\n{bad}FAC01,SIX,F\n"
    assert names(content) == ["ONE", "THREE", 'FO"UR"', "SIX"]
    assert problems(content) == ["line 3: the quotes do not fit", "line 6: the quotes do not fit"]
    swallowing = 'Facility,Resource,Room\nFAC01,ONE,A\nFAC01,TWO,"B\nFAC01,THREE,C\nFAC01,FOUR,D\n'
    assert names(swallowing) == ["ONE", "THREE", "FOUR"]
    assert problems(swallowing) == ["line 3: a quote is not closed"]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "no rows"),
        (b"Facility,Modality\nFAC01,CT\n", "no column Resource"),
        (b"Resource\nONE\n", "no column Facility"),
        (b"Facility,Resource,Name\nFAC01,A,B\n", "two columns mean the same"),
        (b"Facility,Resource\x00\n", "NUL"),
        (b"\xff\xfea", "utf-16"),
        (b"x" * (16 * 1024 * 1024 + 1), "larger than"),
    ],
)
def test_a_file_that_is_no_export_is_refused_as_a_whole(content: bytes, why: str):
    with pytest.raises(UnreadableFileError, match=why):
        taken(content)


def test_a_facilitys_own_grid_needs_no_column_for_it():
    assert [row.facility for row in taken("Resource\nONE\n", facility="FAC02").rows] == ["FAC02"]
    with pytest.raises(UnreadableFileError, match="not in the site file"):
        taken("Resource\nONE\n", facility="FAC99")


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("30", 30), ("30 min", 30), ("01:00", 60), ("0:30:00", 30), ("90 Minutes", 90), ("", None)],
)
def test_lengths(text: str, minutes: int | None):
    (row,) = taken(f"Facility,Resource,Duration\nFAC01,A,{text}\n").rows
    assert row.duration_minutes == minutes


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("08:00", 28800), ("0800", 28800), ("8:00 AM", 28800), ("11:00 p.m.", 82800), ("12:00 AM", 0),
        ("12:30pm", 45000), ("22:59:30", 82770), ("24:00", 86400),
    ],
)  # fmt: skip
def test_times_of_day(text: str, seconds: int):
    ends = "07:07" if seconds else "24:00"
    (row,) = taken(f"Facility,Resource,Start,End\nFAC01,A,{text},{ends}\n").rows
    assert row.hours is not None
    assert row.hours.spans[0][0][0] == seconds % 86400
    assert row.hours.spans[0][0][1] == clock(ends)


@pytest.mark.parametrize("text", ["24:01", "8", "noon", "13:00 PM", "0:00 AM", "١٢:٠٠", "08:60"])
def test_what_is_no_time_of_day_is_refused(text: str):
    assert problems(f"Facility,Resource,Start,End\nFAC01,A,{text},23:00\n") == ["line 2, Start: is no time of day"]


def _cell() -> st.SearchStrategy[str]:
    return st.one_of(st.sampled_from(["FAC01", "FAC02", "30", "08:00", "yes", "CT", ""]), st.text(max_size=20))


@given(
    st.permutations(["Facility", "Resource", "Modality", "Start Time", "End Time", "Default duration", "Overbooking"]),
    st.lists(st.lists(_cell(), max_size=9), max_size=12),
    st.sampled_from(",;\t|"),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_any_rows_are_taken_or_named_and_none_is_lost(
    header: list[str], rows: list[list[str]], delimiter: str, encoding: str
):
    written = io.StringIO()
    writer = csv.writer(written, delimiter=delimiter)
    writer.writerow(header)
    rows = [[cell.replace("\x00", "").encode("utf-8", "ignore").decode() for cell in row] for row in rows]
    writer.writerows(rows)
    found = taken(written.getvalue().encode(encoding))
    filled = [row for row in rows if any(cell.strip() for cell in row)]
    assert len(found.rows) + found.bad_rows == len(filled)
    assert len({(one.facility, one.name) for one in found.rows}) == len(found.rows)
    for one in found.problems:
        assert one.line >= 2
        assert one.why


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(content: bytes):
    try:
        found = taken(b"Facility,Resource\n" + content)
    except UnreadableFileError:
        return
    assert all(row.facility in FACILITIES for row in found.rows)
