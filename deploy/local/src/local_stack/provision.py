"""Makes a role and a database per service; no role may connect to another role's database.

The supervisor calls this module. As a container's job it runs by itself (``python provision.py``), in any image with
asyncpg.
"""

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import asyncpg

_UNLOGGED = {
    "log_statement": "none",
    "log_min_duration_statement": "-1",
    "log_min_duration_sample": "-1",
    "log_min_error_statement": "panic",
}
"""Settings of the one session whose statements hold passwords: CREATE ROLE takes no parameters."""

_NO_VALUES_IN_THE_LOG = {
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
    "log_error_verbosity": "terse",
    "log_min_messages": "log",
}
"""Set for each role, so that a server not started by this stack also keeps patients out of its log."""


async def provision(admin_url: str, passwords: Mapping[str, str]) -> None:
    """Makes or updates the role and the database of each name in ``passwords``, with the same name for both."""
    connection = await asyncpg.connect(admin_url, server_settings=_UNLOGGED)
    try:
        is_superuser = await connection.fetchval("select rolsuper from pg_roles where rolname = current_user")
        for name, password in passwords.items():
            known = await connection.fetchval("select 1 from pg_roles where rolname = $1", name)
            verb = "ALTER" if known else "CREATE"
            quoted = f'"{name}"'  # a role's name, such as order, may be a word of SQL
            await connection.execute(f"{verb} ROLE {quoted} LOGIN PASSWORD '{password}'")
            if not await connection.fetchval("select 1 from pg_database where datname = $1", name):
                await connection.execute(f"CREATE DATABASE {quoted} OWNER {quoted}")
            await connection.execute(f"REVOKE CONNECT ON DATABASE {quoted} FROM PUBLIC")
            if is_superuser:
                for setting, value in _NO_VALUES_IN_THE_LOG.items():
                    await connection.execute(f"ALTER ROLE {quoted} SET {setting} = '{value}'")
    finally:
        await connection.close()


def main() -> int:
    """The job. The environment names the files with the administrator's and the roles' passwords."""
    try:
        password = Path(os.environ["POSTGRES_PASSWORD_FILE"]).read_text().strip()
        passwords = json.loads(Path(os.environ["ROLE_PASSWORDS_FILE"]).read_text())
        host = os.environ["POSTGRES_HOST"]
        asyncio.run(provision(f"postgresql://postgres:{password}@{host}:5432/postgres", passwords))
    except KeyError as error:
        print(f"databases: {error.args[0]} is not set", file=sys.stderr)
    except asyncpg.InvalidPasswordError:
        print(
            "databases: Postgres refuses the password in POSTGRES_PASSWORD_FILE: it was made with another one "
            "(put that secret back, or delete the data: make down WIPE=1)",
            file=sys.stderr,
        )
    except (OSError, asyncpg.PostgresError) as error:
        print(f"databases: {error}", file=sys.stderr)
    else:
        print(f"databases: {', '.join(passwords)} are there, each for its own role alone")
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
