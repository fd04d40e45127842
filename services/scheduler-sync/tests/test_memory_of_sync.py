"""What the service takes of memory while all its partners go too far at once, seen from outside, on its real wires."""

import asyncio
import re
import socket
import time
from functools import partial
from pathlib import Path

import asyncpg
import pytest
from flow_processes import Flow, flow
from sync_samples import siu

from chassis.testing import MACHINE_SECONDS, eventually
from hl7v2 import parse_ack
from hl7v2.mllp import Client, FrameReader
from hl7v2.mllp.framing import Piece

pytestmark = [
    pytest.mark.stack,
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc"),
]

LIMIT_MIB = 384  # of the container (services/scheduler-sync/k8s)
LARGE_BYTES = 60_000_000
_DOCUMENT = b"A" * 250_000
CONNECTIONS = 2000
LONGEST_WAIT_SECONDS = 15 + MACHINE_SECONDS
"""For one acknowledgement."""


def peak_mib(process: int) -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
    assert found is not None
    return int(found[1]) // 1024


def send_large_until_taken(port: int, number: int) -> list[str]:
    """The codes of the answers, of which the last is no AE. Runs in a thread: the test's own loop must stay free."""
    # A booking with a document that nobody asked for.
    head = siu(control_id=f"BIG{number}", placer=f"PBIG{number}") + b"ZZZ|1|"
    codes: list[str] = []
    frames = FrameReader()
    with socket.create_connection(("127.0.0.1", port), timeout=120) as connection:
        while not codes or codes[-1] == "AE":
            time.sleep(0.5 if codes else 0)  # as a sender does before it comes again
            connection.sendall(b"\x0b" + head)
            for _ in range(LARGE_BYTES // len(_DOCUMENT)):
                connection.sendall(_DOCUMENT)
            connection.sendall(b"\r\x1c\r")
            answers: list[Piece] = []
            while not answers:
                data = connection.recv(2**16)
                assert data, "closed without an answer"
                answers = frames.feed(data)
            assert isinstance(answers[0], bytes)
            ack = parse_ack(answers[0])
            assert ack.control_id == f"BIG{number}"
            codes.append(ack.code)
    return codes


async def send_ordinary(port: int, until: asyncio.Event) -> list[float]:
    """Seconds that each acknowledgement took."""
    seconds: list[float] = []
    async with _client(port) as client:
        while not until.is_set():
            number = len(seconds)
            begun = time.monotonic()
            ack = await client.send(siu(control_id=f"S{number}", placer=f"PS{number}"), control_id=f"S{number}")
            assert ack.code == "AA", ack
            seconds.append(time.monotonic() - begun)
    return seconds


def _client(port: int) -> Client:
    return Client("127.0.0.1", port, ack_timeout_seconds=LONGEST_WAIT_SECONDS, connect_timeout_seconds=30)


async def idle_connections(port: int) -> list[asyncio.StreamWriter]:
    """Many that have sent half a message each."""
    writers = []
    for _ in range(CONNECTIONS):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"\x0bMSH|^~\\&|HALF A MESSAGE|" + b"x" * 1000)
        writers.append(writer)
    return writers


async def some_answer_had_no_end(url: str) -> bool:
    """Whether a delivery was given up for it, and waits."""
    connection = await asyncpg.connect(url)
    try:
        errors = await connection.fetch("SELECT last_error FROM deliveries WHERE destination = 'omegaai'")
    finally:
        await connection.close()
    return any("has more than" in (row["last_error"] or "") for row in errors)


@pytest.mark.timeout(400)
async def test_large_messages_many_connections_and_answers_without_end_fit_into_the_container(
    tmp_path, migrated_url, kafka_bootstrap, topic_prefix
) -> None:
    async with flow(tmp_path, migrated_url, kafka_bootstrap, topic_prefix) as running:
        process = _process(running)
        before = peak_mib(process)
        await running.misbehave(running.omegaai, target="fhir", mode="endless", count=None)
        idle = await idle_connections(running.mllp)
        connected = peak_mib(process)
        are_done = asyncio.Event()
        ordinary = asyncio.create_task(send_ordinary(running.mllp, are_done))
        senders = [asyncio.to_thread(send_large_until_taken, running.mllp, number) for number in range(5)]
        answers = await asyncio.gather(*senders)
        are_done.set()
        seconds = await ordinary
        await eventually(partial(some_answer_had_no_end, migrated_url), what="an answer of OmegaAI that had no end")
        peak = peak_mib(process)
        print(f"MiB: {before} before, {connected} with {CONNECTIONS} connections, {peak} at most; answers {answers}")
        print(f"{len(seconds)} ordinary messages, the slowest {max(seconds):.2f} s")
        assert [codes[-1] for codes in answers] == ["AA"] * 5
        assert peak <= LIMIT_MIB
        assert len(seconds) >= 5
        for writer in idle:
            writer.close()


def _process(running: Flow) -> int:
    return running._processes["scheduler-sync"].pid
