"""The SignalR-like event feed: a connected client hears of a change at most once. Nothing is kept or sent again.

SignalR's JSON hub protocol: records end in 0x1E; a handshake first, then invocations (type 1) and pings (type 6).
"""

import asyncio
import json
import secrets
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.websockets import WebSocket, WebSocketDisconnect

from omegaai_sim.fhir.auth import Tokens
from omegaai_sim.fhir.outcome import Refused
from omegaai_sim.fhir.records import QUEUED
from simulator_kit.misbehaviour import Misbehaviour
from simulator_kit.store import Notice, Store

SEPARATOR: Final = "\x1e"
PING_SECONDS: Final = 15
TARGET: Final = "resourceChanged"
_MOST_WAITING: Final = 10_000


class Feed:
    """Sends changes to every connected hub client."""

    def __init__(self, store: Store, tokens: Tokens, misbehaviour: Misbehaviour) -> None:
        self._tokens = tokens
        self._misbehaviour = misbehaviour
        self._clients: set[asyncio.Queue[str | None]] = set()
        self._keys: dict[str, datetime] = {}
        self._held: str | None = None
        store.listeners.append(self._publish)

    async def connection_info(self, request: Request) -> Response:
        """``GET /auth/Token/SignalRConnectionInfo?hub=&user=``: the address to connect to, and the token for it."""
        try:
            self._tokens.client_of(request)
        except Refused as refused:
            return JSONResponse({"error": refused.diagnostics}, refused.status)
        hub = request.query_params.get("hub") or "default"
        key = secrets.token_urlsafe(24)
        ends = datetime.now(UTC) + timedelta(hours=1)
        self._keys = {known: end for known, end in self._keys.items() if end > datetime.now(UTC)} | {key: ends}
        scheme = "wss" if request.url.scheme == "https" else "ws"
        url = f"{scheme}://{request.url.netloc}/auth/hubs/{hub}"
        return JSONResponse({"url": url, "accessToken": key, "expired": ends.isoformat()})

    async def connect(self, socket: WebSocket) -> None:
        """One hub client, from its handshake until it disconnects."""
        key = socket.query_params.get("access_token", "")
        if self._keys.get(key, datetime.min.replace(tzinfo=UTC)) < datetime.now(UTC):
            await socket.close(4401)
            return
        await socket.accept()
        waiting: asyncio.Queue[str | None] = asyncio.Queue(_MOST_WAITING)
        with suppress(WebSocketDisconnect, RuntimeError):
            hello = json.loads((await socket.receive_text()).split(SEPARATOR)[0])
            if hello.get("protocol") != "json":
                await socket.send_text(json.dumps({"error": "only the json protocol is spoken"}) + SEPARATOR)
                return
            await socket.send_text("{}" + SEPARATOR)
            self._clients.add(waiting)
            reading = asyncio.ensure_future(_drain(socket))
            try:
                await self._write(socket, waiting, reading)
            finally:
                self._clients.discard(waiting)
                reading.cancel()
        with suppress(WebSocketDisconnect, RuntimeError):  # the client, or the server's own stop, closed it first
            await socket.close()

    async def _write(
        self, socket: WebSocket, waiting: "asyncio.Queue[str | None]", reading: "asyncio.Future[None]"
    ) -> None:
        while not reading.done():
            try:
                record = await asyncio.wait_for(waiting.get(), PING_SECONDS)
            except TimeoutError:
                record = json.dumps({"type": 6})
            if record is None:
                return
            await socket.send_text(record + SEPARATOR)

    def close(self) -> None:
        """Ends every connection."""
        for waiting in self._clients:
            with suppress(asyncio.QueueFull):
                waiting.put_nowait(None)

    def _publish(self, notices: list[Notice]) -> None:
        for notice in notices:
            if notice["kind"] not in QUEUED:
                continue  # Tasks are not announced; the change behind a Task is
            change = {"resourceType": notice["kind"], "id": notice["id"], "versionId": notice["version"]}
            self._send(json.dumps({"type": 1, "target": TARGET, "arguments": [change]}))

    def _send(self, record: str) -> None:
        fault = self._misbehaviour.take("feed")
        mode = fault.mode if fault else ""
        if mode == "drop":
            return
        if mode == "cut":
            self.close()
            return
        if mode == "reorder" and self._held is None:
            self._held = record
            return
        records = [record, record] if mode == "duplicate" else [record]
        if self._held is not None:
            records.append(self._held)
            self._held = None
        for waiting in self._clients:
            for one in records:
                with suppress(asyncio.QueueFull):  # At most once: a slow client misses changes.
                    waiting.put_nowait(one)


async def _drain(socket: WebSocket) -> None:
    """Reads (pings) until the client disconnects."""
    with suppress(WebSocketDisconnect, RuntimeError):
        while True:
            await socket.receive_text()
