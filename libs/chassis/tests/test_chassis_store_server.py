"""What is committed is on disk whatever a role is set to; a server that would lose it or log patients is found out."""

import ast
import asyncio
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from inspect import signature
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import psutil
import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from chassis.host.service import STALLED_SECONDS
from chassis.observe import Metrics
from chassis.settings import SettingsError, StoreSettings
from chassis.store import Store
from chassis.store import server as store_server
from chassis.store.store import ERRORS, SESSION_SETTINGS, sqlalchemy_engine, unavailable
from local_stack import postgres
from local_stack.ports import free_port

ROOT = Path(__file__).resolve().parents[3]
GOOD: Mapping[str, str | None] = {
    "fsync": "on", "full_page_writes": "on", "synchronous_commit": "on", "server_encoding": "UTF8",
    "log_statement": "none", "log_min_duration_statement": "-1", "log_min_duration_sample": "-1",
    "log_transaction_sample_rate": "0", "log_parameter_max_length": "-1", "log_parameter_max_length_on_error": "0",
    "log_min_messages": "warning", "log_error_verbosity": "terse", "log_destination": "stderr",
    "debug_print_parse": "off", "debug_print_rewritten": "off", "debug_print_plan": "off",
    "auto_explain.log_min_duration": None, "pgaudit.log": None, "pgaudit.log_parameter": None,
}  # fmt: skip


def test_a_good_server_has_nothing_wrong() -> None:
    assert store_server.judge(GOOD) == store_server.Findings()
    assert set(GOOD) == set(store_server._ASKED)


def test_the_watch_pauses_for_less_than_a_loop_may_stand_still() -> None:
    assert 0 < store_server.LOOK_SECONDS <= STALLED_SECONDS / 2


@pytest.mark.parametrize(
    ("kind", "named", "change"),
    [
        ("unfit", "fsync", {"fsync": "off"}),
        ("unfit", "synchronous_commit", {"synchronous_commit": "off"}),
        ("unfit", "synchronous_commit", {"synchronous_commit": "local"}),
        ("unfit", "synchronous_commit", {"synchronous_commit": "remote_write"}),
        ("unfit", "server_encoding", {"server_encoding": "LATIN1"}),
        ("doubtful", "full_page_writes", {"full_page_writes": "off"}),
        ("logged", "log_parameter_max_length", {"log_min_duration_statement": "500ms"}),
        ("logged", "log_parameter_max_length", {"log_min_duration_statement": "0", "log_parameter_max_length": "1kB"}),
        ("logged", "log_parameter_max_length", {"log_min_duration_sample": "1s"}),
        ("logged", "log_parameter_max_length", {"log_transaction_sample_rate": "0.1"}),
        ("logged", "log_parameter_max_length", {"log_statement": "mod"}),
        ("logged", "log_parameter_max_length_on_error", {"log_parameter_max_length_on_error": "-1"}),
        ("logged", "log_error_verbosity", {"log_error_verbosity": "default"}),
        ("logged", "log_min_messages", {"log_destination": "stderr, csvlog"}),
        ("logged", "log_min_messages", {"log_destination": "jsonlog"}),
        ("logged", "debug_print_plan", {"debug_print_plan": "on"}),
        ("logged", "auto_explain.log_min_duration", {"auto_explain.log_min_duration": "3s"}),
        ("logged", "pgaudit.log_parameter", {"pgaudit.log": "write", "pgaudit.log_parameter": "on"}),
    ],
)
def test_each_wrong_setting_is_named(kind, named, change) -> None:
    findings = store_server.judge({**GOOD, **change})
    everything = {"unfit": findings.unfit, "doubtful": findings.doubtful, "logged": findings.logged}
    assert [line.split("=")[0] for line in everything.pop(kind)] == [named]
    assert everything == dict.fromkeys(everything, ())


@pytest.mark.parametrize(
    "change",
    [
        {"log_min_duration_statement": "500ms", "log_parameter_max_length": "0"},
        {"log_error_verbosity": "default", "log_min_messages": "log"},
        {"log_destination": "csvlog", "log_min_messages": "fatal"},
        {"synchronous_commit": "remote_apply"},
        {"auto_explain.log_min_duration": "-1", "pgaudit.log": "none", "pgaudit.log_parameter": "on"},
    ],
)
def test_what_is_safe_another_way_passes(change) -> None:
    assert store_server.judge({**GOOD, **change}) == store_server.Findings()


@pytest.mark.parametrize("error", [OSError(), asyncpg.InvalidPasswordError("no")])
def test_a_server_of_several_hosts_is_named_without_its_password(error) -> None:
    said = str(unavailable("postgresql://u:Xq7pL0vM2kR9@one:5433,two/db?target_session_attrs=read-write", error))
    assert "one:5433,two:5432/db" in said
    assert "Xq7pL0vM2kR9" not in said


def test_every_connection_of_the_services_asks_for_the_session_settings() -> None:
    found = 0
    for source in [*ROOT.glob("libs/chassis/src/**/*.py"), *ROOT.glob("services/*/src/**/*.py")]:
        for call in ast.walk(ast.parse(source.read_text())):
            if isinstance(call, ast.Call) and ast.unparse(call.func) in {"asyncpg.connect", "asyncpg.create_pool"}:
                given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
                of_a_parameter = source.name == "store.py" and given.get("server_settings") == "settings"
                assert of_a_parameter or "SESSION_SETTINGS" in given.get("server_settings", ""), (
                    f"{source}:{call.lineno}"
                )
                found += 1
    assert found >= 4
    assert signature(sqlalchemy_engine).parameters["settings"].default is SESSION_SETTINGS


async def set_for_database(url: str, **settings: str) -> None:
    """As an administrator sets it for a database; a role's settings come in the same way."""
    admin = await asyncpg.connect(url)
    try:
        for name, value in settings.items():
            await admin.execute(f"ALTER DATABASE \"{urlsplit(url).path[1:]}\" SET {name} = '{value}'")
    finally:
        await admin.close()


@pytest.mark.stack
async def test_sessions_have_their_settings_whatever_role_url_and_server_say(database_url) -> None:
    await set_for_database(
        database_url,
        synchronous_commit="off",
        default_transaction_isolation="serializable",
        log_parameter_max_length_on_error="-1",
    )
    url = f"{database_url}?synchronous_commit=off&options=-c%20synchronous_commit%3Doff"
    store = await Store.open(StoreSettings(url=url))
    engine = sqlalchemy_engine(url)
    assert SESSION_SETTINGS["synchronous_commit"] == "on"
    try:
        for name, value in SESSION_SETTINGS.items():
            assert await store.pool.fetchval(f"SHOW {name}") == value
            async with engine.connect() as connection:
                assert (await connection.execute(text(f"SHOW {name}"))).scalar_one() == value
        assert (await store_server.look(store)).unfit == ()
    finally:
        await engine.dispose()
        await store.close()


@pytest.mark.stack
async def test_a_server_that_would_log_patients_is_said_at_start_and_kept_in_the_gauge(database_url) -> None:
    await set_for_database(
        database_url, log_min_duration_statement="500", log_parameter_max_length="-1", log_error_verbosity="default",
        log_min_messages="warning",
    )  # fmt: skip
    store = await Store.open(StoreSettings(url=database_url))
    metrics = Metrics()
    watch = store_server.StoreServerWatch(store, metrics)
    try:
        with capture_logs() as said:
            await store_server.accept(store, "production")
        named = [entry["setting"].split("=")[0] for entry in said if entry["event"] == "store.logs-parameters"]
        assert named == ["log_parameter_max_length", "log_error_verbosity"]
        await watch.turn()
        assert metrics.value("store_logs_patients") == 2
        await set_for_database(database_url, log_parameter_max_length="0", log_error_verbosity="terse")
        await store.pool.expire_connections()
        with capture_logs() as said:
            await watch.turn()
        assert metrics.value("store_logs_patients") == metrics.value("store_unfit") == 0
        assert said == []
    finally:
        await store.close()


@asynccontextmanager
async def a_server(**changed: str) -> AsyncIterator[tuple[postgres.EmbeddedPostgres, Path]]:
    """A Postgres of the test's own, set as the local stack's but for ``changed``; it may be killed."""
    with tempfile.TemporaryDirectory(prefix="suite-kill-", ignore_cleanup_errors=True) as folder:
        base = Path(folder)
        os.chmod(base, 0o755)  # noqa: PTH101, S103 (at once; nobody's Postgres passes)
        server = postgres.EmbeddedPostgres(base / "postgres", free_port())
        server.prepare()
        with (server.data_dir / "postgresql.auto.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in changed.items())
        process = server.spawn(base / "postgres.log")
        try:
            await server.wait_ready()
            yield server, base / "postgres.log"
        finally:
            server._end_leftovers()
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(30)


def kill(server: postgres.EmbeddedPostgres) -> None:
    """Ends every process of the server at once, as a power cut would."""
    postmaster = psutil.Process(int((server.data_dir / "postmaster.pid").read_text().split()[0]))
    everyone = [postmaster, *postmaster.children(recursive=True)]
    for process in everyone:  # none may see another's end and write something down
        with suppress(psutil.NoSuchProcess):
            process.suspend()
    for process in everyone:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(everyone, timeout=30)


@pytest.mark.stack
async def test_production_does_not_start_on_a_server_that_may_lose_what_it_committed() -> None:
    async with a_server(fsync="off", full_page_writes="off") as (server, _):
        store = await Store.open(StoreSettings(url=server.admin_url))
        with capture_logs() as said:
            await store_server.accept(store, "development")
        assert [(entry["event"], entry["log_level"]) for entry in said] == [
            ("store.unfit", "error"),
            ("store.doubtful", "warning"),
        ]
        with pytest.raises(SettingsError, match="the store's server: fsync=off"):
            await store_server.accept(store, "production")
        with pytest.raises(asyncpg.InterfaceError):
            await store.pool.fetchval("SELECT 1")  # it was closed


@pytest.mark.stack
async def test_nothing_acknowledged_is_lost_at_a_kill_though_the_role_says_synchronous_commit_off() -> None:
    # The writer of the log sleeps long, so that what is not written at the commit is not written before the kill.
    async with a_server(wal_writer_delay="10s", wal_writer_flush_after="1GB") as (server, log):
        admin = await asyncpg.connect(server.admin_url)
        await admin.execute("CREATE TABLE inputs (who text, number int)")
        await admin.execute("ALTER ROLE postgres SET synchronous_commit = off")
        await admin.close()
        store = await Store.open(StoreSettings(url=server.admin_url))
        plain = await asyncpg.connect(server.admin_url)
        acknowledged = {"ours": 0, "plain": 0}

        async def write(who: str, on: "asyncpg.Pool | asyncpg.Connection") -> None:
            with suppress(*ERRORS):
                while True:
                    await on.execute("INSERT INTO inputs VALUES ($1, $2)", who, acknowledged[who])
                    acknowledged[who] += 1

        ours = asyncio.create_task(write("ours", store.pool))
        while acknowledged["ours"] < 100:
            await asyncio.sleep(0.01)
        store.pool.terminate()
        await ours
        # Last, so that no commit of ours writes these to disk on its way.
        without = asyncio.create_task(write("plain", plain))
        while acknowledged["plain"] < 100:
            await asyncio.sleep(0.01)
        await asyncio.to_thread(kill, server)
        await without
        process = server.spawn(log)
        try:
            await server.wait_ready()
            again = await asyncpg.connect(server.admin_url)
            kept = dict(await again.fetch("SELECT who, count(*) FROM inputs GROUP BY who"))
            await again.close()
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)
        assert kept.get("ours", 0) >= acknowledged["ours"]
        assert kept.get("plain", 0) < acknowledged["plain"], "the kill lost nothing even without our setting"
