"""Forms that a page posts."""

from typing import Final
from urllib.parse import parse_qsl

from starlette.requests import Request

LONGEST_FORM_BYTES: Final = 4096


class FormTooLongError(ValueError):
    """The form holds more bytes than its page allows."""

    def __init__(self) -> None:
        super().__init__("The form is too long.")


async def read_form(request: Request, *, longest_bytes: int = LONGEST_FORM_BYTES) -> dict[str, str]:
    """The fields of a posted form by name, the last of each name. Raises ``FormTooLongError``."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > longest_bytes:
            raise FormTooLongError
    return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
