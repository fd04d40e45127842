"""The fixtures that every member's tests share, and how deep the suite looks."""

import json
import platform
import re
import time
from collections import Counter
from pathlib import Path

import pytest
import structlog
from hypothesis import settings

from chassis.testing.depth import DEPTH

# How long one example takes says how busy the machine is: pytest's own time limit is what ends a test that hangs.
settings.register_profile("suite", deadline=None, max_examples=DEPTH.examples(100))
settings.load_profile("suite")
# A logged exception with each frame's variables costs 150 times what its plain traceback costs.
structlog.configure(
    processors=[
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        if isinstance(one, structlog.dev.ConsoleRenderer)
        else one
        for one in structlog.get_config()["processors"]
    ]
)

pytest_plugins = ["local_stack.fixtures", "local_stack.left_behind", "local_stack.running"]
_USUAL_SECONDS = 180
_OF_THE_DEPTH = {"DEPTH", "DEATHS_AT_EACH_POINT", "Deaths"}
"""The names under which a test module has a number of ``chassis.testing.depth``."""
_started_at = time.time()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--depth-report", type=Path, help="write what ran, how deep, and what came of it, as JSON")
    parser.addoption("--deep", action="store_true", help="only the tests that SUITE_DEPTH makes deeper")


def pytest_report_header() -> str:
    return f"suite depth: {DEPTH.name}"


def _is_deep(item: pytest.Item) -> bool:
    """Whether SUITE_DEPTH changes the test: it is hypothesis', or its module takes a number from the depth."""
    if not isinstance(item, pytest.Function):
        return False
    return getattr(item.obj, "is_hypothesis_test", False) or not _OF_THE_DEPTH.isdisjoint(vars(item.module))


def _longest_first(items: list[pytest.Item]) -> None:
    """Orders files by what their tests may take: a time limit of its own says that a test takes long."""
    weights: Counter[Path] = Counter()
    for item in items:
        marker = item.get_closest_marker("timeout")
        weights[item.path] += round(marker.args[0] if marker is not None and marker.args else 2)
    items.sort(key=lambda item: (-weights[item.path], str(item.path)))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The files that take longest come first: two workers then end at about the same time.

    A deeper look takes longer: each test's own time limit grows with it.
    """
    if hasattr(config, "workerinput"):
        _longest_first(items)
    if config.getoption("--deep"):
        config.hook.pytest_deselected(items=[one for one in items if not _is_deep(one)])
        items[:] = [one for one in items if _is_deep(one)]
    if DEPTH.patience == 1:
        return
    for item in items:
        marker = item.get_closest_marker("timeout")
        seconds = marker.args[0] if marker is not None and marker.args else _USUAL_SECONDS
        item.add_marker(pytest.mark.timeout(seconds * DEPTH.patience), append=False)


_NUMBERS = re.compile(r"\bseeds?\b|_SEED=|\bsteps\b|\bpages\b|\bp50\b")
"""What a deep test prints of itself; logs and tracebacks of its subject stay out of the report."""


def _said(terminalreporter: pytest.TerminalReporter) -> list[dict[str, object]]:
    """The seconds and the last printed numbers of each test that took a second or more and passed."""
    return [
        {
            "test": one.nodeid,
            "seconds": round(one.duration, 1),
            "last_lines": [line for line in one.capstdout.splitlines() if _NUMBERS.search(line)][-2:],
        }
        for one in terminalreporter.getreports("passed")
        if one.when == "call" and one.duration >= 1
    ]


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, exitstatus: int, config: pytest.Config) -> None:
    path = config.getoption("--depth-report")
    if path is None:
        return
    counted = {
        outcome: len([one for one in found if one.when == "call" or outcome != "passed"])
        for outcome in ("passed", "failed", "error", "skipped")
        if (found := terminalreporter.getreports(outcome))
    }
    report = {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "seconds": round(time.time() - _started_at),
        "python": platform.python_version(),
        "exit_status": int(exitstatus),
        "depth": DEPTH.as_json(),
        "tests": counted,
        "said": _said(terminalreporter),
        "failed": sorted(one.nodeid for one in terminalreporter.getreports("failed")),
    }
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
