"""Counts the effects of each appointment from the ledgers of the systems at both ends, never from the suite."""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from statistics import quantiles
from typing import Any

MAILS_PER_APPOINTMENT = 2
ASKING = "please-confirm"
"""The template of the mail that asks the patient to confirm."""


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


@dataclass
class Tally:
    """The effects at each end, by placer number; mails by placer number and template."""

    wanted: set[str]
    booked: dict[str, datetime] = field(default_factory=dict)
    pending: dict[str, list[datetime]] = field(default_factory=lambda: defaultdict(list))
    pressed: dict[str, list[datetime]] = field(default_factory=lambda: defaultdict(list))
    confirmed: dict[str, list[datetime]] = field(default_factory=lambda: defaultdict(list))
    mails: dict[tuple[str, str], list[datetime]] = field(default_factory=lambda: defaultdict(list))
    appointment_ids: dict[str, str] = field(default_factory=dict)
    _placers: dict[str, str] = field(default_factory=dict)
    _early_mails: list[dict[str, Any]] = field(default_factory=list)

    def powerserver(self, rows: list[dict[str, Any]]) -> None:
        for row in rows:
            if row["subject"] not in self.wanted:
                continue
            if row["kind"] == "appointment.booked":
                self.booked[row["subject"]] = moment(row["at"])
            elif (
                row["kind"] == "appointment.status"
                and row["detail"]["by"] == "hl7"
                and row["detail"]["to"] == "CONFIRMED"
            ):
                self.confirmed[row["subject"]].append(moment(row["at"]))

    def omegaai(self, rows: list[dict[str, Any]]) -> None:
        for row in rows:
            detail = row["detail"]
            placer = detail.get("placer_number")
            if placer not in self.wanted:
                continue
            if row["kind"] == "Appointment.created":
                self.pending[placer].append(moment(row["at"]))
                self.appointment_ids[placer] = row["subject"]
                self._placers[detail["link_id"].removeprefix("urn:uuid:")] = placer
            elif row["kind"] == "Appointment.updated" and detail["by"] == "blume" and detail["status"] == "booked":
                self.pressed[placer].append(moment(row["at"]))

    def mailsink(self, rows: list[dict[str, Any]]) -> None:
        """Counts the mails of known appointments; the other mails wait for the next call."""
        waiting, self._early_mails = self._early_mails + rows, []
        for row in waiting:
            if row["kind"] != "mail.received":
                continue
            placer = self._placers.get(str(row["detail"].get("appointment")))
            if placer is None:
                self._early_mails.append(row)
            else:
                self.mails[placer, row["detail"]["template"]].append(moment(row["at"]))

    @property
    def asked_by_mail(self) -> list[str]:
        """The appointments whose patients have been asked to confirm."""
        return [placer for placer, template in self.mails if template == ASKING]

    @property
    def mails_received(self) -> int:
        return sum(len(times) for times in self.mails.values())

    def flows(self) -> dict[str, dict[str, Any]]:
        """The report, by the ids of the flows.

        Per flow its title, how many began at one end, ended at the other, were lost or doubled, and how long they took.
        """
        doubled_mails = sum(len(times) - 1 for times in self.mails.values())
        kinds = len(self.mails)
        return {
            "booked": {"title": "booked in PowerServer → Pending in Blume", **flow(self.booked, self.pending)},
            "confirmed": {
                "title": "confirmed in Blume → CONFIRMED in PowerServer",
                **flow({placer: times[0] for placer, times in self.pressed.items()}, self.confirmed),
            },
            "mails": {
                "title": "two mails per appointment",
                "started": MAILS_PER_APPOINTMENT * len(self.wanted),
                "finished": kinds,
                "lost": MAILS_PER_APPOINTMENT * len(self.wanted) - kinds,
                "doubled": doubled_mails,
                **_percentiles(self._mail_latencies()),
            },
        }

    def _mail_latencies(self) -> list[float]:
        found = []
        for (placer, template), times in self.mails.items():
            since = (
                self.pressed[placer][0]
                if "confirmed" in template and self.pressed.get(placer)
                else self.booked.get(placer)
            )
            if since:
                found.append((times[0] - since).total_seconds())
        return found


def flow(starts: dict[str, datetime], ends: dict[str, list[datetime]]) -> dict[str, Any]:
    """How many began, ended, were lost or doubled, and how long they took."""
    finished = [placer for placer in starts if ends.get(placer)]
    return {
        "started": len(starts),
        "finished": len(finished),
        "lost": len(starts) - len(finished),
        "doubled": sum(len(times) - 1 for times in ends.values() if times),
        **_percentiles([(ends[placer][0] - starts[placer]).total_seconds() for placer in finished]),
    }


def _percentiles(seconds: list[float]) -> dict[str, float | None]:
    if len(seconds) < 2:
        only = round(seconds[0] * 1000, 1) if seconds else None
        return {"p50_ms": only, "p95_ms": only}
    cuts = quantiles(seconds, n=100)
    return {"p50_ms": round(cuts[49] * 1000, 1), "p95_ms": round(cuts[94] * 1000, 1)}
