"""Answers that do not come from OmegaAI: of a login page or proxy in front of it, or of a broken server."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse

MODES: Final = frozenset({"redirect", "page", "endless"})
_PIECE: Final = b"A" * 2**16


def answer(mode: str) -> Response:
    """A redirect to a login, a web page, or JSON without end."""
    if mode == "redirect":
        return RedirectResponse("/login", 307)
    if mode == "page":
        return HTMLResponse("<!DOCTYPE html><title>Maintenance</title><p>OmegaAI is being maintained.</p>")
    return StreamingResponse(_endless(), media_type="application/fhir+json")


async def _endless() -> AsyncIterator[bytes]:
    yield b'{"resourceType": "Bundle", "id": "'
    while True:
        yield _PIECE
        await asyncio.sleep(0)  # a closed connection gets nothing, and nothing waits for it
