"""The Kafka and Postgres of a test session: given, in containers, or embedded; always stopped at the end."""

import asyncio
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil

from local_stack import images, kafka, postgres
from local_stack.engine import Engine, EngineError
from local_stack.ports import free_port

ROOT = Path(__file__).resolve().parents[4]
JARS = ROOT / ".local" / "kafka-jars"
OWNER = "suite.tests.owner"
"""The label of a session's containers: the process that started them, so that the next session removes leftovers."""


@dataclass(frozen=True)
class Stack:
    """The servers of this session and a short text about their source."""

    postgres_admin_url: str
    kafka_bootstrap: str
    origin: str
    is_in_memory: bool = False


def _stop(process: "subprocess.Popen[bytes]", how: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, how)
    with suppress(subprocess.TimeoutExpired):
        process.wait(20)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def folder_in_memory(shared: Path = Path("/dev/shm")) -> Path | None:  # noqa: S108 (a folder with a random name is made in it)
    """``shared`` where it lies in memory with room for the servers' data; ``None`` elsewhere.

    A test session creates and drops thousands of databases of 300 files each: in memory for a third of the time.
    """
    kinds = {Path(one.mountpoint): one.fstype for one in psutil.disk_partitions(all=True)}
    if kinds.get(shared) != "tmpfs" or not os.access(shared, os.W_OK):
        return None
    room = min(psutil.disk_usage(str(shared)).free, psutil.virtual_memory().available)
    return shared if room >= _ROOM_BYTES else None


def remove_leftovers(parent: Path) -> None:
    """Removes the folders of sessions that were killed: in memory they would stay until the machine starts anew."""
    for folder in parent.glob(f"{_FOLDER}*-*"):
        pid = folder.name.removeprefix(_FOLDER).partition("-")[0]
        if pid.isdecimal() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


_FOLDER = "suite-stack-"
_ROOM_BYTES = 6 * 1024**3
"""Postgres keeps up to 2 GB of its log, and the machine's other processes need room as well."""


@contextmanager
def embedded_stack(
    *, kafka_options: tuple[str, ...] = kafka.QUICK_START, parent: Path | None = None
) -> Iterator[Stack]:
    """A new Kafka and Postgres in a temporary folder (inside ``parent``), always stopped at the end."""
    if parent is not None:
        remove_leftovers(parent)
    prefix = f"{_FOLDER}{os.getpid()}-"
    with tempfile.TemporaryDirectory(prefix=prefix, dir=parent, ignore_cleanup_errors=True) as folder:
        base = Path(folder)
        base.chmod(0o755)  # Postgres runs as nobody when the tests run as root
        database = postgres.EmbeddedPostgres(base / "postgres", free_port())
        jars = Path(os.environ.get("KAFKA_JARS_DIR", JARS))
        kafka.fetch_jars(jars)
        broker = kafka.EmbeddedKafka(base / "kafka", free_port(), free_port(), jars, jvm_options=kafka_options)
        database.prepare()
        broker.prepare()
        running = [(database.spawn(base / "postgres.log"), signal.SIGINT)]
        running.append((broker.spawn(base / "kafka.log"), signal.SIGTERM))
        try:
            asyncio.run(database.wait_ready())
            asyncio.run(broker.wait_ready())
            yield Stack(database.admin_url, broker.bootstrap, "embedded", is_in_memory=parent is not None)
        finally:
            for process, how in reversed(running):
                _stop(process, how)


@dataclass(frozen=True)
class Servers:
    """The choice for a session: the function that starts the servers, and the header's text."""

    words: str
    started: Callable[[], AbstractContextManager[Stack]]
    embedded: bool = False


def choose(asked: str) -> Servers:
    """The servers that ``--stack`` means on this machine. Raises ``EngineError`` when requested containers fail."""
    admin_url, bootstrap = os.environ.get("POSTGRES_ADMIN_URL"), os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    if admin_url and bootstrap:
        given = Stack(admin_url, bootstrap, "given by the environment")
        return Servers(given.origin, lambda: nullcontext(given))
    why = "asked for"
    if asked != "embedded":
        try:
            return _containers(Engine.find(), pull=asked != "auto")
        except EngineError as error:
            if asked != "auto":
                raise
            why = str(error)
    memory = folder_in_memory()
    where = "in memory" if memory else "on disk"
    words = f"embedded PostgreSQL and Apache Kafka {kafka.KAFKA_VERSION} ({why}), data {where}"
    return Servers(words, partial(embedded_stack, parent=memory), embedded=True)


def _containers(engine: Engine, *, pull: bool) -> Servers:
    chosen = [server.choose(engine) for server in (images.POSTGRES, images.KAFKA)]
    for image in chosen:
        if engine.has(image):
            continue
        if not pull:
            raise EngineError(f"the engine has no {image}: pull it, or make images-offline")
        engine.pull(image)
    words = f"containers of {' and '.join(chosen)} on engine {engine.version}"
    return Servers(words, partial(container_stack, engine))


@contextmanager
def container_stack(engine: Engine) -> Iterator[Stack]:
    """A new Kafka and Postgres in containers, through testcontainers."""
    # The image of testcontainers' reaper may be missing; the containers' label and this block's end replace it.
    if not engine.has(os.environ.get("RYUK_CONTAINER_IMAGE", "testcontainers/ryuk:0.8.1")):
        os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")
    from testcontainers.core.container import DockerContainer

    _remove_orphans(engine)
    owner = f"{os.getpid()}@{psutil.Process().create_time():.0f}"
    password = secrets.token_urlsafe(24)
    broker_port, database_port = free_port(), free_port()
    database = (
        DockerContainer(images.POSTGRES.choose(engine))
        .with_env("POSTGRES_PASSWORD", password)
        .with_command(["postgres", *_postgres_arguments()])
        .with_kwargs(labels={OWNER: owner})
    )
    broker = DockerContainer(images.KAFKA.choose(engine)).with_kwargs(labels={OWNER: owner})
    # testcontainers' call for ports binds to all addresses; Docker's own call binds to this machine only.
    database.ports = {"5432/tcp": ("127.0.0.1", database_port)}  # type: ignore[dict-item]
    broker.ports = {f"{broker_port}/tcp": ("127.0.0.1", broker_port)}  # type: ignore[dict-item]
    for name, value in _kafka_environment(broker_port).items():
        broker.with_env(name, value)
    admin_url = f"postgresql://{postgres.SUPERUSER}:{password}@127.0.0.1:{database_port}/postgres"
    bootstrap = f"127.0.0.1:{broker_port}"
    with ExitStack() as running:
        for container in (database, broker):
            running.callback(container.stop)
            container.start()
        asyncio.run(postgres.wait_for_answer(admin_url))
        asyncio.run(kafka.wait_for_answer(bootstrap))
        yield Stack(admin_url, bootstrap, "containers")


def _postgres_arguments() -> list[str]:
    own = {"listen_addresses", "unix_socket_directories", "log_line_prefix"}  # set by the image
    return [
        part
        for name, value in postgres.SERVER_SETTINGS.items()
        if name not in own
        for part in ("-c", f"{name}={value}")
    ]


def _kafka_environment(port: int) -> dict[str, str]:
    """The embedded broker's settings as the images' environment, for a listener on the port that clients use."""
    settings = kafka.server_settings(f"PLAINTEXT://:{port}", f"PLAINTEXT://127.0.0.1:{port}")
    # The public image formats its log folder for a fixed set of voters.
    settings["controller.quorum.voters"] = (
        f"{settings['node.id']}@{settings.pop('controller.quorum.bootstrap.servers')}"
    )
    named = {"KAFKA_" + name.upper().replace(".", "_"): value for name, value in settings.items()}
    return {**named, "KAFKA_LOG_DIRS": "/var/lib/kafka/data", "KAFKA_HEAP_OPTS": "-Xms128m -Xmx512m"}


def _remove_orphans(engine: Engine) -> None:
    """Removes the containers of sessions that were killed."""
    listed = engine.run(
        "ps", "--all", "--filter", f"label={OWNER}", "--format", f'{{{{.ID}}}} {{{{.Label "{OWNER}"}}}}'
    )
    for line in listed.stdout.splitlines():
        container, _, owner = line.partition(" ")
        pid, _, began = owner.partition("@")
        with suppress(psutil.Error, ValueError):
            if abs(psutil.Process(int(pid)).create_time() - float(began)) < 2:
                continue
        engine.run("rm", "--force", "--volumes", container)
