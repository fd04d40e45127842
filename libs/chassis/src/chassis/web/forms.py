"""Forms that a page posts."""

from typing import Final
from urllib.parse import parse_qsl

from starlette.requests import Request

LONGEST_FORM_BYTES: Final = 4096
MOST_FIELDS: Final = 100


class FormTooLongError(ValueError):
    """The form holds more bytes, or more fields, than its page allows."""

    def __init__(self) -> None:
        super().__init__("The form is too long.")


async def read_form(request: Request, *, longest_bytes: int = LONGEST_FORM_BYTES) -> dict[str, str]:
    """The fields of a posted form by name, the last of each name. Raises ``FormTooLongError``."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > longest_bytes:
            raise FormTooLongError
    try:
        fields = parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=MOST_FIELDS)
    except ValueError:  # nothing else is wrong with any bytes
        raise FormTooLongError from None
    return dict(fields)
