"""A command with an unusable number reports it and starts nothing; a command told to end leaves nothing behind."""

import argparse
import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from local_stack.arguments import above_zero, at_least
from local_stack.settings import ROOT

COMMANDS = [
    ("tests.chaos.__main__ --runs 0", "--runs: '0' is not a whole number of 1 or more"),
    ("tests.chaos.__main__ --seconds -1", "--seconds: '-1' is not a number above 0"),
    ("tests.chaos.soak --minutes 0", "--minutes: '0' is not a number above 0"),
    ("tests.chaos.soak --minutes 15 --warm-up 15", "--minutes: 4 more than --warm-up at least"),
    ("simulate --seeds 0", "--seeds: '0' is not a whole number of 1 or more"),
    ("bench.__main__ --long nan p1", "--long: 'nan' is not a number above 0"),
    ("bench.sizing --soak nowhere.json", "--soak: nowhere.json is not there"),
]
CONFTEST = """
import contextlib, pathlib, pytest
from local_stack.fixtures import CHOSEN
from local_stack.servers import Servers, Stack

@contextlib.contextmanager
def started():
    try:
        yield Stack("", "", "")
    finally:
        pathlib.Path("stopped").touch()

@pytest.hookimpl(trylast=True)
def pytest_configure(config):
    config.stash[CHOSEN] = Servers("a fake", started)
"""
WAITS = """
import os, signal, time

def test_waits(stack):
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(300)
"""


@pytest.mark.parametrize(("line", "words"), COMMANDS, ids=[line for line, _ in COMMANDS])
def test_a_command_refuses_a_number_that_it_cannot_use(
    line: str, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = line.split()
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "simulation"))
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(command[0]).main()
    assert ended.value.code == 2
    assert f"error: argument {words}" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "x", "1.5", "0", "-3"])
def test_a_whole_number_has_its_least(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is not a whole number of 1 or more"):
        at_least(1)(text)


@pytest.mark.parametrize("text", ["", "x", "nan", "inf", "0", "-0.1"])
def test_a_duration_is_above_zero(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is not a number above 0"):
        above_zero(text)


def test_numbers_that_are_right_come_through() -> None:
    assert (at_least(1)("1"), at_least(0.0)("0"), above_zero("0.5")) == (1, 0.0, 0.5)


def test_tests_that_are_told_to_end_stop_their_servers(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_waits.py").write_text(WAITS)
    options = ["-p", "local_stack.fixtures", "-c", os.devnull, "--rootdir", ".", "--stack=embedded"]
    command = [sys.executable, "-m", "pytest", *options]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == pytest.ExitCode.INTERRUPTED, done.stdout + done.stderr
    assert (tmp_path / "stopped").exists()
