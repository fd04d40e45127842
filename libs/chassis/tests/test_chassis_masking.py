"""What a list shows of a message's own values: codes, and nothing that may be a person."""

from dataclasses import replace

import pytest

from chassis.hl7 import list_journal
from chassis.observe import masking, shown, words_of
from chassis.observe.masking import LONGEST, MASKED, message_id, place

KNOWN = words_of(["CT 1", "Main MRI", "Northside", "room"])


@pytest.mark.parametrize(
    "value",
    [
        "FAC09",
        "NORTHSIDE",
        "northside",
        "FAC-1",
        "PS_2",
        "A",
        "9",
        "12345",
        "2.16.840.1.113883.4.6",
        "urn:oid:1.2.840.113619",
        "CT 2",
        "CT-HEAD",
        "GHOST CT",
        "Main CT",
        "CT ROOM 12",
        "MRI ROOM",
        "ROOM 3",
        "LAB 4",
        "(none)",
        "X9:Y8",
        "Main MRI",
        "(Northside)",
        "Northside",
    ],
)
def test_codes_and_words_of_the_set_up_are_shown(value) -> None:
    assert shown(value, KNOWN) == value


@pytest.mark.parametrize(
    "value",
    [
        "Roe^Jane",
        "ROE^JANE^A",
        "ROE, JANE",
        "Jane Roe",
        "JANE ROE",
        "Wilhelmina",
        "Kanariová",
        "KANARIOVÁ",
        "O'Brien",
        "Roe-Jane",
        "ROE.JANE",
        "ROE_JANE",
        "ROE/JANE",
        "jane roe",
        "Jane Q Roe 3",
        "Roe 56",
        "MRN-777123",
        "777123",
        "19561103",
        "1956-11-03",
        "(416)555-9931",
        "jane@canary.example",
        "ROE JANE CT",
        "CT\tROE",
        "CT  2",
        " CT",
        "CT\nROE",
        "1956 11 03",
        "12 34 56",
        "<b>ROE</b>",
        "A" * (LONGEST + 1),
        "",
        "ROE\x00",
        "ＲＯＥ",
        "CT 19561103",
    ],
)
def test_anything_that_may_be_a_person_is_masked(value) -> None:
    assert shown(value, KNOWN) == MASKED


def test_nothing_is_known_without_a_set_up() -> None:
    assert shown("CT 2") == "CT 2"  # a room's number
    assert shown("Main MRI") == shown("GHOST CT") == MASKED


@pytest.mark.parametrize("value", ["PS1", "0123456789ABCDEF0123", "b2c7-11", "MSG", "20261125120000-1", "C2"])
def test_ids_of_messages_are_shown(value) -> None:
    assert message_id(value) == value


@pytest.mark.parametrize("value", ["Roe^Jane", "Wilhelmina", "Jane Roe", "ROE-JANE", "Kanariová", "a@b.example", ""])
def test_ids_that_are_none_are_masked(value) -> None:
    assert message_id(value) == MASKED


@pytest.mark.parametrize(
    "value", ["PID", "PID-5", "PID-5[1].2", "PID^1^5", "Patient.name[0].family", "message", "Appointment.start"]
)
def test_places_are_shown(value) -> None:
    assert place(value) == value


@pytest.mark.parametrize(
    "value",
    ["Patient.where(name='Roe')", "PID-5 Roe", "Jane Roe", "Roe", "Jane.Roe", "PID-5=Roe", "Kanariová", "A" * 70, ""],
)
def test_places_that_say_more_are_masked(value) -> None:
    assert place(value) == MASKED


@pytest.mark.stack
async def test_the_journal_lists_no_name_that_stands_in_a_header(store) -> None:
    names = {"sender": "POWERSERVER|Roe^Jane", "control_id": "Wilhelmina Roe", "type": "SIU^Roe"}
    await store.pool.execute(
        "INSERT INTO hl7_journal (id, sender, control_id, digest, type, raw, state)"
        " VALUES (gen_random_uuid(), $1, $2, '', $3, '', 'rejected'),"
        " (gen_random_uuid(), 'RAMSOFT|FAC01', 'PS1', '', 'SIU^S12^SIU_S12', '', 'accepted')",
        *names.values(),
    )
    rows = await list_journal(store, states=None, limit=10)
    assert {(row.sender, row.control_id, row.type) for row in rows} == {
        (f"POWERSERVER|{MASKED}", MASKED, MASKED),
        ("RAMSOFT|FAC01", "PS1", "SIU^S12^SIU_S12"),
    }
    empty = replace(rows[0], sender="|", control_id="", type="")
    assert masking.listed(empty) == empty
