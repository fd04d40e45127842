"""MLLP frames (VT content FS CR) out of a stream of bytes, in whatever pieces it arrives.

Frames are found by C code over one buffer, and each byte is searched once. Junk, repeated VT and oversized frames are
dropped as they come, so the buffer never exceeds one frame of the allowed size and one read.
"""

import re
from dataclasses import dataclass
from typing import Final, TypeAlias

START: Final = b"\x0b"
END: Final = b"\x1c\r"
DEFAULT_MAX_FRAME_BYTES: Final = 64 * 2**20

_START_CODE: Final = START[0]
_BARE_END: Final = b"\x1c"
_ANY_END: Final = re.compile(rb"\x1c[\r\n\x0b]")
"""FS CR, and its variants in the field: FS LF, or FS alone directly before the next frame."""
_RESTART: Final = b"\x0bMSH"
_HARMLESS: Final = b"\r\n\x00 "
_HEAD_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class Oversized:
    """A frame that was dropped while it came: its first bytes (to answer its MSH) and its size in bytes.

    The size tells the reason: above the limit, or dropped by ``FrameReader.drop`` for want of memory.
    """

    head: bytes
    size: int

    @classmethod
    def of(cls, content: bytes) -> "Oversized":
        """The parts that are kept of a whole frame that is dropped."""
        return cls(content[:_HEAD_BYTES], len(content))


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A frame of ``size`` bytes without an end: the next frame began inside it. It is never acknowledged."""

    size: int


Piece: TypeAlias = bytes | Oversized | Unfinished


def frame(content: bytes) -> bytes:
    """``content`` between VT and FS CR; ValueError when it holds a VT or FS, which would end the frame early."""
    if START in content or _BARE_END in content:
        raise ValueError("the message holds a byte that delimits MLLP frames (0x0B or 0x1C)")
    return b"\x0b%b\x1c\r" % content


class FrameReader:
    """Takes bytes, gives frames. ``junk_bytes`` counts the bytes between frames, except line ends and blanks."""

    __slots__ = ("_buffer", "_in_frame", "_max", "_oversized_head", "_oversized_size", "_searched", "junk_bytes")

    def __init__(self, max_frame_bytes: int = DEFAULT_MAX_FRAME_BYTES) -> None:
        self._max = max_frame_bytes
        self._buffer = bytearray()
        self._in_frame = False
        self._searched = 0
        self._oversized_head: bytes | None = None
        self._oversized_size = 0
        self.junk_bytes = 0

    @property
    def buffered_bytes(self) -> int:
        """Bytes held of an unfinished frame."""
        return len(self._buffer)

    @property
    def discarded_bytes(self) -> int:
        """Bytes dropped so far of an oversized frame; 0 when none is arriving."""
        return self._oversized_size if self._oversized_head is not None else 0

    @property
    def is_in_frame(self) -> bool:
        """Whether a frame has begun and not ended."""
        return self._in_frame

    def drop(self) -> None:
        """Drop the unfinished frame and the rest of it as it comes; at its end it is given as an ``Oversized``."""
        if self._in_frame and self._oversized_head is None:
            self._let_go()

    @property
    def ends_in_bare_fs(self) -> bool:
        """Whether the last byte is an FS: some senders leave out the CR and wait for their answer."""
        return self._in_frame and self._buffer.endswith(_BARE_END)

    def feed(self, data: bytes) -> list[Piece]:
        """Take the next bytes of the stream and return the frames that they complete, in order."""
        if not self._in_frame and data[:1] == START and data.find(_BARE_END) == len(data) - 2 and data[-1:] == b"\r":
            content = data[1:-2]
            if START not in content and 0 < len(content) <= self._max:
                return [content]
        self._buffer += data
        pieces: list[Piece] = []
        position = 0
        while self._in_frame or (position := self._begin(position)) < len(self._buffer):
            end = _ANY_END.search(self._buffer, max(self._searched, position))
            if end is None:
                break
            self._complete(position, end.start(), pieces)
            # A VT in place of the CR begins the next frame.
            position = end.end() if end[0] != b"\x1c\x0b" else end.start() + 1
        del self._buffer[:position]
        self._limit()
        # The CR of an FS at the very end may come with the next bytes.
        self._searched = max(0, len(self._buffer) - 1)
        return pieces

    def flush_bare_fs(self) -> list[Piece]:
        """Treat a trailing FS without CR as the end of the frame."""
        if not self.ends_in_bare_fs:
            return []
        pieces: list[Piece] = []
        self._complete(0, len(self._buffer) - 1, pieces)
        self._buffer.clear()
        self._searched = 0
        return pieces

    def _begin(self, position: int) -> int:
        """Move to the content of the next frame, or to the end when no frame begins."""
        start = self._buffer.find(START, position)
        end = len(self._buffer) if start < 0 else start
        if end > position:
            self.junk_bytes += len(self._buffer[position:end].strip(_HARMLESS))
        self._in_frame = start >= 0
        return end + 1 if self._in_frame else end

    def _complete(self, position: int, end: int, pieces: list[Piece]) -> None:
        self._in_frame = False
        if self._oversized_head is not None:
            pieces.append(Oversized(self._oversized_head, self._oversized_size + end - position))
            self._oversized_head = None
            return
        with memoryview(self._buffer) as view:
            content = bytes(view[position:end])
        if _START_CODE in content:
            content = self._restarted(content, pieces)
        if not content:
            self.junk_bytes += len(START) + len(END)
            return
        pieces.append(content if len(content) <= self._max else Oversized.of(content))

    def _restarted(self, content: bytes, pieces: list[Piece]) -> bytes:
        """The last message of a frame inside which another frame began."""
        stripped = content.lstrip(START)
        self.junk_bytes += len(content) - len(stripped)
        restart = stripped.rfind(_RESTART)
        if restart < 0:
            return stripped
        pieces.append(Unfinished(restart))
        return stripped[restart + 1 :]

    def _limit(self) -> None:
        if not self._in_frame:
            return
        if self._oversized_head is not None:
            # Keeps the last byte: it may be the FS of the end.
            dropped = max(0, len(self._buffer) - 1)
            self._oversized_size += dropped
            del self._buffer[:dropped]
        elif self._buffer[:1] == START:
            kept = self._buffer.lstrip(START)
            self.junk_bytes += len(self._buffer) - len(kept)
            self._buffer = kept
        elif len(self._buffer) > self._max + 1:  # the FS of the end
            self._let_go()

    def _let_go(self) -> None:
        self._oversized_head = bytes(self._buffer[:_HEAD_BYTES])
        self._oversized_size = max(0, len(self._buffer) - 1)
        # The last byte stays: it may be the FS of the end.
        self._buffer = self._buffer[-1:]
        self._searched = 0
