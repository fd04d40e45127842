"""Pytest fixtures: one real Kafka and one real Postgres per session, wherever they come from.

Asked in this order: ``KAFKA_BOOTSTRAP_SERVERS`` / ``POSTGRES_ADMIN_URL`` (servers that run already), then the embedded
ones. Each test that asks for ``database_url`` gets a database of its own; ``topic_prefix`` keeps topics apart.
"""

import asyncio
import os
import secrets
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from local_stack import kafka, postgres

ROOT = Path(__file__).resolve().parents[4]
JARS = ROOT / ".local" / "kafka-jars"


@dataclass(frozen=True)
class Stack:
    """The servers of this session and a word on where they came from."""

    postgres_admin_url: str
    kafka_bootstrap: str
    origin: str


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _stop(process: "subprocess.Popen[bytes]", how: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, how)
    with suppress(subprocess.TimeoutExpired):
        process.wait(20)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextmanager
def embedded_stack() -> Iterator[Stack]:
    """A Kafka and a Postgres of one's own in a temporary folder, stopped at the end whatever happens."""
    with tempfile.TemporaryDirectory(prefix="suite-stack-", ignore_cleanup_errors=True) as folder:
        base = Path(folder)
        base.chmod(0o755)  # Postgres runs as nobody when the tests run as root
        database = postgres.EmbeddedPostgres(base / "postgres", free_port())
        jars = Path(os.environ.get("KAFKA_JARS_DIR", JARS))
        kafka.fetch_jars(jars)
        broker = kafka.EmbeddedKafka(base / "kafka", free_port(), free_port(), jars)
        database.prepare()
        broker.prepare()
        running = [(database.spawn(base / "postgres.log"), signal.SIGINT)]
        running.append((broker.spawn(base / "kafka.log"), signal.SIGTERM))
        try:
            asyncio.run(database.wait_ready())
            asyncio.run(broker.wait_ready())
            yield Stack(database.admin_url, broker.bootstrap, "embedded")
        finally:
            for process, how in reversed(running):
                _stop(process, how)


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    given = os.environ.get("POSTGRES_ADMIN_URL"), os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    if given[0] and given[1]:
        yield Stack(given[0], given[1], "given by the environment")
        return
    with embedded_stack() as started:
        yield started


def pytest_report_header() -> str:
    """Says which Kafka and Postgres the tests run on."""
    given = "POSTGRES_ADMIN_URL" in os.environ and "KAFKA_BOOTSTRAP_SERVERS" in os.environ
    origin = "given by the environment" if given else f"embedded PostgreSQL and Apache Kafka {kafka.KAFKA_VERSION}"
    return f"stack: {origin}"


async def _run(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@pytest.fixture
def database_url(stack: Stack) -> Iterator[str]:
    """The URL of a new, empty database that is dropped after the test."""
    name = f"test_{secrets.token_hex(6)}"
    asyncio.run(_run(stack.postgres_admin_url, f'CREATE DATABASE "{name}"'))
    parts = urlsplit(stack.postgres_admin_url)
    yield urlunsplit(parts._replace(path=f"/{name}"))
    asyncio.run(_run(stack.postgres_admin_url, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))


@pytest.fixture
def kafka_bootstrap(stack: Stack) -> str:
    return stack.kafka_bootstrap


@pytest.fixture
def topic_prefix() -> str:
    """A prefix of its own for a test's topics and consumer groups."""
    return f"t{secrets.token_hex(4)}."
