"""A stored mail in parts for a reader. Line ends become LF."""

import email
import email.policy
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Any, cast


@dataclass(frozen=True)
class ReadableMail:
    """Parts that are absent are empty strings; headers stand in the order of the mail."""

    headers: tuple[tuple[str, str], ...]
    text: str
    html: str


def read_mail(raw: bytes) -> ReadableMail:
    message = email.message_from_bytes(raw, policy=email.policy.default)
    return ReadableMail(
        headers=tuple((name, str(value)) for name, value in message.items()),
        text=_part(message, "plain"),
        html=_part(message, "html"),
    )


def _part(message: EmailMessage, kind: str) -> str:
    part = message.get_body(preferencelist=(kind,))
    if part is None:
        return ""
    try:
        content = str(part.get_content())
    except (LookupError, UnicodeDecodeError):
        payload = cast("Any", part).get_payload(decode=True)
        content = bytes(payload or b"").decode("utf-8", "replace")
    return content.replace("\r\n", "\n")
