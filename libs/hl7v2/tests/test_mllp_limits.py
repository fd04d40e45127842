"""The server's memory is bounded over all connections; the sender of a refused message may send it again."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mllp_partner import Partner, Recorder, connected, message, until

from hl7v2.mllp import FrameReader, Oversized, Peer, Server, frame, start_server
from hl7v2.mllp.budget import FREE_BYTES, Budget, largest_frame_bytes

BUDGET = 8 * 2**20
LARGE = 5 * 2**20


@asynccontextmanager
async def serving(recorder: Recorder, **limits: object) -> AsyncIterator[Server]:
    chosen = {"max_frame_bytes": 6 * 2**20, "max_bytes_in_flight": BUDGET, **limits}
    async with await start_server(recorder, "127.0.0.1", 0, on_event=recorder.events.append, **chosen) as server:  # type: ignore[arg-type]
        yield server


def half_of(content: bytes) -> tuple[bytes, bytes]:
    framed = frame(content)
    return framed[: len(framed) // 2], framed[len(framed) // 2 :]


async def test_a_message_without_room_is_answered_ae_and_taken_when_it_comes_again() -> None:
    recorder = Recorder()
    async with serving(recorder) as server, connected(server) as first, connected(server) as second:
        recorder.gate = asyncio.Event()
        await first.send(frame(message("A", padding=LARGE)))
        await until(lambda: recorder.entered)
        await second.send(frame(message("B", padding=LARGE)))
        assert await second.answer() == ("AE", "B")
        recorder.gate.set()
        assert await first.answer() == ("AA", "A")
        await second.send(frame(message("B", padding=LARGE)))
        assert await second.answer() == ("AA", "B")
        assert server.bytes_in_flight == 0
    assert recorder.names().count("busy") == 1


async def test_ordinary_messages_are_taken_while_large_ones_fill_the_budget() -> None:
    recorder = Recorder()
    async with serving(recorder) as server, AsyncExitStack() as stack:
        for number in range(7):
            partner = await stack.enter_async_context(connected(server))
            await partner.send(half_of(message(f"L{number}", padding=LARGE))[0])
        await until(lambda: "busy" in recorder.names() or server.bytes_in_flight > BUDGET // 2)
        ordinary = await stack.enter_async_context(connected(server))
        for number in range(50):
            await ordinary.send(frame(message(str(number), padding=number * 1000)))
            assert await ordinary.answer() == ("AA", str(number))
        assert server.bytes_in_flight <= BUDGET
    await until(lambda: server.bytes_in_flight == 0)


async def test_an_ordinary_message_is_taken_even_where_small_ones_fill_the_whole_budget() -> None:
    recorder = Recorder()
    async with serving(recorder) as server, AsyncExitStack() as stack:
        for _ in range(BUDGET // 900_000 + 2):
            partner = await stack.enter_async_context(connected(server))
            await partner.send(half_of(message("half", padding=1_900_000))[0])
        await until(lambda: server.bytes_in_flight > BUDGET - 2 * 2**20)
        ordinary = await stack.enter_async_context(connected(server))
        await ordinary.send(frame(message("1", padding=FREE_BYTES - 1000)))
        assert await ordinary.answer() == ("AA", "1")


async def test_of_messages_in_one_read_those_without_room_are_answered_ae_in_their_order() -> None:
    recorder = Recorder()
    recorder.gate = asyncio.Event()
    async with serving(recorder, max_bytes_in_flight=2**20) as server, connected(server) as partner:
        await partner.send(b"".join(frame(message(str(n), padding=300_000)) for n in range(8)))
        await until(lambda: recorder.entered)
        await asyncio.sleep(0)
        recorder.gate.set()
        answers = [await partner.answer() for _ in range(8)]
        assert [control_id for _, control_id in answers] == [str(n) for n in range(8)]
        assert answers[0] == ("AA", "0")
        taken = [control_id for code, control_id in answers if code == "AA"]
        assert taken == [control_id for _, control_id in recorder.frames]
        assert server.bytes_in_flight == 0


async def test_a_message_of_many_lines_costs_what_the_caller_says() -> None:
    recorder = Recorder()
    async with (
        serving(recorder, cost_bytes=lambda content: len(content) * 100) as server,
        connected(server) as partner,
    ):
        await partner.send(frame(message("1", padding=500_000)))
        assert await partner.answer() == ("AE", "1")


@pytest.mark.parametrize("how", ["half a frame", "half a frame that was dropped", "frames that wait", "reset"])
async def test_a_connection_that_ends_gives_back_what_it_held(how: str) -> None:
    recorder = Recorder()
    recorder.gate = asyncio.Event()
    async with serving(recorder) as server:
        async with connected(server) as partner:
            if how == "frames that wait":
                await partner.send(b"".join(frame(message(str(n), padding=50_000)) for n in range(20)))
            elif how == "half a frame that was dropped":
                sending = partner.send(b"\x0b" + message("1", padding=12 * 2**20))
                await sending
            else:
                await partner.send(half_of(message("1", padding=LARGE))[0])
            await until(lambda: server.connections == 1 and (server.bytes_in_flight or recorder.events[1:]))
            if how == "reset":
                partner.writer.transport.abort()
        recorder.gate.set()
        await until(lambda: server.connections == 0)
        assert server.bytes_in_flight == 0


@pytest.mark.parametrize("how", ["the handler fails", "the server is closed"])
async def test_what_was_never_answered_is_given_back_too(how: str) -> None:
    gate = asyncio.Event()
    entered = asyncio.Event()

    async def handle(content: bytes, peer: Peer) -> bytes:
        entered.set()
        await gate.wait()
        raise RuntimeError("a bug")

    server = await start_server(handle, "127.0.0.1", 0)
    async with connected(server) as partner:
        await partner.send(b"".join(frame(message(str(n), padding=50_000)) for n in range(5)))
        await entered.wait()
        await until(lambda: server.bytes_in_flight > 250_000)
        if how == "the handler fails":
            gate.set()
            await until(lambda: server.connections == 0)
        else:
            await server.close(drain_seconds=0)
        assert server.bytes_in_flight == 0
    await server.close()


async def trickle(partner: Partner) -> None:
    async with asyncio.timeout(60):
        while True:
            await partner.send(b"x")
            await asyncio.sleep(0.02)


async def test_a_frame_that_trickles_is_cut_off_and_one_that_goes_on_is_not() -> None:
    recorder = Recorder()
    async with serving(recorder, frame_timeout_seconds=0.4) as server, connected(server) as slow:
        await slow.send(b"\x0b")
        with pytest.raises(ConnectionError):
            await trickle(slow)
        assert "frame-too-slow" in recorder.names()
        async with connected(server) as steady:
            framed = frame(message("1", padding=3_000_000))  # 3 MB allow 45 seconds more
            await steady.send(framed[:2_900_000])
            for start in range(2_900_000, len(framed), 10_000):
                await steady.send(framed[start : start + 10_000])
                await asyncio.sleep(0.1)
            assert await steady.answer() == ("AA", "1")


async def test_between_frames_nothing_hurries() -> None:
    recorder = Recorder()
    async with serving(recorder, frame_timeout_seconds=0.1) as server, connected(server) as partner:
        await partner.send(frame(message("1")) + b"\r\n")
        assert await partner.answer() == ("AA", "1")
        await asyncio.sleep(0.5)
        await partner.send(frame(message("2")))
        assert await partner.answer() == ("AA", "2")


async def test_a_frame_that_waits_for_us_is_not_slow() -> None:
    recorder = Recorder()
    recorder.gate = asyncio.Event()
    async with serving(recorder, frame_timeout_seconds=0.2) as server, connected(server) as partner:
        many = b"".join(frame(message(str(n))) for n in range(400))
        await partner.send(many[:-10])
        await until(lambda: any(connection._is_paused for connection in server._connections))
        await asyncio.sleep(0.6)
        recorder.gate.set()
        await partner.send(many[-10:])
        assert [(await partner.answer())[0] for _ in range(400)] == ["AA"] * 400


async def test_above_the_limit_a_connection_is_closed_at_once() -> None:
    recorder = Recorder()
    async with serving(recorder, max_connections=3) as server, AsyncExitStack() as stack:
        standing = [await stack.enter_async_context(connected(server)) for _ in range(3)]
        await until(lambda: server.connections == 3)
        refused = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(20)]
        await until(lambda: recorder.names().count("connection-refused") == 20)
        assert server.connections == 3
        await standing[0].send(frame(message("1")))
        assert await standing[0].answer() == ("AA", "1")
        standing[1].writer.close()
        await until(lambda: server.connections == 2)
        async with connected(server) as again:
            await again.send(frame(message("2")))
            assert await again.answer() == ("AA", "2")
        for one in refused:
            one.close()


def test_a_frame_that_is_dropped_comes_as_its_beginning_and_its_size() -> None:
    content = b"MSH|" + b"x" * 10_000
    reader = FrameReader()
    assert reader.feed(frame(content)[:6000]) == []
    reader.drop()
    assert reader.buffered_bytes <= 1
    (piece, after) = reader.feed(frame(content)[6000:] + frame(b"next"))
    assert piece == Oversized(content[:4096], len(content))
    assert after == b"next"


@given(st.binary(max_size=60).filter(lambda data: not set(data) & {0x0B, 0x1C}), st.data())
def test_dropping_at_any_byte_leaves_the_next_frame_whole(content: bytes, data: st.DataObject) -> None:
    framed = frame(b"M" + content)
    cut = data.draw(st.integers(1, len(framed) - 1))
    reader = FrameReader()
    assert reader.feed(framed[:cut]) == []
    reader.drop()
    pieces = reader.feed(framed[cut:]) + reader.feed(frame(b"next"))
    assert [getattr(piece, "size", piece) for piece in pieces] == [len(content) + 1, b"next"]


def test_a_part_of_the_budget_is_for_small_frames() -> None:
    budget = Budget(BUDGET)
    limit: Callable[[int], int] = budget.limit_for
    assert limit(1000) == BUDGET
    assert limit(LARGE) == largest_frame_bytes(BUDGET) == 7 * 2**20
