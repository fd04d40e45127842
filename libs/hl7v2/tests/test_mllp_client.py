"""The client against partners that answer late, wrongly, in pieces, or not at all."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Self

import pytest

from hl7v2 import AckError, Message, build_ack
from hl7v2.mllp import AckMismatch, AckTimeout, Client, ConnectionLost, FrameReader, MllpError, frame, start_server

WAIT_SECONDS = 60

Answer = Callable[[asyncio.StreamWriter, bytes, int], Awaitable[None]]


def message(control_id: str) -> bytes:
    return f"MSH|^~\\&|SUITE|N|RAMSOFT|FAC01|2026||SIU^S14|{control_id}|P|2.3.1\r".encode()


def answer_to(content: bytes, code: str = "AA", **more: object) -> bytes:
    return build_ack(Message.parse(content), code, control_id="A", **more).to_bytes()  # type: ignore[arg-type]


class Partner:
    """A server of raw bytes: ``answer`` gets each frame with its number over all connections."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.received: list[str] = []
        self.connections = 0
        self.lost = 0

    async def __aenter__(self) -> Self:
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        self.tasks: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()
        for task, writer in self.tasks.items():
            writer.transport.abort()
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for writer in self.tasks.values():
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks[task] = writer
        self.connections += 1
        frames = FrameReader()
        try:
            while data := await reader.read(65536):
                for content in frames.feed(data):
                    assert isinstance(content, bytes)
                    self.received.append(Message.parse(content).control_id)
                    await self.answer(writer, content, len(self.received))
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self.lost += 1
            writer.close()


async def good(writer: asyncio.StreamWriter, content: bytes, _: int) -> None:
    writer.write(frame(answer_to(content)))


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.fixture
async def partner() -> AsyncIterator[Partner]:
    async with Partner(good) as listening:
        yield listening


@pytest.mark.parametrize("code", ["AA", "AE", "AR", "CA", "CE", "CR"])
async def test_every_code_is_an_answer(partner: Partner, code: str):
    async def answer(writer: asyncio.StreamWriter, content: bytes, _: int) -> None:
        errors = [] if code in ("AA", "CA") else [AckError("103", "AIG-3", "unknown resource")]
        writer.write(frame(answer_to(content, code, errors=errors)))

    partner.answer = answer
    async with Client("127.0.0.1", partner.port) as client:
        ack = await client.send(message("1"), control_id="1")
        assert (ack.code, ack.control_id, ack.is_accepted) == (code, "1", code in ("AA", "CA"))
        assert [error.location for error in ack.errors] == ([] if ack.is_accepted else ["AIG-3"])
        assert client.is_connected


async def test_one_connection_serves_many_tasks_in_turn(partner: Partner):
    async with Client("127.0.0.1", partner.port) as client:
        ids = [str(n) for n in range(50)]
        acks = await asyncio.gather(*(client.send(message(i), control_id=i) for i in ids))
    assert [ack.control_id for ack in acks] == ids
    assert partner.received == ids
    assert partner.connections == 1


@pytest.mark.parametrize("shape", ["bytes", "junk", "bare fs", "lf"])
async def test_answer_in_pieces_and_odd_frames(partner: Partner, shape: str):
    async def answer(writer: asyncio.StreamWriter, content: bytes, _: int) -> None:
        ack = answer_to(content)
        if shape == "bytes":
            for byte in frame(ack):
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0)
        else:
            ends = {"junk": b"\x1c\r\r\n", "bare fs": b"\x1c", "lf": b"\x1c\n"}
            writer.write(b"hello\x0b" + ack + ends[shape])

    partner.answer = answer
    async with Client("127.0.0.1", partner.port) as client:
        assert (await client.send(message("1"), control_id="1")).code == "AA"
        assert (await client.send(message("2"), control_id="2")).code == "AA"
    assert partner.connections == 1


async def test_late_answer_is_thrown_away_with_its_connection(partner: Partner):
    release = asyncio.Event()

    async def late_once(writer: asyncio.StreamWriter, content: bytes, number: int) -> None:
        if number == 1:
            await release.wait()
        writer.write(frame(answer_to(content)))

    partner.answer = late_once
    async with Client("127.0.0.1", partner.port, ack_timeout_seconds=0.2) as client:
        with pytest.raises(AckTimeout) as caught:
            await client.send(message("1"), control_id="1")
        assert caught.value.may_have_arrived
        assert not client.is_connected
        client._ack_timeout_seconds = WAIT_SECONDS
        release.set()
        assert (await client.send(message("2"), control_id="2")).control_id == "2"
    assert partner.connections == 2


async def test_answer_that_nobody_waits_for_closes_the_connection(partner: Partner):
    async def twice(writer: asyncio.StreamWriter, content: bytes, number: int) -> None:
        writer.write(frame(answer_to(content)) * (2 if number == 1 else 1))

    partner.answer = twice
    async with Client("127.0.0.1", partner.port) as client:
        assert (await client.send(message("1"), control_id="1")).control_id == "1"
        await until(lambda: not client.is_connected)
        assert (await client.send(message("2"), control_id="2")).control_id == "2"
    assert partner.connections == 2


@pytest.mark.parametrize(
    "wrong",
    [
        b"MSH|^~\\&|A\rMSA|AA|OTHER\r",
        b"MSH|^~\\&|A\rMSA|AA\r",
        b"MSH|^~\\&|A\rMSA|OK|1\r",
        b"garbage",
        b"MSH|^~\\&|A\rPID|1\r",
    ],
)
async def test_wrong_answer_closes_the_connection(partner: Partner, wrong: bytes):
    async def answer(writer: asyncio.StreamWriter, content: bytes, number: int) -> None:
        writer.write(frame(wrong) if number == 1 else frame(answer_to(content)))

    partner.answer = answer
    async with Client("127.0.0.1", partner.port) as client:
        with pytest.raises(AckMismatch) as caught:
            await client.send(message("1"), control_id="1")
        assert caught.value.may_have_arrived
        assert "OTHER" not in str(caught.value)
        assert (await client.send(message("1"), control_id="1")).code == "AA"
    assert partner.connections == 2


async def test_answer_without_end_times_out_and_a_huge_one_is_cut_off(partner: Partner):
    async def answer(writer: asyncio.StreamWriter, content: bytes, number: int) -> None:
        writer.write(b"\x0bMSH|^~\\&|A\rMSA|AA|1\r" if number == 1 else b"\x0bMSH|" + b"x" * 3 * 2**20)

    partner.answer = answer
    async with Client("127.0.0.1", partner.port, ack_timeout_seconds=0.2) as client:
        with pytest.raises(AckTimeout):
            await client.send(message("1"), control_id="1")
        client._ack_timeout_seconds = WAIT_SECONDS
        with pytest.raises(ConnectionLost):
            await client.send(message("2"), control_id="2")


async def test_connection_that_ends_before_the_answer(partner: Partner):
    async def cut_once(writer: asyncio.StreamWriter, content: bytes, number: int) -> None:
        if number == 1:
            writer.transport.abort()
        else:
            writer.write(frame(answer_to(content)))

    partner.answer = cut_once
    async with Client("127.0.0.1", partner.port) as client:
        with pytest.raises(ConnectionLost) as caught:
            await client.send(message("1"), control_id="1")
        assert caught.value.may_have_arrived
        assert (await client.send(message("1"), control_id="1")).code == "AA"


async def test_connection_closed_while_idle_is_made_anew(partner: Partner):
    async def then_close(writer: asyncio.StreamWriter, content: bytes, _: int) -> None:
        writer.write(frame(answer_to(content)))
        await writer.drain()
        writer.close()

    partner.answer = then_close
    async with Client("127.0.0.1", partner.port) as client:
        for control_id in ("1", "2", "3"):
            assert (await client.send(message(control_id), control_id=control_id)).code == "AA"
            await until(lambda: not client.is_connected)
    assert partner.connections == 3


async def test_nobody_listens(partner: Partner):
    partner.server.close()
    async with Client("127.0.0.1", partner.port) as client:
        with pytest.raises(ConnectionLost) as caught:
            await client.send(message("1"), control_id="1")
        assert not caught.value.may_have_arrived


async def test_cancelled_exchange_leaves_nothing_behind(partner: Partner):
    async def silent_once(writer: asyncio.StreamWriter, content: bytes, number: int) -> None:
        if number > 1:
            writer.write(frame(answer_to(content)))

    partner.answer = silent_once
    async with Client("127.0.0.1", partner.port) as client:
        sending = asyncio.ensure_future(client.send(message("1"), control_id="1"))
        await until(lambda: partner.received)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        assert (await client.send(message("2"), control_id="2")).control_id == "2"
    assert partner.connections == 2


async def test_close_waits_for_the_answer_in_flight(partner: Partner):
    release = asyncio.Event()

    async def wait(writer: asyncio.StreamWriter, content: bytes, _: int) -> None:
        await release.wait()
        writer.write(frame(answer_to(content)))

    partner.answer = wait
    client = Client("127.0.0.1", partner.port)
    sending = asyncio.ensure_future(client.send(message("1"), control_id="1"))
    await until(lambda: partner.received)
    closing = asyncio.ensure_future(client.close())
    await asyncio.sleep(0)
    release.set()
    assert (await sending).code == "AA"
    await closing
    with pytest.raises(ConnectionLost, match="closed"):
        await client.send(message("2"), control_id="2")
    await until(lambda: partner.lost == 1)


async def test_message_that_cannot_be_framed_is_not_sent(partner: Partner):
    async with Client("127.0.0.1", partner.port) as client:
        with pytest.raises(ValueError, match="0x0B"):
            await client.send(b"MSH|\x0b", control_id="1")
    assert partner.connections == 0


async def test_control_id_with_delimiters_is_matched():
    async def handle(content: bytes, _: object) -> bytes:
        return answer_to(content)

    sent = Message.parse(message("x"))
    sent.set("MSH-10", "A^1&|")
    async with await start_server(handle, "127.0.0.1", 0) as server, Client("127.0.0.1", server.port) as client:
        assert (await client.send(sent.to_bytes(), control_id="A^1&|")).code == "AA"


async def test_every_failure_is_an_mllp_error():
    for kind in (AckMismatch, AckTimeout, ConnectionLost):
        assert issubclass(kind, MllpError)
    with contextlib.suppress(MllpError):
        raise AckTimeout("late", may_have_arrived=True)
