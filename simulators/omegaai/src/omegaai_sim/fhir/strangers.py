"""Answers that do not come from OmegaAI: of a login or a proxy before it, of a server that has gone mad."""

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
        await asyncio.sleep(0)  # to a client that is gone nothing is sent, and nothing waits
