"""A user at the pages, without a browser."""

import contextlib
from collections.abc import AsyncIterator
from html import unescape

import httpx


@contextlib.asynccontextmanager
async def logged_in(bench, name: str) -> AsyncIterator[httpx.AsyncClient]:
    async with bench.browser() as client:
        answer = await client.post("/login", data={"name": name, "password": "development"})
        assert answer.status_code == 303
        yield client


async def text_of(client: httpx.AsyncClient, path: str) -> str:
    answer = await client.get(path)
    assert answer.status_code == 200, path
    return unescape(answer.text)
