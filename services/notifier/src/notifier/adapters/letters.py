"""Turns a notification into a mail.

The subject and the headers name no patient and no exam, because they are read on lock screens and in mail logs. No
value can add a header: the fixed headers go through ``EmailMessage``, whose policy refuses line breaks, once per
template; the few that differ from mail to mail are checked here. (A whole mail through ``EmailMessage`` was measured:
4.8 ms, against 0.3 ms.)
"""

import binascii
import email.policy
import email.utils
import re
from dataclasses import dataclass
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from pathlib import Path
from urllib.parse import quote_plus

from jinja2 import FileSystemLoader, StrictUndefined
from jinja2.sandbox import SandboxedEnvironment

from notifier.domain.appointment import Appointment, FormerPlace
from notifier.domain.facility_time import abbreviation, facility_time, offset_text
from notifier.domain.notification import Template
from notifier.languages import LANGUAGES, Language, best_language

TEMPLATES_DIR = Path(__file__).parent.parent / "templates"
# Printable ASCII only, and short enough for one line (RFC 5322 §2.1.1): no value can end its header and begin another.
_HEADER_VALUE = re.compile(r"[\x20-\x7e]{1,900}")


@dataclass(frozen=True)
class Letterhead:
    """Values that every mail of an installation shares. ``map_url`` holds ``{address}``; empty means no map link."""

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
        self._fixed: dict[tuple[str, Template], bytes] = {}

    def message_id(self, idempotency_key: str) -> str:
        """RFC 5322 §3.6.4: unique for ever, and the same at every try, so that a mailbox can detect a repeat."""
        return f"<{idempotency_key}@{self._from.domain}>"

    def write(self, letter: Letter, at: datetime) -> bytes:
        """The mail's bytes, dated ``at`` (aware).

        Raises UnknownZoneError, and ValueError when a value must not stand in a header.
        """
        language = best_language(letter.language)
        values = self._values(letter, language)
        boundary = f"=_{letter.idempotency_key}"  # "=_" is no quoted-printable, so no part can hold the boundary
        return b"".join(
            (
                self._fixed_headers(language, letter.template),
                _header("To", letter.to),
                _header("Date", email.utils.format_datetime(at)),
                _header("Message-ID", self.message_id(letter.idempotency_key)),
                _header("X-Suite-Appointment", str(letter.appointment.appointment_id)),
                _header("Content-Type", f'multipart/alternative; boundary="{boundary}"'),
                b"\r\n",
                _part(boundary, "plain", self._render(f"{language}/{letter.template}.txt", values)),
                _part(boundary, "html", self._render(f"{language}/{letter.template}.html", values)),
                f"--{boundary}--\r\n".encode(),
            )
        )

    def _fixed_headers(self, language: str, template: Template) -> bytes:
        """The headers that every mail of a template shares, folded once.

        The subject is among them: a subject's template gets the site's name and nothing of the patient.
        """
        known = self._fixed.get((language, template))
        if known is None:
            subject = self._render(f"{language}/{template}.subject.txt", {"site_name": self._head.site_name})
            headers = EmailMessage(policy=email.policy.SMTP)
            headers["From"] = self._from
            headers["Subject"] = " ".join(subject.split())
            headers["Auto-Submitted"] = "auto-generated"
            headers["Content-Language"] = language
            headers["X-Suite-Template"] = template
            headers["MIME-Version"] = "1.0"
            known = self._fixed[language, template] = headers.as_bytes().removesuffix(b"\r\n")
        return known

    def _render(self, name: str, values: dict[str, object]) -> str:
        return self._templates.get_template(name).render(values)

    def _values(self, letter: Letter, language: str) -> dict[str, object]:
        facility = letter.appointment.facility
        when = facility_time(letter.appointment.start, letter.appointment.end, facility.time_zone)
        words = LANGUAGES[language]
        address = _one_line(facility.address)
        former = letter.appointment.former
        return {
            **({} if former is None else _former_values(former, facility.time_zone, words)),
            "who_acts_next": letter.appointment.who_acts_next,
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
            "map_url": self._head.map_url.format(address=quote_plus(address)) if address else "",
            "site_name": self._head.site_name,
            "portal_url": self._head.portal_url,
            "arrive_early_minutes": self._head.arrive_early_minutes,
        }


def _former_values(former: FormerPlace, zone_name: str, words: Language) -> dict[str, object]:
    """The place before a move, on the clock of the facility as it is now."""
    when = facility_time(former.start, former.end, zone_name)
    return {
        "former_date": words.long_date(when.start),
        "former_start": f"{when.start:%H:%M}",
        "former_end": f"{when.end:%H:%M}",
        "former_end_date": words.long_date(when.end) if when.ends_on_other_day else None,
        "former_zone": _zone_text(when.zone_name, when.start),
        "former_facility_name": _one_line(former.facility_name),
    }


def _header(name: str, value: str) -> bytes:
    if not _HEADER_VALUE.fullmatch(value):
        raise ValueError(f"the value of the mail's header {name} is not printable ASCII on one line")
    return f"{name}: {value}\r\n".encode("ascii")


def _part(boundary: str, kind: str, text: str) -> bytes:
    """Quoted-printable, so that a mail server without 8BITMIME passes it on unharmed (RFC 6152)."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").replace("\n", "\r\n").encode()
    head = (
        f'--{boundary}\r\nContent-Type: text/{kind}; charset="utf-8"\r\n'
        "Content-Transfer-Encoding: quoted-printable\r\n\r\n"
    )
    return head.encode() + binascii.b2a_qp(lines) + b"\r\n"


def _one_line(text: str | None) -> str:
    return " ".join((text or "").split())


def _zone_text(name: str, at: datetime) -> str:
    """``America/Toronto, EST, UTC−05:00``; a part that repeats another is left out."""
    parts = [name, abbreviation(at), offset_text(at)]
    return ", ".join(dict.fromkeys(part for part in parts if part))
