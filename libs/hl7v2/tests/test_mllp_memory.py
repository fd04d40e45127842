"""A partner that sends far too much costs bounded memory and does not slow others; measured in a separate process."""

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hl7v2 import parse_ack
from hl7v2.mllp import Client, FrameReader, frame

SERVER = """
import asyncio
from hl7v2 import Message, build_ack
from hl7v2.mllp import start_server

async def handle(content, peer):
    return build_ack(Message.parse(content), "AA", control_id="1").to_bytes()

async def main():
    server = await start_server(handle, "127.0.0.1", 0)
    print(server.port, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def peak_bytes(process: int) -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def message(control_id: str) -> bytes:
    return f"MSH|^~\\&|A|B|C|D|2026||ORU^R01|{control_id}|P|2.3.1\r".encode()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
@pytest.mark.parametrize("content", ["one frame of 100 MB", "endless 0x0B"])
async def test_flood_costs_at_most_64_mib(content: str):
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", SERVER, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        port = int(await process.stdout.readline())
        async with Client("127.0.0.1", port, ack_timeout_seconds=20) as other:
            await other.send(message("0"), control_id="0")
            before = peak_bytes(process.pid)
            flood = asyncio.ensure_future(send(port, content))
            for number in range(50):
                ack = await other.send(message(str(number)), control_id=str(number))
                assert ack.is_accepted
            assert await flood in ("AR", "closed")
            assert peak_bytes(process.pid) - before <= 64 * 2**20 + 2**21
    finally:
        process.kill()
        await process.wait()


async def send(port: int, content: str) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        if content == "endless 0x0B":
            for _ in range(400):
                writer.write(b"\x0b" * 2**18)
                await writer.drain()
            return "taken"
        writer.write(b"\x0b" + message("BIG") + b"OBX|1|ED|||")
        for _ in range(400):
            writer.write(b"A" * 250_000)
            await writer.drain()
        writer.write(b"\x1c\r" + frame(message("after")))
        frames = FrameReader()
        answers: list[object] = []
        while len(answers) < 2:
            answers += frames.feed(await reader.read(65536))
        refused, accepted = (parse_ack(answer) for answer in answers if isinstance(answer, bytes))
        assert (refused.control_id, accepted.control_id, accepted.code) == ("BIG", "after", "AA")
        return refused.code  # noqa: TRY300  # the path of success
    except ConnectionError:
        return "closed"
    finally:
        writer.close()
