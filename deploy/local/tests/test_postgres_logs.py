"""Postgres' log holds no value of a statement, slow or failing."""

import os
import signal
import tempfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import asyncpg
import pytest
import yaml

from local_stack import postgres, provision
from local_stack.ports import free_port
from local_stack.settings import ROOT

NAME = "Kanaria^Wilhelmina"
NUMBER = 77712345
SAID_BY_ALL = (
    "log_parameter_max_length",
    "log_parameter_max_length_on_error",
    "log_error_verbosity",
    "log_min_messages",
)


@pytest.fixture
def server() -> Iterator[tuple[str, Path]]:
    """The address of a Postgres as the local stack runs it, and its log."""
    with tempfile.TemporaryDirectory(prefix="suite-log-", ignore_cleanup_errors=True) as folder:
        base = Path(folder)
        base.chmod(0o755)
        database = postgres.EmbeddedPostgres(base / "postgres", free_port())
        database.prepare()
        log = base / "postgres.log"
        process = database.spawn(log)
        try:
            yield database.admin_url, log
        finally:
            os.killpg(process.pid, signal.SIGINT)
            process.wait(30)


async def failures(connection: asyncpg.Connection) -> list[str]:
    """Breaks every kind of rule with a patient's values. Returns the SQL states of the errors."""
    await connection.execute(
        "CREATE TABLE patients (name text UNIQUE NOT NULL, mrn int CHECK (mrn < 80000000), visits int4range,"
        " referrer int REFERENCES pg_temp.nobody, EXCLUDE USING gist (visits WITH &&))"
    )
    add = "INSERT INTO patients VALUES ($1, $2, $3, $4)"
    await connection.execute(add, NAME, NUMBER, asyncpg.Range(NUMBER, NUMBER + 2), None)
    states = []
    for statement, *values in (
        (add, NAME, 1, None, None),  # Key (name)=(…) already exists
        (add, None, NUMBER, None, None),  # Failing row contains (…)
        (add, "x", NUMBER + 9_000_000, None, None),
        (add, "y", 2, asyncpg.Range(NUMBER, NUMBER + 1), None),  # conflicts with existing key
        (add, "z", 3, None, NUMBER),  # is not present in table
        ("SELECT $1::text::int", NAME),  # invalid input syntax …: "…"
        ("SELECT $1::text::date", NAME),
        ("SELECT $1::jsonb", f'{{"name" {NAME}'),
        ("SELECT repeat($1, 3)::varchar(10)::int", NAME),
        ("SELECT 1 / ($1::int - $1::int)", NUMBER),
    ):
        try:
            await connection.execute(statement, *values)
        except asyncpg.PostgresError as error:
            states.append(error.sqlstate)
    return states


@pytest.mark.stack
async def test_the_log_of_postgres_holds_no_value_of_slow_or_failing_statements(server) -> None:
    url, log = server
    await postgres.wait_for_answer(url)
    # The session's settings override the server's: every statement counts as slow here.
    connection = await asyncpg.connect(url, server_settings={"log_min_duration_statement": "0"})
    try:
        await connection.execute("CREATE TEMP TABLE nobody (id int PRIMARY KEY)")
        await connection.execute("SET search_path = pg_temp")
        states = await failures(connection)
    finally:
        await connection.close()
    assert states == ["23505", "23502", "23514", "23P01", "23503", "22P02", "22007", "22P02", "22P02", "22012"]
    text = log.read_text(errors="replace")
    assert "INSERT INTO patients VALUES ($1, $2, $3, $4)" in text, "the slow statements are not in the log at all"
    assert [found for found in (*NAME.split("^"), str(NUMBER), str(NUMBER + 9_000_000)) if found in text] == []


@pytest.mark.stack
async def test_the_roles_passwords_are_not_in_the_log(server) -> None:
    url, log = server
    await postgres.wait_for_answer(url)
    admin = await asyncpg.connect(url)
    try:
        await admin.execute("ALTER ROLE postgres SET log_min_duration_statement = 0")
        await admin.execute("ALTER ROLE postgres SET log_statement = 'all'")
        await admin.execute("ALTER ROLE postgres SET log_min_messages = 'warning'")
        other = await asyncpg.connect(url)
        await other.execute("SELECT 'a session of the same role'")
        await other.close()
        await provision.provision(url, {"scheduler_sync": "Zt4nB8wQ1yH6"})
        with pytest.raises(asyncpg.PostgresError):
            await provision.provision(url, {"pg_own": "Zt4nB8wQ1yH6"})
    finally:
        await admin.close()
    assert "a session of the same role" in log.read_text()
    assert 'role name "pg_own" is reserved' in log.read_text()
    assert "Zt4nB8wQ1yH6" not in log.read_text()


def arguments_of(command: list[str]) -> dict[str, str]:
    """``postgres -c name=value …`` as a mapping."""
    pairs = [text for before, text in pairwise(command) if before == "-c"]
    return dict(pair.split("=", 1) for pair in pairs)


def test_every_stack_sets_what_keeps_values_out_of_the_log() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["postgres"]["command"]
    servers = yaml.safe_load_all((ROOT / "deploy/k8s/local/servers/postgres.yaml").read_text())
    pod = next(one for one in servers if one["kind"] == "StatefulSet")["spec"]["template"]["spec"]
    clusters = yaml.safe_load_all((ROOT / "deploy/k8s/platform/postgres.yaml").read_text())
    cluster = next(one for one in clusters if one["kind"] == "Cluster")["spec"]["postgresql"]["parameters"]
    said = {
        "compose": arguments_of(compose),
        "k8s local": arguments_of(pod["containers"][0]["args"]),
        "k8s platform": cluster,
    }
    wanted = {name: postgres.SERVER_SETTINGS[name] for name in SAID_BY_ALL}
    assert wanted == {
        "log_parameter_max_length": "0",
        "log_parameter_max_length_on_error": "0",
        "log_error_verbosity": "terse",
        "log_min_messages": "log",
    }
    assert {stack: {name: found.get(name) for name in SAID_BY_ALL} for stack, found in said.items()} == dict.fromkeys(
        said, wanted
    )
