"""Pytest fixtures: one real Kafka and one real Postgres per session.

The servers come from the first of these sources: ``KAFKA_BOOTSTRAP_SERVERS`` and ``POSTGRES_ADMIN_URL`` (running
servers); containers, where an engine has the images; the embedded stack. ``--stack`` chooses, and the session's header
names the source. Each test that asks for ``database_url`` gets its own database; ``topic_prefix`` keeps topics apart.
With ``-n 2`` (pytest-xdist) the controller starts the servers and tells its workers the addresses.
"""

import asyncio
import os
import secrets
import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import asdict
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from local_stack.engine import EngineError
from local_stack.ports import free_port
from local_stack.servers import Servers, Stack, choose

__all__ = ["CHOSEN", "Stack", "a_database", "free_port"]

CHOSEN = pytest.StashKey[Servers]()
_SHARED = pytest.StashKey[Stack]()
_RUNNING = pytest.StashKey[ExitStack]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--stack",
        choices=("auto", "embedded", "containers", "docker"),
        default=os.environ.get("STACK") or "auto",
        help="where Kafka and Postgres come from: containers (docker is the same word), embedded, or auto: containers "
        "where an engine has the images (default: STACK, else auto)",
    )


def pytest_configure(config: pytest.Config) -> None:
    told = getattr(config, "workerinput", {}).get("servers")
    if told is not None:
        shared = Stack(**told["stack"])
        config.stash[CHOSEN] = Servers(told["words"], lambda: nullcontext(shared), embedded=told["embedded"])
        return
    try:
        config.stash[CHOSEN] = choose(config.getoption("--stack"))
    except EngineError as error:
        raise pytest.UsageError(f"--stack containers: {error}") from error


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """pytest-xdist calls this in the controller for each worker before the worker starts."""
    config: pytest.Config = node.config
    if _SHARED not in config.stash:
        config.stash[_RUNNING] = ExitStack()
        config.stash[_SHARED] = config.stash[_RUNNING].enter_context(_started(config))
    servers = config.stash[CHOSEN]
    node.workerinput["servers"] = {
        "stack": asdict(config.stash[_SHARED]), "words": servers.words, "embedded": servers.embedded
    }  # fmt: skip


def pytest_unconfigure(config: pytest.Config) -> None:
    if _RUNNING in config.stash:
        config.stash[_RUNNING].close()


def _started(config: pytest.Config) -> AbstractContextManager[Stack]:
    """The session's servers, stopped at its end, also after SIGTERM."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # handled like Ctrl-C
    return config.stash[CHOSEN].started()


def pytest_report_header(config: pytest.Config) -> str:
    """Names the Kafka and Postgres of the tests, and the reason for the choice."""
    return f"stack: {config.stash[CHOSEN].words}"


@pytest.fixture(scope="session")
def stack(pytestconfig: pytest.Config) -> Iterator[Stack]:
    with _started(pytestconfig) as servers:
        yield servers


async def _run(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@contextmanager
def a_database(stack: Stack, *, copy_of: str | None = None) -> Iterator[str]:
    """The URL of a new database that is dropped at the end: empty, or a copy of the database at ``copy_of``."""
    name = f"test_{secrets.token_hex(6)}"
    template = f' TEMPLATE "{urlsplit(copy_of).path[1:]}"' if copy_of is not None else ""
    # Copying files costs a third less than writing each page to the server's log, but on a disk waits for 300 fsyncs.
    strategy = " STRATEGY FILE_COPY" if stack.is_in_memory else ""
    asyncio.run(_run(stack.postgres_admin_url, f'CREATE DATABASE "{name}"{template}{strategy}'))
    parts = urlsplit(stack.postgres_admin_url)
    yield urlunsplit(parts._replace(path=f"/{name}"))
    asyncio.run(_run(stack.postgres_admin_url, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))


@pytest.fixture
def database_url(stack: Stack) -> Iterator[str]:
    """The URL of a new, empty database that is dropped after the test."""
    with a_database(stack) as url:
        yield url


@pytest.fixture
def kafka_bootstrap(stack: Stack) -> str:
    return stack.kafka_bootstrap


@pytest.fixture
def topic_prefix() -> str:
    """A unique prefix for a test's topics and consumer groups."""
    return f"t{secrets.token_hex(4)}."
