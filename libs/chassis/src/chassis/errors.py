"""The two ways in which handling a message may fail; any other error of a handler is a bug and is kept as one.

Texts name settings, segments and elements, never patient data: they reach logs, dead-letter lists and partners. Their
length is limited: ``masking.shown`` masks a value that is no code, and the error cuts the rest.
"""

from typing import Final

LONGEST_REASON: Final = 500
LONGEST_PLACE: Final = 200


def _cut(text: str, longest: int) -> str:
    kept = text if len(text) <= longest else text[: longest - 1] + "…"
    return kept.replace("\x00", "\ufffd")


class Transient(Exception):  # noqa: N818 (the word is the decision it asks for)
    """A passing failure: the same message is tried again, in order with the others of its aggregate."""

    def __init__(self, reason: str, *, retry_after_seconds: float | None = None) -> None:
        self.reason = _cut(reason, LONGEST_REASON)
        super().__init__(self.reason)
        self.retry_after_seconds = retry_after_seconds


class AccessRefused(Transient):
    """A partner refuses our access, or its state forbids all messages: this message is not at fault.

    It waits, with long pauses, until a person has corrected ``setting``; the reason names the setting too.
    """

    def __init__(self, reason: str, *, setting: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(f"{reason}; to be put right: {setting}", retry_after_seconds=retry_after_seconds)
        self.setting = setting


class UnusableAnswer(Transient):
    """A partner's answer has no end, nests too deeply, repeats itself or has the wrong form."""


class StoreUnavailable(Transient):
    """The store does not answer. No message is at fault, so none is dead-lettered or parked."""


class Withheld(Transient):
    """We hold the message back by our own decision; neither the message nor the partner is at fault."""


class Permanent(Exception):  # noqa: N818
    """A permanent failure: the message is kept with its reason for a person."""

    def __init__(self, reason: str) -> None:
        self.reason = _cut(reason, LONGEST_REASON)
        super().__init__(self.reason)


class Malformed(Permanent):
    """The input breaks its own standard. ``location``: segment-field or element path; ``code``: HL7 table 0357."""

    def __init__(self, reason: str, *, location: str, code: str = "207") -> None:
        super().__init__(reason)
        self.location = _cut(location, LONGEST_PLACE)
        self.code = code


class NeedsSetup(Permanent):
    """The input is right but the set-up does not know it yet. ``setting`` names the missing setting, and its place.

    ``location``: the segment-field that names the unknown thing, where one does.
    """

    def __init__(self, reason: str, *, setting: str, location: str = "") -> None:
        super().__init__(reason)
        self.setting = _cut(setting, LONGEST_PLACE)
        self.location = _cut(location, LONGEST_PLACE)


def reason_of(error: BaseException) -> str:
    """The text of an error that may be shown and kept: our own reason, or the type alone of a bug, whose text may
    hold PHI.
    """
    if isinstance(error, Transient | Permanent):
        return error.reason
    return f"bug: {type(error).__name__}"
