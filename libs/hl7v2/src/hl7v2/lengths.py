"""Text fitted to a field's maximum length, counted as it stands in the message, escapes included."""

from typing import Final

from hl7v2.delimiters import Delimiters

CUT: Final = "..."
"""Ends a text that was cut."""


def encoded_length(text: str, delimiters: Delimiters, codec: str) -> int:
    """The number of characters that ``text`` takes in a message with these delimiters; ``codec`` writes the text."""
    return len(delimiters.escaped(text.encode(codec, "replace"), "").decode(codec))


def split(text: str, most: int, delimiters: Delimiters, codec: str) -> int:
    """The index that divides ``text`` so that its first part takes at most ``most`` characters in the message."""
    if len(text) <= most and encoded_length(text, delimiters, codec) <= most:
        return len(text)
    room = most
    for position, character in enumerate(text[: most + 1]):
        room -= encoded_length(character, delimiters, codec)
        if room < 0:
            return position
    return len(text)


def fitted(text: str, most: int, delimiters: Delimiters, codec: str) -> str:
    """``text`` whole when it takes at most ``most`` characters, else its beginning with ``...``."""
    if split(text, most, delimiters, codec) == len(text):
        return text
    return text[: split(text, max(most - len(CUT), 0), delimiters, codec)] + CUT[:most]
