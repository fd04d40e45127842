"""Turns a notification into a mail.

The subject and the headers name no patient and no exam, because they are read on lock screens and in mail logs.
``EmailMessage`` refuses a line break in a header, so that no value of a record can add one.
"""

import email.policy
import email.utils
from dataclasses import dataclass
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from pathlib import Path
from urllib.parse import quote_plus
from uuid import UUID

from jinja2 import FileSystemLoader, StrictUndefined
from jinja2.sandbox import SandboxedEnvironment

from notifier.domain.appointment import Appointment
from notifier.domain.facility_time import abbreviation, facility_time, offset_text
from notifier.domain.notification import Template
from notifier.languages import LANGUAGES, best_language

TEMPLATES_DIR = Path(__file__).parent.parent / "templates"
# 7 bit: a mail server that does not announce 8BITMIME passes it on unharmed (RFC 6152).
_POLICY = email.policy.SMTP.clone(cte_type="7bit")


@dataclass(frozen=True)
class Letterhead:
    """What every mail of an installation shares. ``map_url`` holds ``{address}``; empty means no map link."""

    sender: str
    sender_name: str
    site_name: str
    portal_url: str
    map_url: str
    arrive_early_minutes: int


@dataclass(frozen=True)
class Letter:
    """One message to write. ``idempotency_key`` becomes the Message-ID, the same on every try."""

    template: Template
    language: str
    to: str
    given_name: str
    appointment: Appointment
    idempotency_key: str


class LetterWriter:
    """Renders the templates of ``templates/<language>/``."""

    def __init__(self, letterhead: Letterhead, templates_dir: Path = TEMPLATES_DIR) -> None:
        self._head = letterhead
        self._from = Address(letterhead.sender_name, addr_spec=letterhead.sender)
        self._templates = SandboxedEnvironment(
            loader=FileSystemLoader(templates_dir),
            autoescape=lambda name: (name or "").endswith(".html"),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
            auto_reload=False,
        )

    def message_id(self, idempotency_key: str) -> str:
        """RFC 5322 §3.6.4: unique for good, and the same for a second try, so that a reader's mail box can tell."""
        return f"<{idempotency_key}@{self._from.domain}>"

    def write(self, letter: Letter, at: datetime) -> EmailMessage:
        """The mail, dated ``at``; raises UnknownZoneError, and ValueError when a value cannot stand in a header."""
        language = best_language(letter.language)
        values = self._values(letter, language)
        mail = EmailMessage(policy=_POLICY)
        mail["From"] = self._from
        mail["To"] = Address(addr_spec=letter.to)
        mail["Subject"] = " ".join(self._render(language, letter.template, "subject.txt", values).split())
        mail["Date"] = email.utils.format_datetime(at)
        mail["Message-ID"] = self.message_id(letter.idempotency_key)
        mail["Auto-Submitted"] = "auto-generated"
        mail["X-Suite-Template"] = letter.template
        mail["X-Suite-Appointment"] = str(UUID(str(letter.appointment.appointment_id)))
        mail.set_content(self._render(language, letter.template, "txt", values))
        mail.add_alternative(self._render(language, letter.template, "html", values), subtype="html")
        mail["Content-Language"] = language  # set_content takes every earlier Content-* header away
        return mail

    def _render(self, language: str, template: Template, kind: str, values: dict[str, object]) -> str:
        return self._templates.get_template(f"{language}/{template}.{kind}").render(values)

    def _values(self, letter: Letter, language: str) -> dict[str, object]:
        facility = letter.appointment.facility
        when = facility_time(letter.appointment.start, letter.appointment.end, facility.time_zone)
        words = LANGUAGES[language]
        address = _one_line(facility.address)
        return {
            "given_name": _one_line(letter.given_name),
            "date": words.long_date(when.start),
            "start": f"{when.start:%H:%M}",
            "end": f"{when.end:%H:%M}",
            "end_date": words.long_date(when.end) if when.ends_on_other_day else None,
            "zone": _zone_text(when.zone_name, when.start),
            "end_zone": _zone_text(when.zone_name, when.end) if when.ends_in_other_offset else None,
            "facility_name": _one_line(facility.name),
            "facility_address": address,
            "facility_phone": _one_line(facility.phone),
            "map_url": self._head.map_url.format(address=quote_plus(address)) if address and self._head.map_url else None,
            "site_name": self._head.site_name,
            "portal_url": self._head.portal_url,
            "arrive_early_minutes": self._head.arrive_early_minutes,
        }


def _one_line(text: str | None) -> str:
    return " ".join((text or "").split())


def _zone_text(name: str, at: datetime) -> str:
    """``America/Toronto, EST, UTC−05:00``; a part that would say the same again is left out."""
    parts = [name, abbreviation(at), offset_text(at)]
    return ", ".join(dict.fromkeys(part for part in parts if part))
