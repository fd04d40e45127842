"""People's acts on each appointment and their results, from the ledgers of both ends alone."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from tests.chaos.evidence import Evidence, Row

FHIR_OF_POWERSERVER: Final = {
    "SCHEDULED": "pending",
    "CONFIRMED": "booked",
    "ARRIVED": "arrived",
    "READY FOR SCAN": "checked-in",
    "CANCELLED": "cancelled",
    "NO SHOW": "noshow",
    "COMPLETED": "fulfilled",
}
"""For appointments that nobody has asked to move: the simulator of Blume has no button to ask for a move."""
POWERSERVER_OF_BLUME: Final = {"booked": "CONFIRMED", "cancelled": "CANCELLED"}


@dataclass
class Story:
    """One appointment. ``expected_*``: the effects that acts on one side must have on the other, in order."""

    placer: str
    status: str = ""
    start: datetime | None = None
    inputs: int = 0
    expected_fhir: list[str] = field(default_factory=list)
    observed_fhir: list[str] = field(default_factory=list)
    expected_hl7: list[str] = field(default_factory=list)
    observed_hl7: list[str] = field(default_factory=list)
    versions: list[tuple[int, str, str]] = field(default_factory=list)
    """Version, status and writer of each write of the FHIR Appointment."""
    appointment_ids: list[str] = field(default_factory=list)
    bookings: int = 0
    is_contested: bool = False
    """Both sides acted before they saw the other's act."""
    is_reordered_on_the_wire: bool = False
    """PowerServer was told to send its messages out of order."""
    sent: dict[str, str] = field(default_factory=dict)
    """The acknowledgement of each message that PowerServer sent, by control id, in order."""


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def stories(evidence: Evidence) -> dict[str, Story]:
    """Every appointment that was booked, by placer number."""
    rows: dict[str, list[tuple[datetime, str, Row]]] = defaultdict(list)
    for row in evidence.powerserver:
        placer = row["subject"] if row["kind"].startswith("appointment.") else row["detail"].get("placer_number")
        if placer:
            rows[placer].append((moment(row["at"]), "powerserver", row))
    for row in evidence.omegaai:
        if row["kind"] in {"Appointment.created", "Appointment.updated"}:
            rows[str(row["detail"].get("placer_number"))].append((moment(row["at"]), "omegaai", row))
    found = {}
    for placer, lines in rows.items():
        if any(row["kind"] == "appointment.booked" for _, _, row in lines):
            found[placer] = _story(placer, sorted(lines, key=lambda line: (line[0], line[2]["seq"])))
    return found


def _story(placer: str, lines: Sequence[tuple[datetime, str, Row]]) -> Story:
    story = Story(placer)
    unwritten = untold = 0
    """Acts of each side whose effect on the other has not been seen yet."""
    for _, side, row in lines:
        detail, kind = row["detail"], row["kind"]
        if side == "omegaai":
            _fhir(story, row)
            if detail["by"] == "blume":
                story.is_contested |= unwritten > 0
                untold += 1
            else:
                unwritten -= 1
        elif kind in {"appointment.booked", "appointment.moved", "appointment.status"}:
            _powerserver(story, kind, detail)
            if detail.get("by") == "hl7":
                untold -= 1
            else:
                story.is_contested |= untold > 0
                unwritten += 1
        elif kind == "hl7.sent" and not detail["repeat"]:
            story.sent[row["subject"]] = detail["ack_code"]
        elif kind == "hl7.sent":
            story.sent[row["subject"]] = detail["ack_code"] if story.sent.get(row["subject"]) != "AA" else "AA"
    story.is_reordered_on_the_wire = list(story.sent) != sorted(story.sent)
    return story


def _fhir(story: Story, row: Row) -> None:
    detail = row["detail"]
    story.versions.append((int(detail["versionId"]), detail["status"], detail["by"]))
    if row["kind"] == "Appointment.created":
        story.appointment_ids.append(row["subject"])
    if detail["by"] == "blume":
        story.inputs += 1
        story.expected_hl7.append(POWERSERVER_OF_BLUME.get(detail["status"], detail["status"]))
    else:
        story.observed_fhir.append(detail["status"])


def _powerserver(story: Story, kind: str, detail: Row) -> None:
    is_ours: bool = detail.get("by") == "hl7"
    if kind == "appointment.booked":
        story.bookings += 1
        story.status, story.start = "SCHEDULED", moment(detail["start"])
    elif kind == "appointment.moved":
        story.start = moment(detail["to"])
    else:
        story.status = detail["to"]
    if is_ours:
        story.observed_hl7.append(detail.get("to", kind))
    else:
        story.inputs += 1
        story.expected_fhir.append(FHIR_OF_POWERSERVER.get(story.status, f"nothing known for {story.status}"))


def difference(expected: Sequence[Any], observed: Sequence[Any]) -> str:
    """``lost``, ``doubled``, ``reordered``, or nothing."""
    if list(expected) == list(observed):
        return ""
    if sorted(expected) == sorted(observed):
        return "reordered"
    return "lost" if len(observed) < len(expected) else "doubled" if len(observed) > len(expected) else "reordered"
