"""Why an exchange over MLLP failed. No text holds message content."""


class MllpError(Exception):
    """The exchange failed.

    ``may_have_arrived`` says whether the partner may hold the message. If so, repeat it under the same control id
    (MSH-10), by which the partner recognises the repeat.
    """

    def __init__(self, text: str, *, may_have_arrived: bool) -> None:
        super().__init__(text)
        self.may_have_arrived = may_have_arrived


class ConnectionLost(MllpError):  # noqa: N818  # reads as what happened
    """No connection could be made, or it ended before the acknowledgement."""


class AckTimeout(MllpError):  # noqa: N818  # reads as what happened
    """No acknowledgement in time. The connection is closed: a late acknowledgement must not answer the next message."""


class AckMismatch(MllpError):  # noqa: N818  # reads as what happened
    """The answer is no acknowledgement, or its MSA-2 is not the message's MSH-10. The connection is closed."""
