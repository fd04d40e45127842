"""A receiver of traces: an HTTP server in a separate process that accepts every POST and counts its bytes.

A GET returns the number of bytes so far, so that a row can check that traces were sent.
"""

import asyncio
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector() -> Iterator[str]:
    """The endpoint to set as ``TELEMETRY__OTLP_ENDPOINT``."""
    process = subprocess.Popen([sys.executable, __file__], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.wait()


def bytes_taken(endpoint: str) -> int:
    """The number of trace bytes that the collector has received. Blocks for a moment."""
    with urllib.request.urlopen(endpoint, timeout=10) as answer:  # noqa: S310 (our own, on loopback)
        return int(answer.read())


class _Collector:
    def __init__(self) -> None:
        self.taken = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(head.split(b"content-length:")[1].split(b"\r\n")[0]) if b"content-length:" in head else 0
                self.taken += len(await reader.readexactly(length))
                body = str(self.taken).encode() if head.startswith(b"get ") else b""
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


async def _serve() -> None:
    server = await asyncio.start_server(_Collector().answer, "127.0.0.1", 0, limit=2**24)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve())
