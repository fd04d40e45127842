"""Frames out of a stream, however it is cut and whatever lies between them."""

import time
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hl7v2.mllp import FrameReader, Oversized, Unfinished, frame

MESSAGES = [b"MSH|^~\\&|A\rPID|%d\r" % number for number in range(100)]

contents = st.binary(min_size=1, max_size=40).map(lambda b: b.replace(b"\x0b", b"v").replace(b"\x1c", b"f"))
junk = st.binary(max_size=10).map(lambda b: b.replace(b"\x0b", b"v"))


def fed(stream: bytes, step: int = 0, **limits: int) -> list[object]:
    reader = FrameReader(**limits)
    step = step or len(stream) or 1
    return [piece for at in range(0, len(stream), step) for piece in reader.feed(stream[at : at + step])]


@pytest.mark.parametrize("step", [0, 1, 2, 3, 7, 64])
@pytest.mark.parametrize("count", [1, 2, 100])
def test_many_in_one_read_and_one_byte_at_a_time(count: int, step: int):
    assert fed(b"".join(map(frame, MESSAGES[:count])), step) == MESSAGES[:count]


@pytest.mark.parametrize("step", [0, 1, 5])
@pytest.mark.parametrize(
    "between", [b"\r", b"\r\n", b"junk", b"\x1c\r", b"\r\x1c", b"\x00", b"MSH|no frame\r", b"\x0b\x0b"]
)
def test_junk_between_frames(between: bytes, step: int):
    stream = between + between.join(map(frame, MESSAGES[:3])) + between
    assert fed(stream, step) == MESSAGES[:3]


@pytest.mark.parametrize("step", [0, 1])
@pytest.mark.parametrize("end", [b"\x1c", b"\x1c\n", b"\x1c\r"])
def test_other_ends_than_fs_cr(end: bytes, step: int):
    reader = FrameReader()
    stream = b"".join(b"\x0b" + message + end for message in MESSAGES[:3])
    step = step or len(stream)
    pieces = [p for at in range(0, len(stream), step) for p in reader.feed(stream[at : at + step])]
    assert reader.ends_in_bare_fs == (end == b"\x1c")
    assert pieces + reader.flush_bare_fs() == MESSAGES[:3]
    assert not reader.ends_in_bare_fs
    assert reader.flush_bare_fs() == []
    assert reader.feed(b"\r" + frame(MESSAGES[4])) == [MESSAGES[4]]


@pytest.mark.parametrize("step", [0, 1])
def test_frame_without_end_is_told_and_does_not_take_the_next_with_it(step: int):
    stream = b"\x0b" + MESSAGES[0] + frame(MESSAGES[1]) + frame(MESSAGES[2])
    assert fed(stream, step) == [Unfinished(len(MESSAGES[0])), MESSAGES[1], MESSAGES[2]]


def test_odd_bytes_inside_a_frame_are_kept():
    content = b"MSH|^~\\&|a\x0bb\x1cc\x1c\x1c\r"
    assert fed(b"\x0b" + content + b"\x1c\r") == [content[:-2]]


@pytest.mark.parametrize("step", [0, 1, 10])
@pytest.mark.parametrize("size", [100, 101, 102, 5000])
def test_size_limit(size: int, step: int):
    content = b"MSH|" + b"x" * (size - 4)
    pieces = fed(frame(MESSAGES[0]) + frame(content) + frame(MESSAGES[1]), step, max_frame_bytes=100)
    refused = content if size <= 100 else Oversized(content[:4096] if step == 0 else pieces[1].head, size)
    assert pieces == [MESSAGES[0], refused, MESSAGES[1]]


def test_oversized_frame_is_dropped_while_it_comes():
    reader = FrameReader(max_frame_bytes=2**20)
    chunk = b"x" * 2**18
    tracemalloc.start()
    try:
        assert reader.feed(b"\x0bMSH|") == []
        for _ in range(400):
            assert reader.feed(chunk) == []
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 * 2**20
    assert reader.discarded_bytes > 100 * 2**20 - 2**18
    (refused,) = reader.feed(b"\x1c\r")
    assert isinstance(refused, Oversized)
    assert refused.size == 100 * 2**20 + 4
    assert refused.head.startswith(b"MSH|x")
    assert reader.feed(frame(b"MSH")) == [b"MSH"]


@pytest.mark.parametrize("pattern", [b"\x0b", b"\x0bMSH", b"\x1c", b"x", b"\x0bx", b"\x1cx", b"\x0b\x1c\r", b"\x1c\r"])
def test_endless_pattern_costs_bounded_memory_and_linear_time(pattern: bytes):
    reader = FrameReader(max_frame_bytes=2**17)
    chunk = pattern * (2**16 // len(pattern))
    started = time.process_time()
    tracemalloc.start()
    try:
        for _ in range(8):
            reader.feed(chunk)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2**21
    assert time.process_time() - started < 20
    assert reader.junk_bytes or reader.discarded_bytes


def test_endless_frame_is_searched_once():
    reader = FrameReader()
    reader.feed(b"\x0b")
    chunk = b"x" * 1000
    started = time.process_time()
    for _ in range(20_000):
        reader.feed(chunk)
    assert time.process_time() - started < 5
    assert len(reader.feed(b"\x1c\r")[0]) == 20_000_000


@pytest.mark.parametrize("content", [b"a\x0bb", b"a\x1cb"])
def test_what_would_break_its_frame_is_not_framed(content: bytes):
    with pytest.raises(ValueError, match="0x0B"):
        frame(content)


@given(st.lists(st.tuples(junk, contents), max_size=6), st.lists(st.integers(1, 30), max_size=40))
def test_any_cut_gives_the_same_frames(parts: list[tuple[bytes, bytes]], cuts: list[int]):
    stream = b"".join(between + frame(content) for between, content in parts)
    reader = FrameReader()
    pieces, at = [], 0
    for size in cuts:
        pieces += reader.feed(stream[at : at + size])
        at += size
    pieces += reader.feed(stream[at:])
    assert pieces == [content for _, content in parts]
    assert reader.buffered_bytes == 0


@given(st.lists(st.binary(max_size=50), max_size=10), st.integers(1, 40))
def test_any_bytes_are_taken(chunks: list[bytes], limit: int):
    reader = FrameReader(max_frame_bytes=limit)
    for chunk in chunks:
        for piece in reader.feed(chunk):
            assert not isinstance(piece, bytes) or 0 < len(piece) <= limit
        assert reader.buffered_bytes <= limit + 1
    reader.flush_bare_fs()
    assert reader.feed(b"\x1c\r" + frame(b"x"))[-1] == b"x"
