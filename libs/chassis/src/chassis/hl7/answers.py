"""Which acknowledgement a sender wants (HL7 chapter 2, 2.9.3):

MSH-15 asks for the accept, MSH-16 for the application's.

A message is answered once, after its effect is committed. So one of the two can be given, and one must be: without any
acknowledgement, the loss of a message that was not taken stays unseen.
"""

from typing import Final

from hl7v2 import AckCode, Hl7Error, Message

_CONDITIONS: Final = frozenset({"AL", "NE", "ER", "SU"})
_OF_SUCCESS: Final = frozenset({"AL", "SU"})
_ACCEPT: Final[dict[AckCode, AckCode]] = {"AA": "CA", "AE": "CE", "AR": "CR"}


def check(message: Message) -> None:
    """Raises ``Hl7Error`` for a wish that cannot be granted."""
    accept, application = message.get("MSH-15"), message.get("MSH-16")
    if accept is None and application is None:
        return  # original mode
    accept, application = (accept or "NE").upper(), (application or "NE").upper()
    for place, wish in (("MSH-15", accept), ("MSH-16", application)):
        if wish not in _CONDITIONS:
            raise Hl7Error("103", place, "not a condition of HL7 table 0155 (AL, NE, ER, SU)", part=message)
    if accept in _OF_SUCCESS and application in _OF_SUCCESS:
        why = "a message is acknowledged once: set either this or MSH-15 to NE"
        raise Hl7Error("207", "MSH-16", why, part=message)
    if accept not in _OF_SUCCESS and application not in _OF_SUCCESS:
        why = "without any acknowledgement a loss stays unseen: set this or MSH-16 to AL"
        raise Hl7Error("207", "MSH-15", why, part=message)


def wanted(message: Message, code: AckCode) -> AckCode | None:
    """The code to answer with instead of ``code`` (AA, AE, AR); None when the sender wants no answer to this code."""
    accept = message.get("MSH-15")
    if accept is None and message.get("MSH-16") is None:
        return code
    accept = (accept or "NE").upper()
    application = (message.get("MSH-16") or "NE").upper()
    if code == "AA":
        return "CA" if accept in _OF_SUCCESS else code
    if accept in {"AL", "ER"}:
        return _ACCEPT[code]
    return code if application in {"AL", "ER"} or {accept, application}.isdisjoint(_OF_SUCCESS) else None
