"""R15: a full disk, no connection to be had, a name that does not resolve: refused, never AA, and healed alone."""

import asyncio
import secrets
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from chassis_bench_domain import open_store
from test_chassis_hl7_inbound import Bench, Desk, siu

from chassis.errors import StoreUnavailable
from chassis.hl7 import Hl7Listener
from chassis.observe import Metrics
from chassis.store import Store
from chassis.testing import eventually
from local_stack.ports import free_port
from local_stack.postgres import EmbeddedPostgres

pytestmark = pytest.mark.stack

NOTE = "x" * 5000
"""Long enough that the journal's table grows with every message or two."""
DISK_BYTES = 192 * 2**20
ALARM_SECONDS = 60
MOST_MESSAGES = 400


@asynccontextmanager
async def listening(store: Store) -> AsyncIterator[Bench]:
    desk, metrics = Desk(), Metrics()
    listener = Hl7Listener(
        store, host="127.0.0.1", port=0, open_work=desk.open_work, prefetch=desk.prefetch, handle=desk.handle,
        metrics=metrics,
    )  # fmt: skip
    running = asyncio.create_task(listener.run())

    async def listens() -> bool:
        return listener.port != 0

    await eventually(listens, what="a listening port")
    try:
        yield Bench(store, listener, desk, metrics)
    finally:
        await listener.stop()
        await asyncio.wait_for(running, 60)


async def refused_then_healed(bench: Bench, exhaust: Callable[[], Any], heal: Callable[[], Any]) -> None:
    """AA before; AE and an alarm while; the same messages AA after, each with one effect and nothing lost."""
    accepted = []
    assert (await bench.send(siu("C0", "P0", NOTE), "C0")).code == "AA"
    await bench.listener.check()
    await exhaust()
    began = time.monotonic()
    refused = ""
    for number in range(1, MOST_MESSAGES):
        code = (await bench.send(siu(f"C{number}", f"P{number}", NOTE), f"C{number}")).code
        if code != "AA":
            assert code == "AE"
            refused = f"C{number}"
            break
        accepted.append(f"C{number}")
    assert refused, "nothing was ever refused"
    with pytest.raises(StoreUnavailable):
        await bench.listener.check()
    assert time.monotonic() - began < ALARM_SECONDS
    assert (await bench.send(siu(refused, "P" + refused[1:], NOTE), refused)).code == "AE"
    await heal()

    async def taken() -> bool:
        return (await bench.send(siu(refused, "P" + refused[1:], NOTE), refused)).code == "AA"

    await eventually(taken, what="AA after the healing")
    await bench.listener.check()
    rows = await bench.store.pool.fetch("SELECT control_id, state FROM hl7_journal")
    assert {row["control_id"] for row in rows if row["state"] == "accepted"} == {"C0", *accepted, refused}
    assert {tuple(revisions) for revisions in (await bench.effects()).values()} == {(1,)}


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of its own that is soon full."""
    with tempfile.TemporaryDirectory(prefix="suite-disk-") as folder:
        Path(folder).chmod(0o755)  # Postgres runs as nobody when the tests run as root
        mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=0755", "tmpfs", folder]
        mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
        if mounted.returncode != 0:
            pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.timeout(240)
async def test_a_full_disk_refuses_and_heals_by_itself(small_disk: Path) -> None:
    server = EmbeddedPostgres(small_disk / "postgres", free_port())
    server.prepare()
    process = server.spawn(small_disk.with_name(small_disk.name + ".log"))
    ballast = small_disk / "ballast"
    try:
        await server.wait_ready(60)
        store = await open_store(server.admin_url)

        async def fill() -> None:
            with ballast.open("wb", buffering=0) as file:
                try:
                    while True:
                        file.write(b"\0" * 2**16)
                except OSError:
                    pass  # full, which is what was wanted

        async def empty() -> None:
            ballast.unlink()

        async with listening(store) as bench:
            await refused_then_healed(bench, fill, empty)
        await store.close()
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)
        small_disk.with_name(small_disk.name + ".log").unlink()


@pytest.fixture
async def role_url(database_url: str) -> AsyncIterator[tuple[str, str]]:
    """The test's database for a role that may be limited: superusers may not. Its URL and its name."""
    role, word = f"limited_{secrets.token_hex(4)}", secrets.token_hex(8)
    parts = urlsplit(database_url)
    admin = await asyncpg.connect(database_url)
    await admin.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{word}'")
    await admin.execute(f"GRANT ALL ON SCHEMA public TO {role}")
    yield urlunsplit(parts._replace(netloc=f"{role}:{word}@{parts.hostname}:{parts.port}")), role
    await admin.execute(f"DROP OWNED BY {role} CASCADE")
    await admin.execute(f"DROP ROLE {role}")
    await admin.close()


async def test_no_connection_to_be_had_refuses_and_heals_by_itself(database_url: str, role_url) -> None:
    url, role = role_url
    store = await open_store(url)
    admin = await asyncpg.connect(database_url)

    async def limit() -> None:
        await admin.execute(f"ALTER ROLE {role} CONNECTION LIMIT 0")
        await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1", role)

    async def lift() -> None:
        await admin.execute(f"ALTER ROLE {role} CONNECTION LIMIT -1")

    async with listening(store) as bench:
        await refused_then_healed(bench, limit, lift)
        await limit()
        with pytest.raises(StoreUnavailable):
            await store.ping()
    await store.close()
    await admin.close()


async def test_a_name_that_does_not_resolve_refuses_and_heals_by_itself(database_url: str, monkeypatch) -> None:
    parts = urlsplit(database_url)
    named = urlunsplit(parts._replace(netloc=parts.netloc.replace("127.0.0.1", "localhost")))
    assert named != database_url
    store = await open_store(named)
    resolve = socket.getaddrinfo

    def nothing(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_AGAIN, "no name server answers")

    async def lose() -> None:
        monkeypatch.setattr(socket, "getaddrinfo", nothing)
        await store.pool.expire_connections()

    async def find() -> None:
        monkeypatch.setattr(socket, "getaddrinfo", resolve)

    async with listening(store) as bench:
        await refused_then_healed(bench, lose, find)
    await store.close()
