"""Shared by the rows: pairs measured in turn, their medians, a database and topics for each row."""

import asyncio
import json
import os
import secrets
import statistics
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import structlog
import uvloop
from aiokafka.admin import AIOKafkaAdminClient

from chassis.messaging import topics
from chassis.store import schema

Measure = Callable[[], Awaitable[float]]
PAIRS = 5
PROGRESS = "· "
"""The beginning of a row's progress lines on standard error."""
ROOT = Path(__file__).resolve().parents[1]
DRIVER = ROOT / "bench" / "driver.py"


@asynccontextmanager
async def database() -> AsyncIterator[str]:
    """The URL of a new database with the chassis' tables; dropped at the end."""
    admin_url = os.environ["POSTGRES_ADMIN_URL"]
    name = f"bench_{secrets.token_hex(6)}"
    admin = await asyncpg.connect(admin_url)
    await admin.execute(f'CREATE DATABASE "{name}"')
    url = urlunsplit(urlsplit(admin_url)._replace(path=f"/{name}"))
    connection = await asyncpg.connect(url)
    await connection.execute(schema.whole())
    await connection.close()
    try:
        yield url
    finally:
        await admin.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        await admin.close()


@asynccontextmanager
async def empty_database() -> AsyncIterator[str]:
    """The URL of a new database for a service's own migrations; dropped at the end."""
    async with database() as url:
        connection = await asyncpg.connect(url)
        await connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        await connection.close()
        yield url


@asynccontextmanager
async def kafka_topics() -> AsyncIterator[tuple[str, str]]:
    """The brokers' address and a prefix whose topics exist; deleted at the end."""
    bootstrap = os.environ["KAFKA_BOOTSTRAP_SERVERS"]
    prefix = f"b{secrets.token_hex(4)}."
    made = await topics.ensure({"bootstrap_servers": bootstrap}, prefix=prefix)
    try:
        yield bootstrap, prefix
    finally:
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
        await admin.start()
        await admin.delete_topics(made)
        await admin.close()


@contextmanager
def program(
    *arguments: str, log: Path, environment: Mapping[str, str] | None = None
) -> "Iterator[subprocess.Popen[bytes]]":
    """A program of this Python in a separate process, with its output in ``log``; killed at the end."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=ROOT,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def driven(
    port: int, connections: int, seconds: float, rate: float | None = None, due: Path | None = None
) -> dict[str, Any]:
    """The driver's result for one load (``bench/driver.py``). Blocks; from a coroutine call it in a thread."""
    command = [sys.executable, str(DRIVER), str(port), str(connections), str(seconds)]
    command += [] if rate is None else [str(rate)]
    command += [] if due is None else ["--due", str(due)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError((done.stderr.strip().splitlines() or ["the driver said nothing"])[-1])
    report: dict[str, Any] = json.loads(done.stdout)
    return report


async def listening(port: int, timeout_seconds: float = 60) -> None:
    """Returns when the port accepts connections. Raises ``TimeoutError``."""
    async with asyncio.timeout(timeout_seconds):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return


async def pairs(ours: Measure, floor: Measure, number: int = PAIRS) -> tuple[float, float, float]:
    """Medians of our figures, the floor's, and the ratio pair by pair; measured in turn, after one warm-up of both."""
    await ours()
    await floor()
    measured = []
    for turn in range(number):
        measured.append((await ours(), await floor()))
        progress(f"pair {turn + 1} of {number}: {measured[-1][0]:,.0f} beside {measured[-1][1]:,.0f}")
    ratio = statistics.median(a / b for a, b in measured)
    return statistics.median(a for a, _ in measured), statistics.median(b for _, b in measured), ratio


def progress(words: str) -> None:
    """Prints a row's progress."""
    print(PROGRESS + words, file=sys.stderr, flush=True)


def row(
    identifier: str, step: str, figures: tuple[float, float | None, float | None], mark: str, *, met: bool
) -> dict[str, Any]:
    """One row of the report."""
    ours, floor, ratio = figures
    return {
        "id": identifier,
        "step": step,
        "ours": round(ours, 3),
        "floor": None if floor is None else round(floor, 3),
        "ratio": None if ratio is None else round(ratio, 3),
        "mark": mark,
        "met": met,
    }


def at_least(identifier: str, step: str, figures: tuple[float, float, float], least: float) -> dict[str, Any]:
    """A row whose mark is a minimum ratio to the floor."""
    return row(identifier, step, figures, f"≥ {least:g} × the floor", met=figures[2] >= least)


def main(measure: Callable[[], Awaitable[list[dict[str, Any]]]]) -> None:
    """Runs the rows of a program and prints them."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))  # standard output is the report's
    json.dump(uvloop.run(measure()), sys.stdout, ensure_ascii=False)
