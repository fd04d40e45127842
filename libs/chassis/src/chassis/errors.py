"""The two ways in which handling a message may fail. Anything else that a handler raises is a bug and is kept as one.

Texts name settings, segments and elements, never a patient's data: they reach logs, dead-letter lists and partners.
So they are short, whatever was put into them: ``shown`` cuts a value that a text quotes, and the error cuts the rest.
"""

from typing import Final

LONGEST_SHOWN: Final = 60
LONGEST_REASON: Final = 500
LONGEST_PLACE: Final = 200


def shown(value: str) -> str:
    """A code or name out of a message as a text may quote it: its first 60 characters, none that cannot be stored."""
    return _cut(value, LONGEST_SHOWN)


def _cut(text: str, longest: int) -> str:
    kept = text if len(text) <= longest else text[: longest - 1] + "…"
    return kept.replace("\x00", "\ufffd")


class Transient(Exception):  # noqa: N818 (the word is the decision it asks for)
    """It may work later: the same message is tried again, in order with the others of its aggregate."""

    def __init__(self, reason: str, *, retry_after_seconds: float | None = None) -> None:
        self.reason = _cut(reason, LONGEST_REASON)
        super().__init__(self.reason)
        self.retry_after_seconds = retry_after_seconds


class StoreUnavailable(Transient):
    """The store does not answer: not the message's fault, so that nothing is dead-lettered or parked for it."""


class Permanent(Exception):  # noqa: N818
    """It will never work as it is: the message is kept with its reason for a person to look at."""

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
    """The input is right but the set-up does not know it yet. ``setting`` names what to set, and where."""

    def __init__(self, reason: str, *, setting: str) -> None:
        super().__init__(reason)
        self.setting = _cut(setting, LONGEST_PLACE)


def reason_of(error: BaseException) -> str:
    """What may be shown and kept of an error: our own reasons; of a bug its type alone (its text may hold PHI)."""
    if isinstance(error, Transient | Permanent):
        return error.reason
    return f"bug: {type(error).__name__}"
