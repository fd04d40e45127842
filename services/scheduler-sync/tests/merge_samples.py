"""Merges as PowerServer sends them, and what both ends show of patients afterwards."""

from typing import Any

from kinds_line import Line
from sync_samples import PID


def pid(number: str, *, email: str | None = None, phone: str | None = None, name: str = "Roe^Jane") -> str:
    """A PID; a contact point that is None is left out."""
    contacts = "~".join([f"{phone}^PRN^PH"] * (phone is not None) + [f"^NET^Internet^{email}"] * (email is not None))
    return f"PID|1||{number}^^^NORTHSIDE||{name}||19800229|F|||||{contacts}"


def merge(
    survivor: str,
    *former: str,
    made: str = "20261125093500-0500",
    control_id: str = "M",
    trigger: str = "A40",
    survivor_pid: str | None = None,
) -> bytes:
    """``former``: one MRG for each, its fields as they stand."""
    lines = [
        f"MSH|^~\\&|RAMSOFT|FAC01|SUITE|NORTHSIDE|{made}||ADT^{trigger}|{control_id}|P|2.3.1",
        f"EVN|{trigger}|{made}",
        survivor_pid or pid(survivor),
        *(f"MRG|{one}" for one in former),
    ]
    return ("\r".join(lines) + "\r").encode()


def pid_of(number: str) -> str:
    """The samples' PID under another number."""
    return PID.replace("4711^", f"{number}^")


def numbers(patient: dict[str, Any]) -> list[str]:
    return [one["value"] for one in patient["identifier"]]


def living(line: Line) -> list[dict[str, Any]]:
    """OmegaAI's Patients that are not replaced by another."""
    return [one for one in line.omegaai.all("Patient") if "link" not in one]


def topics(line: Line) -> list[str]:
    return [topic for topic, _, _ in line.suite.memory.events]
