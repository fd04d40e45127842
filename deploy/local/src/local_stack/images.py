"""The images of the suite: their names, whether they can be had, and their build.

`make images` builds one image per Dockerfile of a service or simulator, on the public Python image or the image in
``BASE_IMAGE``.
"""

import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from local_stack.engine import Engine, EngineError
from local_stack.kafka import KAFKA_VERSION
from local_stack.settings import ROOT, Settings

PUBLIC_BASE = "docker.io/library/python:3.13-slim-bookworm"
PUBLIC_KAFKA = f"docker.io/apache/kafka:{KAFKA_VERSION}"
PUBLIC_POSTGRES = "docker.io/library/postgres:18"
OFFLINE_BASE = "suite/base:bookworm"
OFFLINE_BUILD_BASE = "suite/base-build:bookworm"
OFFLINE_KAFKA = f"suite/kafka:{KAFKA_VERSION}"
OFFLINE_POSTGRES = "suite/postgres:18"
LARGEST_MB = 300
"""The largest size of a service's image. scheduler-sync's has the DICOM libraries of the worklist."""


@dataclass(frozen=True)
class Server:
    """An image without code of the suite: the setting's image, the public one, or the one built offline."""

    variable: str
    public: str
    offline: str

    def choose(self, engine: Engine) -> str:
        """The image name: the setting's, else the offline image if the engine holds only this, else the public one."""
        named = os.environ.get(self.variable)
        if named:
            return named
        return self.offline if not engine.has(self.public) and engine.has(self.offline) else self.public


KAFKA = Server("SUITE_KAFKA_IMAGE", PUBLIC_KAFKA, OFFLINE_KAFKA)
POSTGRES = Server("SUITE_POSTGRES_IMAGE", PUBLIC_POSTGRES, OFFLINE_POSTGRES)
BASE = Server("BASE_IMAGE", PUBLIC_BASE, OFFLINE_BASE)


@dataclass(frozen=True)
class Member:
    """A service or simulator that has a Dockerfile."""

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def image(self) -> str:
        """``<SUITE_IMAGE_PREFIX><name>:<SUITE_IMAGE_TAG>``; compose and the manifests use the same name."""
        prefix, tag = os.environ.get("SUITE_IMAGE_PREFIX", "suite/"), os.environ.get("SUITE_IMAGE_TAG", "dev")
        return f"{prefix}{self.name}:{tag}"

    @property
    def is_service(self) -> bool:
        return self.folder.parent.name == "services"


def members() -> list[Member]:
    """Every service and simulator with a Dockerfile, services first."""
    found = [path.parent for kind in ("services", "simulators") for path in sorted(ROOT.glob(f"{kind}/*/Dockerfile"))]
    return [Member(folder) for folder in found]


def outdated(engine: Engine) -> list[str]:
    """The members whose image was built from another commit than the one checked out."""
    revision = dict(_labels())["REVISION"]
    label = "org.opencontainers.image.revision"
    if revision == "unknown":  # no checkout to compare with
        return []
    return [member.name for member in members() if engine.label(member.image, label) != revision]


@dataclass(frozen=True)
class Built:
    """One built image, and the duration of its build."""

    image: str
    seconds: float
    limit_mb: int | None = None


@dataclass(frozen=True)
class Builder:
    """Builds images on ``engine``; shows each build's newest step and writes all steps to a log."""

    engine: Engine
    settings: Settings
    console: Console

    def members(self, names: Sequence[str] = ()) -> list[Built]:
        """Builds the images of all members, or of the named ones. Raises ``EngineError``."""
        chosen = members()
        unknown = set(names) - {member.name for member in chosen}
        if unknown:
            known = ", ".join(member.name for member in chosen)
            raise EngineError(f"there is no image {min(unknown)!r}; there are: {known}")
        base = BASE.choose(self.engine)
        if not self.engine.has(base):
            with self.console.status(f"Pulling {base} …"):
                self.engine.pull(base)
        build_base = os.environ.get("BUILD_IMAGE") or (OFFLINE_BUILD_BASE if base == OFFLINE_BASE else base)
        arguments = {"BASE_IMAGE": base, "BUILD_IMAGE": build_base, **dict(_labels())}
        return [
            self.build(
                member.image,
                ROOT,
                arguments,
                dockerfile=member.folder / "Dockerfile",
                limit_mb=LARGEST_MB if member.is_service else None,
            )
            for member in chosen
            if not names or member.name in names
        ]

    def build(
        self,
        image: str,
        context: Path,
        arguments: Mapping[str, str],
        *,
        dockerfile: Path | None = None,
        limit_mb: int | None = None,
    ) -> Built:
        """Builds one image. Raises ``EngineError`` with the line that explains a failure."""
        command, environment = self.engine.builder
        command = [*command, "--progress=plain", "-t", image, "-f", str(dockerfile or context / "Dockerfile")]
        for name, value in arguments.items():
            command += ["--build-arg", f"{name}={value}"]
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):  # passed to every build, and stored in no image
            if os.environ.get(name):
                command += ["--build-arg", name]
        if network := os.environ.get("SUITE_BUILD_NETWORK"):
            command += ["--network", network]
        authorities = os.environ.get("SSL_CERT_FILE")
        if authorities and Path(authorities).is_file():
            command += ["--secret", f"id=ca,src={authorities}"]
        if index := os.environ.get("UV_DEFAULT_INDEX") or os.environ.get("PIP_INDEX_URL"):
            command += ["--secret", "id=index,env=SUITE_PACKAGE_INDEX"]
            environment = {**environment, "SUITE_PACKAGE_INDEX": index}
        started = time.monotonic()
        self.run([*command, str(context)], self.log(image), f"Building {image}", environment)
        return Built(image, time.monotonic() - started, limit_mb)

    def log(self, image: str) -> Path:
        name = image.rpartition("/")[2].partition(":")[0]
        return self.settings.logs / f"image-{name}.log"

    def run(self, command: Sequence[str], log: Path, title: str, environment: Mapping[str, str] | None = None) -> None:
        """Runs one step. Raises ``EngineError`` when it fails."""
        log.parent.mkdir(parents=True, exist_ok=True)
        started = time.monotonic()
        with (
            log.open("w") as kept,
            self.console.status(f"{title} …") as status,
            subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
            ) as child,
        ):
            for line in child.stdout or ():
                kept.write(line)
                status.update(f"{title} … {time.monotonic() - started:.0f} s  [dim]{_step(line)}[/]")
        if child.returncode != 0:
            raise EngineError(f"{title} failed: {last_words(log)} (all of it: {os.path.relpath(log)})")
        self.console.print(f"{title}: {time.monotonic() - started:.0f} s")


def _step(line: str) -> str:
    return line.strip().replace("[", "\\[")[:90]


def last_words(log: Path) -> str:
    """The most telling line of a build's log: the last one with the word error, else the last one."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    telling = [line for line in lines if "error" in line.lower()]
    return (telling or lines or ["it said nothing"])[-1][:300]


def report(engine: Engine, console: Console, built: Sequence[Built]) -> int:
    """Prints the table of built images. Returns 1 when an image is larger than allowed."""
    table = Table(box=None, pad_edge=False)
    for column in ("image", "MB", "at most", "built in"):
        table.add_column(column, header_style="bold", justify="left" if column == "image" else "right")
    too_large = []
    for one in built:
        megabytes = engine.size_bytes(one.image) / 1e6
        if one.limit_mb and megabytes > one.limit_mb:
            too_large.append(f"{one.image} has {megabytes:.0f} MB, {one.limit_mb} are allowed")
        limit = str(one.limit_mb) if one.limit_mb else "–"
        table.add_row(one.image, f"{megabytes:.0f}", limit, f"{one.seconds:.0f} s")
    console.print(table)
    for words in too_large:
        console.print(f"[red]{escape(words)}[/]")
    return 1 if too_large else 0


def _labels() -> Iterator[tuple[str, str]]:
    yield "VERSION", "0.1.0"
    for name, arguments in {"REVISION": ["rev-parse", "HEAD"], "CREATED": ["log", "-1", "--format=%cI"]}.items():
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
        yield name, done.stdout.strip() or "unknown"
