"""Exceptions of the library.

Their texts name segments, fields and settings, never a value: values belong to patients.
"""

from dataclasses import dataclass

ERROR_CODES = {
    "0": "Message accepted",
    "100": "Segment sequence error",
    "101": "Required field missing",
    "102": "Data type error",
    "103": "Table value not found",
    "104": "Value too long",
    "200": "Unsupported message type",
    "201": "Unsupported event code",
    "202": "Unsupported processing id",
    "203": "Unsupported version id",
    "204": "Unknown key identifier",
    "205": "Duplicate key identifier",
    "206": "Application record locked",
    "207": "Application internal error",
}
"""HL7 table 0357, message error condition codes."""


@dataclass(frozen=True, slots=True)
class AckError:
    """One error of an acknowledgement (ERR).

    ``code`` is of HL7 table 0357; ``location`` is a path such as ``PID-3[2].4`` or empty; ``text`` is for people and
    defaults to the table's words; ``severity`` is of table 0516 (E, W, I) and is written from version 2.5 on.
    """

    code: str
    location: str = ""
    text: str = ""
    severity: str = "E"


class Hl7Error(ValueError):
    """The bytes are not an HL7 v2 message, or a value does not fit into a message.

    ``code`` is of HL7 table 0357, ``location`` a path such as ``MSH-9``. ``part`` is the ``Message`` that could be read
    in spite of the error, or None; ``hl7v2.readable_part`` returns it with its type.
    """

    def __init__(self, code: str, location: str, text: str, *, part: object = None) -> None:
        super().__init__(f"{location}: {text}" if location else text)
        self.code = code
        self.location = location
        self.text = text
        self.part = part

    def as_ack_error(self) -> AckError:
        """The error as it stands in an acknowledgement."""
        return AckError(self.code, self.location, self.text)
