"""The plugin that the root's conftest loads: what a test leaves behind fails that test, in every run."""

import logging
import subprocess
import sys

import pytest

from local_stack.left_behind import NeverRetrieved

CLEAN = "async def test_clean():\n    await asyncio.sleep(0)\n"
NEVER_AWAITED = """
async def fail():
    raise KeyError("nobody looks")

async def test_task():
    asyncio.create_task(fail())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
"""
OPEN_SOCKET_IN_A_CYCLE = """
class Holder: pass

def test_socket():
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

async def test_connection(writer):
    writer.write(b"x")
"""
MODULES = {
    "clean": CLEAN,
    "task": NEVER_AWAITED,
    "socket": OPEN_SOCKET_IN_A_CYCLE,
    "connection": OPEN_CONNECTION_OF_A_FIXTURE,
}


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The output of one run over a module of each kind, each with a second test that leaves nothing."""
    folder = tmp_path_factory.mktemp("left")
    for name, code in MODULES.items():
        text = f"import asyncio, socket, pytest\n{code}\ndef test_after_{name}(): pass\n"
        (folder / f"test_of_{name}.py").write_text(text)
    (folder / "pytest.ini").write_text(
        "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "local_stack.left_behind", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False, timeout=120)
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("task", "Task exception was never retrieved"),
        ("socket", "unclosed <socket.socket"),
        ("connection", "unclosed transport"),
    ],
)
def test_what_a_test_leaves_behind_fails_that_test(said: str, name: str, words: str) -> None:
    _, _, report = said.partition(f"ERROR at teardown of test_{name} ")
    assert words in report.partition(" ERROR at teardown of ")[0]


def test_all_others_pass(said: str) -> None:
    assert "8 passed, 3 errors" in said


def test_a_librarys_own_task_is_left_out() -> None:
    ours = NeverRetrieved()
    for place in ("/project/.venv/lib/python3.11/site-packages/aiokafka/consumer.py:1", "/project/libs/x.py:1"):
        words = (
            f"Task exception was never retrieved\nfuture: <Task coro=<commit() done, defined at {place}> exception=E()>"
        )
        ours.emit(logging.LogRecord("asyncio", logging.ERROR, "", 1, words, (), None))
    (text,) = ours.texts
    assert "/project/libs/x.py" in text
