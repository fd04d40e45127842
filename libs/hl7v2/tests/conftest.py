"""Services run on uvloop, whose transports differ from asyncio's, so tests with an event loop run on both.

Tests find their shared module (``mllp_partner``) beside them.
"""

import asyncio
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Runs each test once per event loop; uvloop is left out where it is not installed."""
    try:
        import uvloop  # noqa: PLC0415  # optional
    except ImportError:
        return {"asyncio": asyncio.new_event_loop}
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
