"""Numbers on a command line: argparse names the option and the reason, and nothing starts with a wrong number."""

import argparse
import asyncio
import math
import signal
from collections.abc import Callable
from typing import TypeVar

N = TypeVar("N", int, float)


def at_least(least: N) -> Callable[[str], N]:
    """An argparse ``type``: a number of the same type as ``least``, not below it."""
    kind = type(least)

    def number(text: str) -> N:
        try:
            found = kind(text)
        except ValueError:
            found = None
        if found is None or math.isnan(found) or found < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not {_WORDS[kind]} of {least:g} or more")
        return found

    return number


def above_zero(text: str) -> float:
    """An argparse ``type``: a number greater than 0."""
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not (found > 0 and math.isfinite(found)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return found


def end_on_sigterm() -> None:
    """Lets SIGTERM cancel the calling coroutine, which then closes everything that it started."""
    this = asyncio.current_task()
    if this is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, this.cancel)


_WORDS = {int: "a whole number", float: "a number"}
