"""A pytest plugin: a test leaves no open connection behind, and no failed task that nobody has awaited.

The garbage collector reports both whenever it happens to run, so that another test would fail. Here it runs after each
test.
"""

import gc
import logging
import re
import sys
import traceback
from collections.abc import Generator
from pathlib import Path

import pytest

_OF_A_LIBRARY = re.compile(r"coro=<.* defined at [^>]*site-packages")


class NeverRetrieved(logging.Handler):
    """Keeps asyncio's reports of failed tasks whose exception nobody has looked at.

    A library's own tasks are left out: aiokafka shields the commit of offsets, and asyncio forgets a shielded task when
    the consumer that waits for it is stopped.
    """

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        words = record.getMessage()
        if words.startswith("Task exception was never retrieved") and not _OF_A_LIBRARY.search(words):
            self.texts.append(logging.Formatter().format(record))

    def listen(self) -> None:
        """Hears asyncio's reports; a test that sets up logging may have taken this handler away."""
        logger = logging.getLogger("asyncio")
        if self not in logger.handlers:
            logger.addHandler(self)


_never_retrieved = NeverRetrieved()


def pytest_collection_finish() -> None:
    # What is frozen is not looked through again. A collection after each test then costs about a millisecond.
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    _never_retrieved.listen()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None]:
    """Fails the test that leaves an open connection, or a failed task that nobody has awaited, to the collector.

    Without a collection here the report would come whenever the collector runs, and fail another test.
    """
    try:
        return (yield)
    finally:
        left = _left_behind(item)
        if left:
            pytest.fail("the test leaves behind:\n\n" + "\n".join(left), pytrace=False)


_frozen_for: set[Path] = set()


def _left_behind(item: pytest.Item) -> list[str]:
    unraisable: list[str] = []

    def note(one: "sys.UnraisableHookArgs") -> None:
        unraisable.append(f"{one.object!r}\n" + "".join(traceback.format_exception(one.exc_value)))

    hook, sys.unraisablehook = sys.unraisablehook, note
    try:
        if isinstance(item, pytest.Function):
            item.funcargs.clear()  # the fixtures' values are over, and would hide what they hold
        gc.collect()
    finally:
        sys.unraisablehook = hook
    if item.path not in _frozen_for:  # its first test has imported what the module needs
        _frozen_for.add(item.path)
        gc.freeze()
    left, _never_retrieved.texts = unraisable + _never_retrieved.texts, []
    return left
