"""PowerServer's resources as master files (MFN): what is read, what is refused by segment, and what is kept."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sync_harness import Harness, listening, send
from sync_samples import NOW, directory, site_file, siu

from chassis.errors import Malformed, NeedsSetup
from hl7v2 import Message
from scheduler_sync import explain
from scheduler_sync.adapters.powerserver import master_files
from scheduler_sync.adapters.powerserver.table import MASTER_FIELDS
from scheduler_sync.domain.resource import GridRow, Hours
from scheduler_sync.resources.views import ResourceViews

WIRE = Path(__file__).resolve().parents[3] / "docs/architecture/wire.md"
H = 3600


def record(
    key: str = "R1", name: str = "BLUME CT", *, event: str = "MUP", facility: str = "FAC01", hours: str = "^^0800^2300",
    active: str = "A", duration: str = "30", overbooking: str = "Y", modality: str = "CT",
) -> list[str]:  # fmt: skip
    place = f"{key}^CT1^^{facility}"
    return [
        f"MFE|{event}|||{place}",
        f"LOC|{place}|{name}|MODALITY|||||{modality}",
        f"LDP|{place}|RADIOLOGY|||{active}||||{hours}",
        f"LCH|{place}|U||DURATION^Default duration^99PS|{duration}",
        f"LCH|{place}|U||OVERBOOKING^Overbooking^99PS|{overbooking}",
        f"LCH|{place}|U||CLASS^Class^99PS|SCANNER",
    ]


def mfn(
    *records: list[str], control_id: str = "PS0000000200", made: str = "20261125093000-0500", trigger: str = "M05",
    mfi: str = "MFI|LOC^Location master file^HL70175||UPD|||AL", processing: str = "P",
) -> bytes:  # fmt: skip
    kind = f"MFN^{trigger}|{control_id}|{processing}|2.3.1||||||UNICODE UTF-8"
    lines = [
        f"MSH|^~\\&|RAMSOFT|FAC01|SUITE|NORTHSIDE|{made}||{kind}",
        *([mfi] if mfi else []),
        *(line for one in records or (record(),) for line in one),
    ]
    return ("\r".join(lines) + "\r").encode()


def rows(raw: bytes) -> tuple[GridRow, ...]:
    return master_files.read(Message.parse(raw), site_file(), received_at=NOW).rows


def test_a_record_gives_every_column_of_the_grid():
    (row,) = rows(mfn())
    assert row == GridRow(
        facility="FAC01", name="BLUME CT", at=datetime(2026, 11, 25, 14, 30, tzinfo=UTC), source="mfn", key="R1",
        kind="MODALITY", modality="CT", department="RADIOLOGY", room="CT1", category="SCANNER",
        hours=Hours.window(8 * H, 23 * H), duration_minutes=30, overbooking=True, active=True,
    )  # fmt: skip


def test_a_name_is_taken_as_it_stands():
    assert [row.name for row in rows(mfn(record(name="Blume CT "), record("R2", " BLUME  CT")))] == [
        "Blume CT ", " BLUME  CT",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("hours", "words"),
    [
        ("^^0800^2259", "08:00–22:59"),
        ("^^08:00^24:00", "08:00–24:00"),
        ("^^2200^0600", "22:00–06:00"),
        ("MON^FRI^0800^1700~SAT^^0900^1200", "mon–fri 08:00–17:00; sat 09:00–12:00"),
        ("FRI^MON^080000^120000", "mon 08:00–12:00; fri–sun 08:00–12:00"),
    ],
)
def test_hours(hours: str, words: str):
    (row,) = rows(mfn(record(hours=hours)))
    assert row.hours is not None
    assert row.hours.words() == words


@pytest.mark.parametrize(
    ("event", "flag", "active"),
    [("MAD", "A", True), ("MUP", "", True), ("MAC", "I", False), ("MDC", "A", False), ("MDL", "", False)],
)
def test_what_happened_and_the_flag_say_whether_it_is_active(event: str, flag: str, active: bool):  # noqa: FBT001
    (row,) = rows(mfn(record(event=event, active=flag)))
    assert row.active is active


def test_a_deletion_may_give_the_key_alone():
    (row,) = rows(mfn(["MFE|MDL|||R1^^^FAC01"]))
    assert (row.name, row.key, row.active) == ("", "R1", False)


def test_a_time_that_cannot_be_counts_as_two_minutes_ahead():
    (row,) = rows(mfn(made="20271125093000-0500"))
    assert row.at == NOW + timedelta(minutes=2)


BAD = {
    "MFI": (mfn(mfi=""), "MFI: is missing"),
    "MFI-1": (mfn(mfi="MFI|PRA||UPD"), "MFI-1: only the master file of locations"),
    "MFI-3": (mfn(mfi="MFI|LOC||REP"), "MFI-3: only updates"),
    "MSH-9.2": (mfn(trigger="M02"), "MSH-9.2: of master files only"),
    "MFE": (mfn([]), "MFE: is missing"),
    "LOC": (mfn(record()[1:]), "LOC: stands before the first MFE"),
    "LOC of its own": (mfn(record()[:1]), "LOC: is missing"),
    "MFE-1": (mfn(record(event="XXX")), "MFE-1: is none of"),
    "LOC-2": (mfn(record(name="")), "LOC-2: the resource's name is missing"),
    "LOC-2 blank": (mfn(record(name="  ")), "LOC-2: the resource's name is missing"),
    "LOC-2 long": (mfn(record(name="x" * 201)), "LOC-2: is longer than"),
    "LOC-1": (mfn([*record()[:1], *record("R9")[1:]]), "LOC-1: is not the key of its MFE-4"),
    "LOC-1.4": (mfn(record(facility="FAC77")), "LOC-1.4: facility"),
    "LDP-5": (mfn(record(active="X")), "LDP-5: is neither A"),
    "LDP-9": (mfn(record(hours="^^0800^0800")), "LDP-9: has no start and end"),
    "LDP-9 days": (mfn(record(hours="FOO^^0800^1200")), "LDP-9: names no weekday"),
    "LDP-9 spans": (mfn(record(hours="^^0800^1200~^^1300^1700")), "LDP-9: several spans need"),
    "LCH-5": (mfn(record(duration="half")), r"LCH-5 \(DURATION\): is no value"),
    "LCH-5 switch": (mfn(record(overbooking="maybe")), r"LCH-5 \(OVERBOOKING\): is no value"),
    "MSH-7": (mfn(made="20261325"), "MSH-7: "),
    "the second": (mfn(record(), record("R2", "B", modality="x" * 201)), r"MFE\[2\]/LOC-8: is longer"),
    "too many": (mfn(*[["MFE|MDL|||R1^^^FAC01"]] * 1001), "MFE: the message has more than 1000 records"),
}


@pytest.mark.parametrize(("raw", "why"), BAD.values(), ids=BAD)
def test_a_bad_message_needs_a_person_and_names_the_segment(raw: bytes, why: str):
    with pytest.raises(NeedsSetup, match=f"^{why}") as refused:
        rows(raw)
    assert refused.value.location
    assert refused.value.setting


def test_another_lines_processing_id_is_refused_as_for_any_message():
    with pytest.raises(Malformed, match="MSH-11"):
        rows(mfn(processing="T"))


def test_explain_says_what_it_would_do():
    found = explain.explain(mfn(), site_file(), directory(), received_at=NOW)
    assert (found.code, found.meaning, dict(found.effect)) == (
        "AA", "resources of PowerServer", {"resources": ["FAC01 'BLUME CT': on"]},
    )  # fmt: skip
    assert {one.place for one in found.fields} >= {"LOC-2", "MFE-1", "LDP-9.3", "LCH-5"}
    refused = explain.explain(BAD["LDP-5"][0], site_file(), directory(), received_at=NOW)
    assert (refused.code, refused.is_taken) == ("AE", False)


def test_the_page_of_the_wires_lists_every_field():
    page = WIRE.read_text()
    for rule in MASTER_FIELDS:
        names = ", ".join(f"{rule.segment}-{number}" for number in rule.fields)
        assert f"| {names} | {rule.of} | {rule.rule} |" in page


@pytest.mark.stack
async def test_messages_keep_rename_switch_off_and_never_go_back(harness: Harness):
    async def known() -> dict[str, tuple[str | None, bool, int | None]]:
        found = await harness.rows("SELECT * FROM powerserver_resources ORDER BY name")
        return {row["name"]: (row["key"], row["active"], row["duration_minutes"]) for row in found}

    first = mfn(record(), record("R2", "BLUME MR"))
    assert await harness.hear(first) == [None]
    assert await known() == {"BLUME CT": ("R1", True, 30), "BLUME MR": ("R2", True, 30)}
    later = mfn(record("R1", "BLUME CT 64", duration="45"), made="20261125093100-0500", control_id="2")
    assert await harness.hear(later) == [None]
    assert await known() == {"BLUME CT 64": ("R1", True, 45), "BLUME MR": ("R2", True, 30)}
    assert await harness.hear(first) == [None]
    assert (await known())["BLUME CT 64"] == ("R1", True, 45), "an older message changes nothing"
    gone = mfn(["MFE|MDL|||R2^^^FAC01"], made="20261125093200-0500", control_id="3")
    assert await harness.hear(gone) == [None]
    assert (await known())["BLUME MR"] == ("R2", False, 30)
    lines = await ResourceViews(harness.store).history(facility="FAC01", name=None, limit=20)
    assert [(one.what, one.actor) for one in lines] == [
        ("powerserver.changed", "PowerServer (MFN)"), ("powerserver.changed", "PowerServer (MFN)"),
        ("powerserver.new", "PowerServer (MFN)"), ("powerserver.new", "PowerServer (MFN)"),
    ]  # fmt: skip


@pytest.mark.stack
async def test_a_name_that_goes_to_another_key_leaves_the_former_row_off(harness: Harness):
    await harness.hear(mfn(record("R1", "A"), record("R2", "B")))
    await harness.hear(mfn(record("R1", "B", duration="45"), made="20261125093100-0500", control_id="2"))
    found = {row["name"]: row for row in await harness.rows("SELECT * FROM powerserver_resources")}
    assert (found["B"]["key"], found["B"]["duration_minutes"], found["A"]["active"]) == ("R1", 45, False)
    await harness.hear(mfn(record("R2", "A"), made="20261125093200-0500", control_id="3"))
    found = {row["name"]: row for row in await harness.rows("SELECT * FROM powerserver_resources")}
    assert (found["A"]["key"], found["A"]["active"]) == ("R2", True)


@pytest.mark.stack
async def test_one_batch_of_all_kinds_keeps_what_is_right(harness: Harness):
    outcomes = await harness.hear(siu(), mfn(), BAD["the second"][0], mfn(record("R3", "C"), control_id="4"))
    assert [type(one) for one in outcomes] == [type(None), type(None), NeedsSetup, type(None)]
    assert len(await harness.rows("SELECT 1 FROM appointment_links")) == 1
    found = {row["name"] for row in await harness.rows("SELECT name FROM powerserver_resources")}
    assert found == {"BLUME CT", "C"}, "nothing of the bad one"


@pytest.mark.stack
async def test_over_mllp_a_bad_message_is_answered_ae_with_its_segment_and_waits(migrated_url: str):
    async with listening(migrated_url) as (core, client):
        assert (await send(client, mfn())).code == "AA"
        refused = await send(client, BAD["LDP-5"][0].replace(b"PS0000000200", b"PS0000000201"))
        assert (refused.code, refused.errors[0].location) == ("AE", "LDP-5")
        rows = await core.store.pool.fetch("SELECT state, setting FROM hl7_journal ORDER BY received_at")
        assert [row["state"] for row in rows] == ["accepted", "needs_setup"]
        assert rows[1]["setting"].startswith("PowerServer: Settings")
