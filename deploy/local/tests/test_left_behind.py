"""The plugin that the root's conftest loads: what a test leaves behind fails that test, in every run."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from local_stack.left_behind import NeverRetrieved

CLEAN = "async def test_it():\n    await asyncio.sleep(0)\n"
NEVER_AWAITED = """
async def fail():
    raise KeyError("nobody looks")

async def test_it():
    asyncio.create_task(fail())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
"""
OPEN_SOCKET_IN_A_CYCLE = """
class Holder: pass

def test_it():
    holder = Holder()
    holder.itself, holder.socket = holder, socket.socket()
"""
OPEN_CONNECTION_OF_A_FIXTURE = """
@pytest.fixture
async def writer():
    async def talk(reader, writer):
        await asyncio.sleep(0)

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    yield writer
    server.close()

async def test_it(writer):
    writer.write(b"x")
"""


def run(tmp_path: Path, code: str) -> "subprocess.CompletedProcess[str]":
    file = tmp_path / "test_of_this.py"
    file.write_text(f"import asyncio, socket, pytest\n{code}\ndef test_after_it(): pass\n")
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "local_stack.left_behind", str(file)]
    return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False, timeout=120)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (NEVER_AWAITED, "Task exception was never retrieved"),
        (OPEN_SOCKET_IN_A_CYCLE, "unclosed <socket.socket"),
        (OPEN_CONNECTION_OF_A_FIXTURE, "unclosed transport"),
    ],
    ids=["a failed task", "a socket", "a connection"],
)
def test_what_a_test_leaves_behind_fails_that_test(tmp_path: Path, code: str, said: str) -> None:
    outcome = run(tmp_path, code)
    assert outcome.returncode == 1, outcome.stdout + outcome.stderr
    assert "ERROR at teardown of test_it" in outcome.stdout
    assert said in outcome.stdout
    assert "2 passed, 1 error" in outcome.stdout


def test_one_that_leaves_nothing_passes(tmp_path: Path) -> None:
    outcome = run(tmp_path, CLEAN)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


def test_a_librarys_own_task_is_left_out() -> None:
    ours = NeverRetrieved()
    for place in ("/project/.venv/lib/python3.11/site-packages/aiokafka/consumer.py:1", "/project/libs/x.py:1"):
        words = (
            f"Task exception was never retrieved\nfuture: <Task coro=<commit() done, defined at {place}> exception=E()>"
        )
        ours.emit(logging.LogRecord("asyncio", logging.ERROR, "", 1, words, (), None))
    (text,) = ours.texts
    assert "/project/libs/x.py" in text
