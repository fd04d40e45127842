"""The server on real sockets: order, refusals, partners that misbehave, and a close that drops nothing."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest
from mllp_partner import WAIT_SECONDS, Recorder, acknowledge, connected, message, until

from hl7v2.mllp import Peer, Server, frame, start_server


@pytest.fixture
async def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
async def server(recorder: Recorder) -> AsyncIterator[Server]:
    async with await start_server(
        recorder, "127.0.0.1", 0, max_frame_bytes=2**20, idle_timeout_seconds=60, on_event=recorder.events.append
    ) as listening:
        yield listening


@pytest.mark.parametrize("count", [2, 100])
async def test_many_messages_in_one_write_are_answered_in_order(server: Server, recorder: Recorder, count: int):
    async with connected(server) as partner:
        await partner.send(b"".join(frame(message(str(n))) for n in range(count)))
        assert [await partner.answer() for _ in range(count)] == [("AA", str(n)) for n in range(count)]
    assert recorder.frames == [(1, str(n)) for n in range(count)]


async def test_one_byte_at_a_time(server: Server):
    async with connected(server) as partner:
        for byte in b"junk" + frame(message("1")) + b"\r\n" + frame(message("2")):
            partner.writer.write(bytes([byte]))
            await asyncio.sleep(0)
        assert await partner.answer() == ("AA", "1")
        assert await partner.answer() == ("AA", "2")


async def test_frame_that_ends_in_fs_alone_is_answered(server: Server):
    async with connected(server) as partner:
        await partner.send(b"\x0b" + message("1") + b"\x1c")
        assert await partner.answer() == ("AA", "1")
        await partner.send(b"\r" + frame(message("2")))
        assert await partner.answer() == ("AA", "2")


async def test_frame_without_end_is_not_acknowledged(server: Server, recorder: Recorder):
    async with connected(server) as partner:
        await partner.send(b"\x0b" + message("1") + frame(message("2")))
        assert await partner.answer() == ("AA", "2")
    assert recorder.frames == [(1, "2")]
    assert "frame-unfinished" in recorder.names()


async def test_too_large_is_refused_and_the_connection_goes_on(server: Server, recorder: Recorder):
    async with connected(server) as other, connected(server) as partner:
        sending = asyncio.ensure_future(partner.send(frame(message("BIG", padding=3 * 2**20)) + frame(message("2"))))
        await other.send(frame(message("other")))
        assert await other.answer() == ("AA", "other")
        assert await partner.answer() == ("AR", "BIG")
        assert await partner.answer() == ("AA", "2")
        await sending
    assert [control_id for _, control_id in recorder.frames] == ["other", "2"]
    assert "frame-too-large" in recorder.names()


async def test_far_too_large_ends_the_connection(server: Server, recorder: Recorder):
    async with connected(server) as partner:
        with contextlib.suppress(ConnectionError):
            await partner.send(b"\x0b" + message("BIG", padding=8 * 2**20))
        assert await partner.is_closed_by_server()
    assert "frame-too-large" in recorder.names()


@pytest.mark.parametrize("pattern", [b"\x0b", b"MSH|no frame\r", b"\x0b\x1c\r"])
async def test_endless_junk_ends_its_connection_only(server: Server, recorder: Recorder, pattern: bytes):
    async with connected(server) as partner, connected(server) as other:
        with contextlib.suppress(ConnectionError):
            for _ in range(40):
                await partner.send(pattern * (2**16 // len(pattern)))
        assert await partner.is_closed_by_server()
        await other.send(frame(message("1")))
        assert await other.answer() == ("AA", "1")
    assert recorder.names().count("junk") >= 1


async def test_idle_connection_is_closed(recorder: Recorder):
    async with (
        await start_server(recorder, "127.0.0.1", 0, idle_timeout_seconds=2, on_event=recorder.events.append) as server,
        connected(server) as partner,
    ):
        await partner.send(b"\x0bMSH|half a message")
        assert await partner.is_closed_by_server()
    assert "idle" in recorder.names()
    assert recorder.frames == []


async def test_slow_handler_is_not_idle(recorder: Recorder):
    recorder.gate = asyncio.Event()
    async with (
        await start_server(
            recorder, "127.0.0.1", 0, idle_timeout_seconds=60, on_event=recorder.events.append
        ) as server,
        connected(server) as partner,
    ):
        await partner.send(frame(message("1")))
        await until(lambda: recorder.entered)
        (connection,) = server._connections
        connection._last_activity -= 3600  # the handler takes an hour
        connection._check_idle()
        recorder.gate.set()
        assert await partner.answer() == ("AA", "1")


async def test_half_closed_connection_gets_its_answers(server: Server, recorder: Recorder):
    recorder.gate = asyncio.Event()
    async with connected(server) as partner:
        await partner.send(b"".join(frame(message(str(n))) for n in range(20)))
        partner.writer.write_eof()
        await until(lambda: any(connection._is_ending for connection in server._connections))
        recorder.gate.set()
        assert [await partner.answer() for _ in range(20)] == [("AA", str(n)) for n in range(20)]
        assert await partner.is_closed_by_server()


async def test_sender_that_does_not_wait_for_answers_loses_nothing(server: Server, recorder: Recorder):
    recorder.gate = asyncio.Event()
    async with connected(server) as partner:
        await partner.send(b"".join(frame(message(str(n))) for n in range(20)))
        await until(lambda: recorder.entered)
    sock = socket.create_connection(("127.0.0.1", server.port))
    sock.sendall(frame(message("x")))
    sock.close()
    await until(lambda: server.connections == 2)
    recorder.gate.set()
    await until(lambda: len(recorder.frames) == 21)
    assert [c for n, c in recorder.frames if n == 1] == [str(n) for n in range(20)]


async def test_handler_that_fails_gives_no_answer(recorder: Recorder):
    calls = 0

    async def fail(content: bytes, peer: Peer) -> bytes:
        nonlocal calls
        calls += 1
        raise RuntimeError("a bug")

    async with (
        await start_server(fail, "127.0.0.1", 0, on_event=recorder.events.append) as server,
        connected(server) as partner,
    ):
        await partner.send(frame(message("1")) + frame(message("2")))
        with pytest.raises(EOFError):
            await partner.answer()
    assert calls == 1
    (failed,) = [event for event in recorder.events if event.name == "handler-failed"]
    assert isinstance(failed.error, RuntimeError)


@pytest.mark.parametrize("answer", [None, b"a\x1cb"])
async def test_no_answer_and_an_answer_that_cannot_be_framed(answer: bytes | None, recorder: Recorder):
    async def handle(content: bytes, peer: Peer) -> bytes | None:
        return answer if b"|1|P" in content else await acknowledge(content, peer)

    async with (
        await start_server(handle, "127.0.0.1", 0, on_event=recorder.events.append) as server,
        connected(server) as partner,
    ):
        await partner.send(frame(message("1")) + frame(message("2")))
        if answer is None:
            assert await partner.answer() == ("AA", "2")
        else:
            assert await partner.is_closed_by_server()
            assert "handler-failed" in recorder.names()


async def test_close_answers_what_has_arrived_whole(recorder: Recorder):
    recorder.gate = asyncio.Event()
    server = await start_server(recorder, "127.0.0.1", 0, on_event=recorder.events.append)
    async with connected(server) as busy, connected(server) as quiet:
        await busy.send(b"".join(frame(message(str(n))) for n in range(10)) + b"\x0bMSH|unfinished")
        await until(lambda: server.connections == 2)
        port = server.port
        reached = asyncio.ensure_future(busy.answer())
        await until(lambda: recorder.entered)
        closing = asyncio.ensure_future(server.close())
        await asyncio.sleep(0)
        with pytest.raises(OSError, match="Connect"):
            await asyncio.open_connection("127.0.0.1", port)
        recorder.gate.set()
        assert await reached == ("AA", "0")
        assert [await busy.answer() for _ in range(9)] == [("AA", str(n)) for n in range(1, 10)]
        assert await busy.is_closed_by_server()
        assert await quiet.is_closed_by_server()
        await closing
    assert server.connections == 0
    assert recorder.names().count("disconnected") == 2


async def test_close_cuts_off_what_takes_too_long(recorder: Recorder):
    recorder.gate = asyncio.Event()
    server = await start_server(recorder, "127.0.0.1", 0)
    async with connected(server) as partner:
        await partner.send(frame(message("1")))
        await until(lambda: recorder.entered)
        async with asyncio.timeout(WAIT_SECONDS):
            await server.close(drain_seconds=0.05)
        with pytest.raises((EOFError, ConnectionResetError)):
            await partner.answer()
    assert recorder.frames == []


async def test_flood_is_held_back(recorder: Recorder):
    recorder.gate = asyncio.Event()
    async with (
        await start_server(recorder, "127.0.0.1", 0, max_frame_bytes=2**16) as server,
        connected(server) as partner,
    ):
        flood = frame(message("1", padding=10_000)) * 5000
        sending = asyncio.ensure_future(partner.send(flood))
        await asyncio.sleep(0.2)
        assert not sending.done()
        recorder.gate.set()
        for _ in range(5000):
            assert await partner.answer() == ("AA", "1")
        await sending


async def test_partner_that_never_reads_its_answers_is_cut_off(recorder: Recorder):
    async def large(content: bytes, peer: Peer) -> bytes:
        return b"x" * 2**20

    async with (
        await start_server(large, "127.0.0.1", 0, idle_timeout_seconds=2, on_event=recorder.events.append) as server,
        connected(server) as partner,
    ):
        await partner.send(frame(message("1")) * 50)
        await until(lambda: "answer-not-taken" in recorder.names())
        await until(lambda: server.connections == 0)


async def test_events_tell_connections_and_hold_no_content(server: Server, recorder: Recorder):
    async with connected(server) as partner:
        await partner.send(b"PATIENT-ROE" + frame(message("1")) + b"\r\n")
        await partner.answer()
    await until(lambda: "disconnected" in recorder.names())
    assert recorder.names() == ["connected", "junk", "disconnected"]
    assert "ROE" not in repr(recorder.events)
