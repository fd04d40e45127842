"""No appointment is shifted: from HL7 to FHIR, from FHIR back, and in the message to PowerServer."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from kinds_line import site_with
from sync_samples import NOW, directory, orm, site_file, siu

from chassis.errors import Malformed, NeedsSetup
from hl7v2 import Message
from omegaai.client import Found
from scheduler_sync.adapters.omegaai import reader as fhir_reader
from scheduler_sync.adapters.omegaai import writer as fhir_writer
from scheduler_sync.adapters.powerserver import reader
from scheduler_sync.adapters.powerserver.writer import Hl7StatusWriter
from scheduler_sync.domain.appointment import AppointmentLink, FhirStatus, State, Study, WorkflowStep
from scheduler_sync.domain.patient import Patient, PatientIdentifier
from scheduler_sync.domain.slots import Slot
from scheduler_sync.mapping import VERSIONS, Hl7Mapping
from scheduler_sync.site import SiteFile
from scheduler_sync.snapshots import AppointmentSnapshot

TORONTO, KATHMANDU, LORD_HOWE, WINDOWS = (
    "America/Toronto",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Eastern Standard Time",
)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


TABLE: dict[str, tuple[str, str, str, datetime, datetime]] = {
    # facility's zone, start and end as sent, start and end as they are
    "with an offset": (
        TORONTO,
        "20261201143000-0500",
        "20261201150000-0500",
        utc("2026-12-01T19:30"),
        utc("2026-12-01T20:00"),
    ),
    "an offset of +0215": (
        TORONTO,
        "20261201143000+0215",
        "20261201150000+0215",
        utc("2026-12-01T12:15"),
        utc("2026-12-01T12:45"),
    ),
    "a zone of +0545": (
        KATHMANDU,
        "20261201143000",
        "20261201150000",
        utc("2026-12-01T08:45"),
        utc("2026-12-01T09:15"),
    ),
    "half an hour of summer time": (
        LORD_HOWE,
        "202704040145",
        "202704040215",
        utc("2027-04-03T14:45"),
        utc("2027-04-03T15:45"),
    ),
    "before the clocks go forward": (
        TORONTO,
        "20270314013000",
        "20270314015900",
        utc("2027-03-14T06:30"),
        utc("2027-03-14T06:59"),
    ),
    "over the clocks going forward": (
        TORONTO,
        "20270314014500",
        "20270314031500",
        utc("2027-03-14T06:45"),
        utc("2027-03-14T07:15"),
    ),
    "in the hour that is skipped": (
        TORONTO,
        "20270314023000",
        "20270314033500",
        utc("2027-03-14T07:30"),
        utc("2027-03-14T07:35"),
    ),
    "the first of a repeated hour": (
        TORONTO,
        "20261101013000-0400",
        "20261101015500-0400",
        utc("2026-11-01T05:30"),
        utc("2026-11-01T05:55"),
    ),
    "the second of a repeated hour": (
        TORONTO,
        "20261101013000-0500",
        "20261101015500-0500",
        utc("2026-11-01T06:30"),
        utc("2026-11-01T06:55"),
    ),
    "over the repeated hour": (
        TORONTO,
        "20261101004500",
        "20261101023000",
        utc("2026-11-01T04:45"),
        utc("2026-11-01T07:30"),
    ),
    "summer, sent in winter": (
        TORONTO,
        "20270701090000",
        "20270701093000",
        utc("2027-07-01T13:00"),
        utc("2027-07-01T13:30"),
    ),
    "leap day": (TORONTO, "20280229235000", "20280301001000", utc("2028-03-01T04:50"), utc("2028-03-01T05:10")),
    "year's end": (TORONTO, "20261231233000", "20270101000000", utc("2027-01-01T04:30"), utc("2027-01-01T05:00")),
    "24:00": (TORONTO, "20261201233000", "20261201240000", utc("2026-12-02T04:30"), utc("2026-12-02T05:00")),
    "24:00 at year's end": (TORONTO, "202612312330", "202612312400", utc("2027-01-01T04:30"), utc("2027-01-01T05:00")),
    "22:59": (TORONTO, "20261201222900", "20261201225900", utc("2026-12-02T03:29"), utc("2026-12-02T03:59")),
    "over midnight": (TORONTO, "20261201235000", "20261202002000", utc("2026-12-02T04:50"), utc("2026-12-02T05:20")),
    "Windows' name in the site file": (
        WINDOWS,
        "20270701090000",
        "20270701093000",
        utc("2027-07-01T13:00"),
        utc("2027-07-01T13:30"),
    ),
    "minutes alone": (TORONTO, "202612011430", "202612011500", utc("2026-12-01T19:30"), utc("2026-12-01T20:00")),
    "an offset of another zone": (
        TORONTO,
        "20270701090000+0530",
        "20270701093000+0530",
        utc("2027-07-01T03:30"),
        utc("2027-07-01T04:00"),
    ),
    "Z": (TORONTO, "20270701090000Z", "20270701093000Z", utc("2027-07-01T09:00"), utc("2027-07-01T09:30")),
}


def site(zone: str, version: str = "2.3.1", send: str = "siu", **mapping: Any) -> SiteFile:
    known = site_file()
    facilities = {
        "FAC01": {**known.facilities["FAC01"].model_dump(), "time_zone": zone},
        "FAC02": known.facilities["FAC02"],
    }
    hl7 = {**known.hl7.model_dump(), "version": version, "send": send}
    return site_with(facilities=facilities, hl7=hl7, mapping=Hl7Mapping.model_validate(mapping))


PATIENT = Patient(
    id=UUID(int=2), site="northside", identifiers=(PatientIdentifier("NORTHSIDE", "4711"),), family="Roe", given="Jane",
    middle=None, birth_date=None, sex="F", email=None, phone=None, language="en", address=None, organization="1",
    heard_at=NOW,
)  # fmt: skip


def link_of(slot: Slot) -> AppointmentLink:
    return AppointmentLink(
        id=UUID(int=1), site="northside", placer_number="P100045", patient_id=UUID(int=2), facility="FAC01",
        resource="BLUME CT", modality="CT", slot=slot, studies=(Study("CT-HEAD", "CT Head", slot.start, slot.minutes),),
        state=State.STAFF_BOOKED, step=WorkflowStep.SCHEDULED,
    )  # fmt: skip


def read(raw: bytes, file: SiteFile) -> Slot:
    slot = reader.read(Message.parse(raw), file, directory(file), received_at=NOW).appointment.slot
    assert slot is not None
    return slot


@pytest.mark.parametrize("kind", ["siu", "orm"])
@pytest.mark.parametrize("name", TABLE)
def test_no_appointment_is_shifted_from_hl7_to_fhir_and_back(name: str, kind: str):
    zone, sent_start, sent_end, start, end = TABLE[name]
    file = site(zone, send=kind)
    # PowerServer's message has the same offset as the facility at that time, so that it proves nothing about the zone.
    raw = (siu if kind == "siu" else orm)(start=sent_start, end=sent_end, made="20261125143000")
    slot = read(raw, file)
    assert (slot.start, slot.end) == (start, end)

    local = file.facilities["FAC01"].zone
    link = link_of(slot)
    snapshot = AppointmentSnapshot.of(link, slot.start.astimezone(local), slot.end.astimezone(local), "hs-1")
    body = fhir_writer.appointment(AppointmentSnapshot.from_bytes(snapshot.to_bytes()), "7", FhirStatus.PENDING)
    assert (datetime.fromisoformat(body["start"]), datetime.fromisoformat(body["end"])) == (start, end)
    found = fhir_reader.appointment(Found({**body, "id": "9", "meta": {"versionId": "1"}}, "1"), "task").facts
    assert (found.start, found.end) == (start, end)

    for version in VERSIONS:
        out = site(zone, version, kind)
        say = Hl7StatusWriter(lambda out=out: out)
        back = replace(link, slot=Slot(found.start, found.end, slot.zone))
        written = say.status_message(back, PATIENT, WorkflowStep.SCHEDULED, control_id="C1", made_at=NOW)
        assert read(written, out) == slot
        wish = replace(back, requested_slot=Slot(start + timedelta(days=1), end + timedelta(days=1), slot.zone))
        asked = say.move_message(wish, PATIENT, control_id="C1", made_at=NOW)
        assert read(asked, out) == wish.requested_slot


@pytest.mark.parametrize("name", ["Eastern Standard Time", "eastern daylight time", "America/New_York", "Ontario Time"])
def test_a_zone_that_the_message_names_holds_for_its_times_without_an_offset(name: str):
    mapping = {"siu": {"time_zone": "ZTZ-2"}, "zone_names": {"Ontario Time": "America/Toronto"}}
    raw = siu(start="20270701090000", end="20270701093000", made="20261125093000+0100") + f"ZTZ||{name}\r".encode()
    assert read(raw, site(KATHMANDU, **mapping)).start == utc("2027-07-01T13:00")
    given = siu(start="20270701090000+0100", end="20270701093000+0100") + f"ZTZ||{name}\r".encode()
    assert read(given, site(KATHMANDU, **mapping)).start == utc("2027-07-01T08:00")


@pytest.mark.parametrize("name", ["Ontario Time", "EST5", "(UTC-05:00) Eastern Time"])
def test_an_unknown_zone_needs_set_up_and_is_named(name: str):
    with pytest.raises(NeedsSetup) as caught:
        read(siu() + f"ZTZ||{name}\r".encode(), site(TORONTO, siu={"time_zone": "ZTZ-2"}))
    assert caught.value.reason.startswith("ZTZ-2: the time zone ")
    assert str(caught.value.setting).startswith("zone_names.")


@pytest.mark.parametrize("start", ["20261201240100", "20261201250000", "20270229120000", "20261201143000+0260"])
def test_a_time_that_there_is_not_is_refused_and_not_moved(start: str):
    with pytest.raises(Malformed):
        read(siu(start=start), site(TORONTO))
