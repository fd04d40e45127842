"""PowerServer merges two records of one person: numbers, appointments and OmegaAI's resources follow."""

import json
from typing import Any

import pytest
from field_cases_line import line as real_line
from kinds_line import LATER, Line, read_any
from merge_samples import living, merge, numbers, pid, pid_of, topics
from sync_samples import NOW, SITE_FILE, directory, orm, siu

from chassis.errors import Malformed, NeedsSetup
from scheduler_sync.commands import MergePatients
from scheduler_sync.explain import explain
from scheduler_sync.site import load

A, B, C = "4711", "4712", "4713"


def booked(number: str, placer: str, control_id: str, **more: Any) -> bytes:
    return siu(placer=placer, control_id=control_id, pid=pid_of(number), **more)


def two_with_appointments() -> Line:
    line = Line()
    line.say(booked(A, "PA", "1"), booked(B, "PB", "2", resource="BLUME MR"))
    assert len(living(line)) == 2
    return line


def test_appointments_of_both_records_are_one_patients_at_both_ends() -> None:
    line = two_with_appointments()
    assert line.say(merge(A, f"{B}^^^NORTHSIDE")) is None
    (person,) = living(line)
    assert numbers(person) == [A, B]
    patients = {one["participant"][0]["actor"]["reference"] for one in line.omegaai.all("Appointment")}
    assert patients == {f"Patient/{person['id']}"}
    links = {one.placer_number: one for one in line.suite.memory.links.values()}
    assert links["PA"].patient_id == links["PB"].patient_id
    ended = line.suite.memory.patients[min(line.suite.memory.patients.keys() - {links["PA"].patient_id})]
    assert (ended.identifiers, ended.merged_into, ended.fhir_id) == ((), links["PA"].patient_id, person["id"])
    assert topics(line).count("patient.merged") == 1
    moved = [one for one in line.suite.memory.history if one.outcome == "patient-merged"]
    assert [one.link_id for one in moved] == [links["PB"].id]
    assert line.suite.memory.dead == []


def test_a_later_message_under_the_ended_number_is_about_the_survivor() -> None:
    line = two_with_appointments()
    line.say(merge(A, f"{B}^^^NORTHSIDE"))
    assert line.say(booked(B, "PC", "3", made="20261125094000-0500", start="20261202143000-0500",
                           end="20261202150000-0500")) is None  # fmt: skip
    links = {one.placer_number: one for one in line.suite.memory.links.values()}
    assert links["PC"].patient_id == links["PA"].patient_id
    assert len(living(line)) == 1


def test_an_appointment_that_is_changed_after_the_merge_changes_in_omegaai() -> None:
    line = two_with_appointments()
    line.say(merge(A, f"{B}^^^NORTHSIDE"))
    line.say(booked(B, "PB", "3", trigger="S15", made="20261125094000-0500", resource="BLUME MR"))
    shown = {one["identifier"][1]["value"]: one["status"] for one in line.omegaai.all("Appointment")}
    assert shown == {"PA": "pending", "PB": "cancelled"}


def test_a_late_message_from_before_the_merge_changes_no_detail_that_is_newer() -> None:
    line = Line()
    line.say(siu(placer="PA", pid=pid(A, email="new@example.org"), made="20261125093200-0500"))
    line.say(merge(A, f"{B}^^^NORTHSIDE"))
    late = siu("S12", placer="PB", pid=pid(B, email="old@example.org"), made="20261125093100-0500", control_id="2")
    assert line.say(late) is None
    (person,) = living(line)
    assert [one["value"] for one in person["telecom"]] == ["new@example.org"]


@pytest.mark.parametrize(
    "written",
    [
        "4712^^^NORTHSIDE", "4712^^^NORTHSIDE^MR", "4712^^^NORTHSIDE&1.2.3&ISO", "|||4712^^^NORTHSIDE",
        "|4712^^^NORTHSIDE", "55^^^BANK^SS~4712^^^NORTHSIDE", "4712^^^NORTHSIDE|||9999^^^NORTHSIDE",
        " 4712 ^^^NORTHSIDE", "4712^^^NORTHSIDE~4712^^^NORTHSIDE^MR",
    ],
)  # fmt: skip
@pytest.mark.parametrize("trigger", ["A39", "A40"])
def test_mrg_is_read_by_the_rules_of_pid(written: str, trigger: str) -> None:
    command = read_any(merge(A, written, trigger=trigger))
    assert isinstance(command, MergePatients)
    (found,) = command.merges
    assert [(one.issuer, one.value) for one in found.former] == [("NORTHSIDE", B)]


@pytest.mark.parametrize("ended", [(f"{B}^^^NORTHSIDE~{C}^^^NORTHSIDE",), (f"{B}^^^NORTHSIDE", f"{C}^^^NORTHSIDE")])
def test_several_records_end_in_one(ended: tuple[str, ...]) -> None:
    line = two_with_appointments()
    line.say(booked(C, "PC", "3", resource="BLUME MR", start="20261202143000-0500", end="20261202150000-0500"))
    assert line.say(merge(A, *ended)) is None
    (person,) = living(line)
    assert numbers(person) == [A, B, C]
    assert topics(line).count("patient.merged") == 2
    assert len({one.patient_id for one in line.suite.memory.links.values()}) == 1


def test_two_pairs_in_one_message() -> None:
    line = two_with_appointments()
    line.say(booked(C, "PC", "3", resource="BLUME MR", start="20261202143000-0500", end="20261202150000-0500"))
    both = merge(B, f"{C}^^^NORTHSIDE") + f"{pid(A)}\rMRG|{B}^^^NORTHSIDE\r".encode()
    assert line.say(both) is None
    (person,) = living(line)
    assert numbers(person) == [A, B, C]
    assert line.suite.memory.dead == []


def test_a_chain_in_one_batch_ends_in_one_patient() -> None:
    """Merge upon merge before anything was sent: all three lines of deliveries become one."""
    line = Line()
    errors = line.suite.hear(
        booked(A, "PA", "1"), booked(B, "PB", "2", resource="BLUME MR"),
        booked(C, "PC", "3", resource="BLUME MR", start="20261202143000-0500", end="20261202150000-0500"),
        merge(B, f"{C}^^^NORTHSIDE", control_id="4"),
        merge(A, f"{B}^^^NORTHSIDE", made="20261125093600-0500", control_id="5"),
    )  # fmt: skip
    assert errors == [None] * 5
    while line.suite.heads():
        assert len(line.suite.heads()) == 1
        line.suite.send(line.suite.heads()[0])
    (person,) = living(line)
    assert numbers(person) == [A, B, C]
    assert line.suite.memory.dead == []


def test_a_merge_of_an_unknown_number_is_remembered() -> None:
    line = Line()
    line.say(booked(A, "PA", "1"))
    assert line.say(merge(A, f"{B}^^^NORTHSIDE")) is None
    assert line.say(booked(B, "PB", "2", made="20261125094000-0500", resource="BLUME MR")) is None
    assert numbers(*living(line)) == [A, B]
    assert "patient.merged" not in topics(line)


def test_a_merge_into_an_unknown_number_renames_the_record() -> None:
    line = Line()
    line.say(booked(B, "PB", "1"))
    assert line.say(merge(A, f"{B}^^^NORTHSIDE")) is None
    assert numbers(line.person) == [A, B]
    assert topics(line) == ["patient.registered", "appointment.scheduled", "patient.updated"]


def test_a_merge_before_either_was_heard_registers_the_survivor() -> None:
    line = Line()
    assert line.say(merge(A, f"{B}^^^NORTHSIDE", survivor_pid=pid(A, email="j@example.org"))) is None
    assert line.say(booked(B, "PB", "2", made="20261125094000-0500")) is None
    assert numbers(line.person) == [A, B]
    assert topics(line)[0] == "patient.registered"


def test_a_merge_back_makes_the_other_number_the_first_and_an_older_merge_changes_nothing() -> None:
    line = two_with_appointments()
    line.say(merge(A, f"{B}^^^NORTHSIDE"))
    assert line.say(merge(B, f"{A}^^^NORTHSIDE", made="20261125095000-0500", control_id="M2")) is None
    assert numbers(*living(line)) == [B, A]
    said = topics(line)
    assert line.say(merge(A, f"{B}^^^NORTHSIDE", made="20261125094000-0500", control_id="M3")) is None
    assert (numbers(*living(line)), topics(line)) == ([B, A], said)


def test_a_repeat_under_another_number_changes_nothing() -> None:
    line = two_with_appointments()
    line.say(merge(A, f"{B}^^^NORTHSIDE"))
    said = topics(line)
    assert line.say(merge(A, f"{B}^^^NORTHSIDE", control_id="again")) is None
    assert topics(line) == said


def test_the_survivors_list_may_keep_the_ended_number() -> None:
    line = two_with_appointments()
    kept = pid(A).replace(f"{A}^^^NORTHSIDE", f"{A}^^^NORTHSIDE~{B}^^^NORTHSIDE")
    assert line.say(merge(A, f"{B}^^^NORTHSIDE", survivor_pid=kept)) is None
    assert numbers(*living(line)) == [A, B]


@pytest.mark.parametrize(
    ("raw", "location", "code"),
    [
        (merge(A), "MRG-1.1", "101"),
        (merge(A, ""), "MRG-1.1", "101"),
        (merge(A, '""'), "MRG-1.1", "101"),
        (merge(A, "^^^NORTHSIDE"), "MRG-1.1", "101"),
        (merge(A, f"{A}^^^NORTHSIDE"), "MRG-1", "102"),
        (merge(A, "9" * 428 + "^^^NORTHSIDE"), "MRG-1", "104"),
        (merge(A, "x" * 1001 + "^^^NORTHSIDE"), "MRG-1", "104"),
        (merge("", f"{B}^^^NORTHSIDE"), "PID-3.1", "101"),
        (merge(A, f"{B}^^^NORTHSIDE", survivor_pid="ZPD|1"), "PID-3.1", "101"),
    ],
)
def test_a_merge_that_breaks_the_standard_is_refused_with_its_place(raw: bytes, location: str, code: str) -> None:
    with pytest.raises(Malformed) as caught:
        read_any(raw)
    assert (caught.value.location, caught.value.code) == (location, code)


def test_an_unknown_issuer_in_mrg_waits_with_the_issuer_as_it_stood() -> None:
    with pytest.raises(NeedsSetup, match=r"MRG-1\.4.*'ELSEWHERE'") as caught:
        read_any(merge(A, f"{B}^^^ELSEWHERE"))
    assert caught.value.setting == "issuers.ELSEWHERE"


def test_a_merge_of_a_thousand_segments_is_refused() -> None:
    with pytest.raises(Malformed):
        read_any(merge(A, *[f"{number}^^^NORTHSIDE" for number in range(1100)]))


def test_a_deleted_record_stays_here_and_waits_while_appointments_are_to_come() -> None:
    line = Line()
    line.say(booked(A, "PA", "1"))
    deletion = merge(A, trigger="A23", control_id="D")
    error = line.say(deletion)
    assert isinstance(error, NeedsSetup)
    line.say(booked(A, "PA", "2", trigger="S15", made=LATER))
    said = topics(line)
    assert line.say(deletion) is None
    assert (numbers(line.person), topics(line)) == ([A], said)
    assert line.say(merge("4799", trigger="A23", control_id="E")) is None
    assert len(line.suite.memory.patients) == 1


def test_explain_names_the_records() -> None:
    found = explain(merge(A, f"{B}^^^NORTHSIDE"), load(SITE_FILE), directory(), received_at=NOW)
    assert (found.code, found.effect["merges"]) == ("AA", ["4712 of NORTHSIDE ended in 4711 of NORTHSIDE"])


@pytest.mark.stack
async def test_on_postgres_a_merge_moves_numbers_links_and_waiting_deliveries(migrated_url: str) -> None:
    """Nothing was sent before the merge: one line holds all that waits, and a later booking goes on in it."""
    async with real_line(migrated_url) as powerserver:
        for one in (
            booked(A, "PA", "1"), booked(B, "PB", "2", resource="BLUME MR"), merge(A, f"{B}^^^NORTHSIDE"),
            orm("XO", placer="PB", control_id="3", made="20261125094000-0500", pid=pid_of(B), resource="BLUME MR"),
        ):  # fmt: skip
            assert (await powerserver.say(one)).code == "AA"
        pool = powerserver.core.store.pool
        rows = await pool.fetch("SELECT DISTINCT key FROM deliveries WHERE destination = 'omegaai'")
        owners = await pool.fetch("SELECT patient_id, value FROM patient_identifiers ORDER BY value")
        links = await pool.fetch("SELECT DISTINCT patient_id FROM appointment_links")
        assert len(rows) == len(links) == 1
        assert {row["patient_id"] for row in owners} == {links[0]["patient_id"]} == {rows[0]["key"]}
        await powerserver.deliver()
        people = [one for one in powerserver.omegaai.all("Patient") if "link" not in one]
        assert [numbers(one) for one in people] == [[A, B]]
        cards = powerserver.omegaai.all("Appointment")
        assert {one["participant"][0]["actor"]["reference"] for one in cards} == {f"Patient/{people[0]['id']}"}
        merged = await pool.fetchrow("SELECT aggregate_id, value FROM outbox WHERE topic = 'patient.merged'")
        assert merged is not None
        event = json.loads(merged["value"])
        assert str(merged["aggregate_id"]) == str(rows[0]["key"]) != event["data"]["merged_patient_id"]
        assert [one["value"] for one in event["data"]["identifiers"]] == [A, B]
        assert (
            await powerserver.say(merge(B, f"{A}^^^NORTHSIDE", made="20261125095000-0500", control_id="4"))
        ).code == "AA"
        await powerserver.deliver()
        people = [one for one in powerserver.omegaai.all("Patient") if "link" not in one]
        assert [numbers(one) for one in people] == [[B, A]]
