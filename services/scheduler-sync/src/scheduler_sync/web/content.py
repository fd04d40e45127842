"""The content of a message for a page: its segments, what the service reads in it, and its text for editing."""

import asyncio
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from hl7v2 import Hl7Error, Message
from scheduler_sync.explain import Explanation, explain
from scheduler_sync.ports import Resources
from scheduler_sync.site import SiteFile

LONGEST_SHOWN_BYTES: Final = 256 * 2**10


class NotEditableError(ValueError):
    """The text cannot be written in the message's character set."""


@dataclass(frozen=True, slots=True)
class Content:
    """``segments``: the lines of the message. ``text`` is empty where the message cannot be edited, with ``why``."""

    segments: Sequence[str]
    bytes: int
    is_whole: bool
    text: str = ""
    why: str = ""
    explanation: Explanation | None = None

    def with_text(self, text: str) -> "Content":
        """With a person's text in the editor."""
        return replace(self, text=text)


class Reader:
    """Reads contents as the service does now: with the present site file and the known resources."""

    def __init__(self, site: Callable[[], SiteFile], resources: Resources) -> None:
        self._site = site
        self._resources = resources

    async def received(self, raw: bytes, received_at: datetime) -> Content:
        """In a thread: a large message takes long to explain."""
        return await asyncio.to_thread(self._received, raw, received_at)

    def _received(self, raw: bytes, received_at: datetime) -> Content:
        if len(raw) > LONGEST_SHOWN_BYTES:
            shown = raw[:LONGEST_SHOWN_BYTES].decode("utf-8", "replace")
            why = f"It is longer than {LONGEST_SHOWN_BYTES} bytes: needs-setup show ID shows it whole."
            return Content(_lines(shown), len(raw), is_whole=False, why=why)
        try:
            explanation = explain(raw, self._site(), self._resources, received_at=received_at)
        except Hl7Error:
            explanation = None  # the state's reason says why
        text, why = "", ""
        try:
            text = _text(raw.decode(_codec(raw)))
        except UnicodeDecodeError:
            why = "It holds bytes that are no text in its character set (MSH-18): it cannot be edited here."
        lines = _lines(text or raw.decode("utf-8", "replace"))
        return Content(lines, len(raw), is_whole=True, text=text, why=why, explanation=explanation)

    def sent(self, payload: bytes) -> Content:
        """A delivery's content: HL7, or what a FHIR write is made from, as JSON."""
        text = payload[:LONGEST_SHOWN_BYTES].decode("utf-8", "replace")
        is_whole = len(payload) <= LONGEST_SHOWN_BYTES
        if text.startswith("{") and is_whole:
            with suppress(ValueError):  # else it is shown as it stands
                text = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
        return Content(_lines(text), len(payload), is_whole=is_whole)

    def encoded(self, text: str, *, like: bytes) -> bytes:
        """An edited text with HL7's line ends, in the character set of the message that it replaces."""
        lines = [line for line in text.replace("\r\n", "\r").replace("\n", "\r").split("\r") if line.strip()]
        try:
            return ("\r".join(lines) + "\r").encode(_codec(like))
        except UnicodeEncodeError:
            why = "the text has a character that the message's character set (MSH-18) does not have"
            raise NotEditableError(why) from None


def _codec(raw: bytes) -> str:
    """The message's codec; where it is no HL7, one that gives each byte back."""
    try:
        return Message.parse(raw).codec
    except Hl7Error:
        pass
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return "latin-1"
    return "utf-8"


def _text(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _lines(text: str) -> list[str]:
    return [line for line in _text(text).split("\n") if line.strip()]
