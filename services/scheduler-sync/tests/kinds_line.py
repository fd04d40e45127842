"""Messages in, and what OmegaAI shows, with the suite's own code between them in memory; and pieces of messages."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from both_ends import SITE, Suite
from both_ends_partners import Clock, OmegaAI, PowerServer
from sync_samples import NOW, directory, orm

from hl7v2 import Message
from scheduler_sync.adapters.powerserver import reader
from scheduler_sync.commands import ChangeAppointmentByStaff
from scheduler_sync.site import SiteFile

START = datetime(2026, 12, 1, 19, 30, tzinfo=UTC)
LATER = "20261125093100-0500"


class Line:
    """Messages in, and what OmegaAI shows once everything was delivered."""

    def __init__(self) -> None:
        self.clock = Clock(NOW + timedelta(hours=1))
        self.omegaai = OmegaAI()
        self.suite = Suite(self.clock, PowerServer(self.clock, profile="siu", skew_seconds=0), self.omegaai)

    def say(self, *raw: bytes, connection: int | None = None) -> Exception | None:
        error: Exception | None = None
        for one in raw:
            (error,) = self.suite.hear(one, connection=connection)
            while self.suite.heads():
                self.suite.send(self.suite.heads()[0])
        return error

    @property
    def card(self) -> dict[str, Any]:
        (found,) = self.omegaai.all("Appointment")
        return found

    @property
    def person(self) -> dict[str, Any]:
        (found,) = self.omegaai.all("Patient")
        return found

    @property
    def link(self) -> Any:
        (found,) = self.suite.memory.links.values()
        return found

    @property
    def codes(self) -> list[str]:
        return [one["coding"][0]["code"] for one in self.card.get("serviceType", [])]

    @property
    def times(self) -> tuple[datetime, datetime]:
        return datetime.fromisoformat(self.card["start"]), datetime.fromisoformat(self.card["end"])


def with_hl7(**hl7: Any) -> SiteFile:
    return site_with(hl7=SITE.hl7.model_dump() | hl7)


def site_with(**values: Any) -> SiteFile:
    return SiteFile.model_validate(SITE.model_dump() | values)


def read(raw: bytes, site: SiteFile = SITE) -> ChangeAppointmentByStaff:
    command = reader.read(Message.parse(raw), site, directory(site), received_at=NOW)
    assert isinstance(command, ChangeAppointmentByStaff)
    return command


def read_any(raw: bytes, site: SiteFile = SITE) -> reader.Command:
    return reader.read(Message.parse(raw), site, directory(site), received_at=NOW)


def changed(raw: bytes, pattern: str, by: str) -> bytes:
    found, count = re.subn(pattern, lambda _: by, raw.decode())
    assert count == 1, f"{pattern} {count} times"
    return found.encode()


def pid(numbers: str = "4711^^^NORTHSIDE", **fields: str) -> str:
    values = {"5": "Roe^Jane^A", "7": "19800229", "8": "F", "11": "", "13": "", "15": ""} | fields
    order = ["1", "", numbers, "", values["5"], "", values["7"], values["8"], "", "", values["11"], "", values["13"]]
    return "|".join(["PID", *order, "", values["15"]])


def order(control: str, number: str, code: str, minute: int = 0, status: str = "") -> str:
    """``minute``: its start after 14:00 in Toronto."""
    start = datetime(2026, 12, 1, 14) + timedelta(minutes=minute)  # noqa: DTZ001 - written with its offset
    times = f"^^30^{start:%Y%m%d%H%M%S}-0500^{start + timedelta(minutes=30):%Y%m%d%H%M%S}-0500"
    return (
        f"ORC|{control}|P100045|{number}||||{times}||||||RADIOLOGY^CT1^^FAC01|||{status}\r"
        f"OBR|1|P100045|{number}|{code}^{code}^99STUDYTYPE|||||||||||||||BLUME CT|||||CT|||{times}"
    )


def orders(*some: str, made: str = "20261125093000-0500", control_id: str = "A") -> bytes:
    head = orm(made=made, control_id=control_id).split(b"ORC|")[0]
    return head + "\r".join(some).encode() + b"\r"
