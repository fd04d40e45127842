"""The two refusals of a message: AR and AE."""


class Malformed(Exception):  # noqa: N818 - the name is the decision
    """Answered AR: the message breaks the standard or this interface's required fields (code of HL7 table 0357)."""

    def __init__(self, code: str, location: str, text: str) -> None:
        super().__init__(text)
        self.code, self.location, self.text = code, location, text


class NotProcessed(Exception):  # noqa: N818 - the name is the decision
    """Answered AE: the message is well-formed, but names something unknown to this site or cannot be processed now."""

    def __init__(self, code: str, location: str, text: str) -> None:
        super().__init__(text)
        self.code, self.location, self.text = code, location, text
