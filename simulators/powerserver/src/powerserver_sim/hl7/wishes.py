"""Reads what a patient asks for out of a request's message."""

from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from hl7v2 import Hl7Error, Message, parse_timestamp
from powerserver_sim.hl7.refusals import Malformed, NotProcessed
from powerserver_sim.rules import Refused
from powerserver_sim.scheduler import appointments
from simulator_kit.store import Work

_LONGEST_PLACER: Final = 64


def read(work: Work, message: Message, *, is_siu: bool) -> dict[str, Any]:
    """Patient, resource, start and study types of a new request; each must be known here."""
    placer_at, start_at = ("SCH-1.1", "SCH-11.4") if is_siu else ("ORC-2.1", "ORC-7.4")
    placer = message.get(placer_at) or ""
    if (placer[:1] == "P" and placer[1:].isdecimal()) or len(placer) > _LONGEST_PLACER:
        raise NotProcessed("204", placer_at, "Placer number is not known")
    resource = message.get("AIG-3.1" if is_siu else "OBR-19.1")
    resource_at, study_at = ("AIG-3", "AIS-3") if is_siu else ("OBR-19", "OBR-4")
    if not resource:
        raise Malformed("101", resource_at, "Resource is missing")
    try:
        place = appointments.resource_named(work, resource)
    except Refused:
        raise NotProcessed("204", resource_at, "Resource is not known") from None
    start = message.get(start_at)
    if not start:
        raise Malformed("101", start_at, "Start is missing")
    segment, field = study_at.split("-")
    codes = [one.get(f"{field}.1") or "" for one in message.segments(segment)]
    codes = [code for code in codes if code]
    if not codes:
        raise Malformed("101", study_at, "A study type is missing")
    for code in codes:
        if work.one("SELECT 1 FROM study_type WHERE code = ?", code) is None:
            raise NotProcessed("204", study_at, "Study type is not known")
    return {
        "patient": _patient(work, message),
        "resource": resource,
        "start": moment(start, start_at, ZoneInfo(place["time_zone"])),
        "study_types": codes,
    }


def moment(text: str, location: str, zone: ZoneInfo) -> datetime:
    """A timestamp; without an offset it is the facility's wall clock."""
    try:
        return parse_timestamp(text, zone)
    except (ValueError, Hl7Error):
        raise Malformed("102", location, "Start is not a timestamp") from None


def _patient(work: Work, message: Message) -> int:
    given, issuer = message.get("PID-3.1"), message.get("PID-3.4.1")
    if not given:
        raise Malformed("101", "PID-3", "Patient ID is missing")
    row = work.one("SELECT key FROM patient WHERE patient_id = ? AND issuer = ?", given, issuer or "")
    if row is None:
        raise NotProcessed("204", "PID-3", "Patient is not known")
    return int(row["key"])
