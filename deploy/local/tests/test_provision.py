"""A database and a role per service, on a real Postgres: each role enters its own database and no other."""

import secrets
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from local_stack.provision import provision

pytestmark = pytest.mark.stack


@pytest.fixture
async def roles(stack):
    suffix = secrets.token_hex(4)
    passwords = {f"first_{suffix}": secrets.token_urlsafe(12), f"second_{suffix}": secrets.token_urlsafe(12)}
    await provision(stack.postgres_admin_url, passwords)
    yield passwords
    connection = await asyncpg.connect(stack.postgres_admin_url)
    for name in passwords:
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await connection.execute(f"DROP ROLE {name}")
    await connection.close()


def url(stack, role: str, password: str, database: str) -> str:
    parts = urlsplit(stack.postgres_admin_url)
    return urlunsplit(parts._replace(netloc=f"{role}:{password}@{parts.hostname}:{parts.port}", path=f"/{database}"))


async def test_a_role_owns_its_database(stack, roles) -> None:
    for name, password in roles.items():
        connection = await asyncpg.connect(url(stack, name, password, name))
        await connection.execute("create table kept (id int primary key)")
        await connection.close()


async def test_no_role_may_enter_anothers_database(stack, roles) -> None:
    first, second = roles
    for name, other in ((first, second), (second, first)):
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied for database"):
            await asyncpg.connect(url(stack, name, roles[name], other))


async def test_a_changed_password_is_taken_over_and_nothing_is_lost(stack, roles) -> None:
    name = next(iter(roles))
    connection = await asyncpg.connect(url(stack, name, roles[name], name))
    await connection.execute("create table kept_here (id int primary key)")
    await connection.close()
    await provision(stack.postgres_admin_url, {name: "another-one"})
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(url(stack, name, roles[name], name))
    connection = await asyncpg.connect(url(stack, name, "another-one", name))
    assert await connection.fetchval("select count(*) from kept_here") == 0
    await connection.close()


async def test_a_roles_statements_leave_no_values_in_the_log_of_any_server(stack, roles) -> None:
    """Also holds for a server that this stack did not start: a role's settings override the server's."""
    name = next(iter(roles))
    admin = await asyncpg.connect(stack.postgres_admin_url)
    set_for_role = dict(
        pair.split("=", 1) for pair in await admin.fetchval("SELECT rolconfig FROM pg_roles WHERE rolname = $1", name)
    )
    await admin.close()
    assert set_for_role == {
        "log_parameter_max_length": "0",
        "log_parameter_max_length_on_error": "0",
        "log_error_verbosity": "terse",
        "log_min_messages": "log",
    }


async def test_a_name_that_is_a_word_of_sql_is_taken_as_a_name(stack) -> None:
    connection = await asyncpg.connect(stack.postgres_admin_url)
    try:
        await provision(stack.postgres_admin_url, {"order": secrets.token_urlsafe(12)})
        assert await connection.fetchval("SELECT count(*) FROM pg_database WHERE datname = 'order'") == 1
    finally:
        await connection.execute('DROP DATABASE IF EXISTS "order"')
        await connection.execute('DROP ROLE IF EXISTS "order"')
        await connection.close()
