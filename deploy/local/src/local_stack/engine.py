"""The container engine of this machine: its client, the matching Compose, and its images.

Every call goes through the ``docker`` command (``SUITE_DOCKER`` names another one) and so uses whatever engine that
command reaches. An error is one line with the missing thing and the remedy.
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

ANSWER_SECONDS = 10
PULL_SECONDS = 600
OFFLINE = "make images-offline"
LEAST_COMPOSE = (2, 20)
"""The first version that can include files."""
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


class EngineError(RuntimeError):
    """Containers cannot be used here; the text gives the reason and the remedy in one line."""


def clients(environment: Mapping[str, str] = os.environ) -> list[str]:
    """The engine's clients: the one in ``SUITE_DOCKER``, else every ``docker`` on the path."""
    named = environment.get("SUITE_DOCKER")
    if named:
        found = shutil.which(named, path=environment.get("PATH"))
        return [found] if found else []
    folders = environment.get("PATH", "").split(os.pathsep)
    candidates = [found for folder in folders if (found := shutil.which("docker", path=folder))]
    unique = {os.path.realpath(candidate): candidate for candidate in reversed(candidates)}
    return [candidate for candidate in candidates if candidate in unique.values()]


@dataclass(frozen=True)
class Engine:
    """A container engine that answered."""

    client: str
    version: str
    architecture: str
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ), repr=False)

    @classmethod
    def find(cls, environment: Mapping[str, str] | None = None) -> "Engine":
        """The engine that the first client on the path reaches. Raises ``EngineError``."""
        chosen = dict(os.environ if environment is None else environment)
        found = clients(chosen)
        if not found:
            raise EngineError(f"there is no {chosen.get('SUITE_DOCKER', 'docker')} command here")
        command = [found[0], "version", "--format", "{{json .Server}}"]
        try:
            done = subprocess.run(
                command, env=chosen, capture_output=True, text=True, timeout=ANSWER_SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            raise EngineError(f"the container engine did not answer within {ANSWER_SECONDS} s") from None
        except OSError as error:
            raise EngineError(f"{found[0]} cannot be run: {error.strerror}") from error
        server = _json(done.stdout)
        if done.returncode != 0 or not isinstance(server, dict):
            raise EngineError(f"no container engine answers ({_last(done.stderr)})")
        architecture = str(server.get("Arch") or server.get("Architecture") or "")
        return cls(found[0], str(server.get("Version", "?")), _ARCHITECTURES.get(architecture, architecture), chosen)

    def run(self, *arguments: str, timeout: float | None = ANSWER_SECONDS * 6) -> "subprocess.CompletedProcess[str]":
        """Runs one command of the client and returns its output."""
        return subprocess.run(
            [self.client, *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def has(self, image: str) -> bool:
        """Whether the engine holds ``image``. Raises ``EngineError`` when the image is of another architecture."""
        done = self.run("image", "inspect", "--format", "{{json .Architecture}}", image)
        if done.returncode != 0:
            return False
        architecture = str(_json(done.stdout) or "")
        if architecture and architecture != self.architecture:
            raise EngineError(
                f"the image {image} is for {architecture}, this engine runs {self.architecture}: "
                f"remove it (docker image rm {image}) and build or pull it again"
            )
        return True

    def pull(self, image: str) -> None:
        """Fetches ``image``. Raises ``EngineError`` naming the offline command."""
        try:
            done = self.run("pull", "-q", image, timeout=PULL_SECONDS)
        except subprocess.TimeoutExpired:
            raise EngineError(
                f"{image} could not be pulled within {PULL_SECONDS} s: {OFFLINE} builds it here"
            ) from None
        if done.returncode != 0:
            raise EngineError(f"{image} cannot be pulled ({_last(done.stderr)}): {OFFLINE} builds it here")

    def size_bytes(self, image: str) -> int:
        return int(self.run("image", "inspect", "--format", "{{.Size}}", image).stdout.strip() or 0)

    def label(self, image: str, name: str) -> str:
        """The value of the image's label ``name``; empty without the label."""
        template = f'{{{{index .Config.Labels "{name}"}}}}'
        return self.run("image", "inspect", "--format", template, image).stdout.strip()

    @cached_property
    def builder(self) -> tuple[list[str], dict[str, str]]:
        """The command and environment of a build with secrets and cache mounts. Raises ``EngineError``."""
        for client in clients(self.environment):
            if _answers([client, "buildx", "version"], self.environment):
                return [client, "build"], {**self.environment, "DOCKER_BUILDKIT": "1"}
            if 18 < _major([client, "--version"], self.environment) < 23 or "podman" in Path(client).name:
                return [client, "build"], {**self.environment, "DOCKER_BUILDKIT": "1"}  # BuildKit is built in
        raise EngineError("this docker has no BuildKit to build images with: install its buildx plugin")

    def compose(self, built_here: Path) -> list[str]:
        """A Compose of ``LEAST_COMPOSE`` or later: the client's own, the one built here, or one on the path.

        Raises ``EngineError`` without one.
        """
        standalone = shutil.which("docker-compose", path=self.environment.get("PATH"))
        wanted: list[Sequence[str]] = [[self.client, "compose"]]
        wanted += [[str(built_here)]] if built_here.exists() else []
        wanted += [[standalone]] if standalone else []
        too_old = ""
        for command in wanted:
            version = _version([*command, "version", "--short"], self.environment)
            if version and tuple(map(int, version.split(".")[:2])) >= LEAST_COMPOSE:
                return list(command)
            if version:
                too_old = too_old or " ".join([Path(command[0]).name, *command[1:], version])
        if too_old:
            least = ".".join(map(str, LEAST_COMPOSE))
            raise EngineError(f"{too_old} is too old: install Compose {least} or later, or {OFFLINE} builds it")
        raise EngineError(f"there is no docker compose here: install Compose v2, or {OFFLINE} builds it")


def _version(command: Sequence[str], environment: Mapping[str, str]) -> str:
    try:
        done = subprocess.run(
            command, env=dict(environment), capture_output=True, text=True, timeout=ANSWER_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    found = re.search(r"\d+(\.\d+)+", done.stdout) if done.returncode == 0 else None
    return found.group() if found else ""


def _major(command: Sequence[str], environment: Mapping[str, str]) -> int:
    return int((_version(command, environment) or "0").split(".")[0])


def _answers(command: Sequence[str], environment: Mapping[str, str]) -> bool:
    return bool(_version(command, environment))


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return None


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:200] if lines else "no reason given"
