"""The stack in containers: the commands of the embedded stack, through Compose and ``docker-compose.yml``."""

import json
import os
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from local_stack import images, offline
from local_stack.engine import Engine, EngineError
from local_stack.ports import taken
from local_stack.processes import processes
from local_stack.settings import ROOT, Settings, service_databases, write_secret
from roster import roster

UP_SECONDS = 220
PROJECT = "powerserver-blume"
UNCHECKED = ("otel-collector", "jaeger", "prometheus", "grafana")
"""Public images without a health check in all of their versions; the stack does not wait for them to answer."""
_MARKS = {"healthy": "[green]●[/] healthy", "done": "[dim]✓ done[/]", "stopped": "[dim]○ stopped[/]"}


def jobs() -> set[str]:
    """The containers that end by themselves."""
    return {"databases", "topics", *(f"{service.name}-migrate" for service in roster().services)}


@dataclass(frozen=True)
class Container:
    """One container of the stack, as Compose reports it."""

    service: str
    name: str
    status: str
    exit_code: int
    address: str

    @property
    def settled(self) -> bool:
        """Whether a job has ended well, or any other container is healthy."""
        if self.service in UNCHECKED:
            return self.status == "running"
        return self.status == ("done" if self.service in jobs() else "healthy")


@dataclass(frozen=True)
class ContainerStack:
    """The commands `make up`, `down`, `status` and `logs` for a stack in containers."""

    engine: Engine
    settings: Settings
    console: Console

    @property
    def project(self) -> str:
        return os.environ.get("SUITE_COMPOSE_PROJECT", PROJECT)

    def obtain_images(self) -> None:
        """Pulls or builds missing images. Raises ``EngineError`` naming the images that cannot be had."""
        for server in (images.KAFKA, images.POSTGRES):
            image = server.choose(self.engine)
            if not self.engine.has(image):
                with self.console.status(f"Pulling {image} …"):
                    self.engine.pull(image)
        missing = [member.name for member in images.members() if not self.engine.has(member.image)]
        if missing:
            images.Builder(self.engine, self.settings, self.console).members(missing)

    def up(self) -> int:
        """Starts everything and waits until it is healthy. Raises ``EngineError``."""
        command = self._compose()
        self.obtain_images()
        if outdated := images.outdated(self.engine):
            words = "the images of {} were built of another commit: make images builds them of the present one"
            self.console.print(f"Note: {words.format(', '.join(outdated))}.", soft_wrap=True)
        started = time.monotonic()
        if not self.containers():
            lines = list(taken(processes(self.settings)))
            for line in lines:
                self.console.print(f"[red]{escape(line)}[/]", soft_wrap=True)
            if lines:
                return 2
        self._secrets()
        log = self.settings.logs / "compose.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("w") as output:
            child = subprocess.Popen(
                [*command, "up", "-d", "--remove-orphans", "--quiet-pull"],
                env=self.environment(), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT,
            )  # fmt: skip
        found: list[Container] = []
        with Live(console=self.console, refresh_per_second=4, transient=True) as live:
            while time.monotonic() - started < UP_SECONDS:
                found = self.containers()
                live.update(_table(found, title=f"Starting … {time.monotonic() - started:.0f} s"))
                ended = child.poll()
                if ended or (ended == 0 and found and all(container.settled for container in found)):
                    break
                if any(container.status == "restarting" for container in found):
                    break  # a container that ended at its start does not recover by waiting
                time.sleep(0.5)
        gave_up = child.poll() not in (None, 0)
        if child.poll() is None:
            child.terminate()
            child.wait(20)
        unsettled = [container for container in found if not container.settled]
        if child.returncode or unsettled:
            reason = self._reason(unsettled, log, gave_up=gave_up)
            self.console.print(f"[red]The stack did not start: {reason}[/]", soft_wrap=True)
            return 1
        self.console.print(_table(found))
        servers = f"{images.POSTGRES.choose(self.engine)} and {images.KAFKA.choose(self.engine)}"
        seconds = time.monotonic() - started
        self.console.print(f"The stack is up in containers, on {servers} ({seconds:.0f} s). Stop it with make down.")
        return 0

    def down(self, *, wipe: bool) -> int:
        was_up = bool(self.containers())
        with self.console.status("Stopping …"):
            arguments = ["--profile", "*", "down", "--remove-orphans", *(["--volumes"] if wipe else [])]
            done = self._run(*arguments, timeout=180)
        if done.returncode != 0:
            raise EngineError(f"compose could not stop the stack: {_last(done.stderr)}")
        words = "The stack is down." if was_up else "The stack was not up."
        self.console.print(f"{words}{' Its data is deleted.' if wipe else ''}")
        return 0

    def status(self) -> int:
        found = self.containers()
        if not found:
            self.console.print("The stack is down. Start it with make up.")
            return 1
        self.console.print(_table(found))
        return 0 if all(container.settled for container in found) else 1

    def roll(self) -> int:
        """Replaces each running process of a service in turn; each is healthy before the next one is replaced.

        Raises ``EngineError``.
        """
        running = {container.service for container in self.containers() if container.settled}
        services = [member.name for member in images.members() if member.is_service]
        chosen = [name for service in services for name in (f"{service}-2", service) if name in running]
        if not chosen:
            raise EngineError("no service runs that could be replaced: make up first")
        for name in chosen:
            started = time.monotonic()
            with self.console.status(f"Replacing {name} …"):
                done = self._run("--profile", "*", "up", "-d", "--no-deps", "--force-recreate", name, timeout=120)
                if done.returncode != 0:
                    raise EngineError(f"{name} could not be replaced: {_last(done.stderr)}")
                while not any(one.service == name and one.settled for one in self.containers()):
                    if time.monotonic() - started > UP_SECONDS:
                        raise EngineError(f"{name} is not healthy after {UP_SECONDS} s: make logs NAME={name}")
                    time.sleep(0.5)
            self.console.print(f"{name} is replaced and healthy ({time.monotonic() - started:.0f} s)")
        return 0

    def logs(self, name: str | None, lines: int, *, follow: bool) -> int:
        known = {container.service for container in self.containers()}
        if name is not None and name not in known:
            self.console.print(
                f"[red]There is no log of {name!r}; there are: {', '.join(sorted(known)) or 'none yet'}[/]"
            )
            return 2
        arguments = ["logs", "--tail", str(lines), *(["--follow"] if follow else []), *([name] if name else [])]
        return subprocess.run([*self._compose(), *arguments], env=self.environment(), cwd=ROOT, check=False).returncode

    def operate(self, service: str, words: Sequence[str]) -> int:
        """Runs a service's own command in an extra container, with its settings and secrets."""
        arguments = ["run", "--rm", "--no-deps", service, *words]
        return subprocess.run([*self._compose(), *arguments], env=self.environment(), cwd=ROOT, check=False).returncode

    def containers(self) -> list[Container]:
        """The stack's containers in their start order; none when the stack is down."""
        listing = ("--profile", "*", "ps", "--all", "--format", "json")
        done = self._run(*listing)
        if done.returncode != 0:
            done = self._run(*listing)  # podman refuses the whole list when a container goes away during the reading
        if done.returncode != 0:
            raise EngineError(f"compose does not answer: {_last(done.stderr)}")
        addresses = {process.name: process.address for process in processes(self.settings)}
        return sorted(
            (_container(row, addresses) for row in _rows(done.stdout)),
            key=lambda container: (container.service not in addresses, container.service),
        )

    def environment(self) -> dict[str, str]:
        """The variables that docker-compose.yml reads: ports, images, the secrets' folder."""
        traces = {}
        if "observability" in os.environ.get("COMPOSE_PROFILES", ""):
            names = [f"{service.prefix}_TELEMETRY__OTLP_ENDPOINT" for service in roster().services]
            traces = dict.fromkeys(names, "http://otel-collector:4318")
        return {
            **traces,
            **self.engine.environment,
            **self.settings.ports.variables(),
            "SUITE_SECRETS_DIR": str(self.settings.secrets),
            images.KAFKA.variable: images.KAFKA.choose(self.engine),
            images.POSTGRES.variable: images.POSTGRES.choose(self.engine),
        }

    def _secrets(self) -> None:
        """Makes missing secrets. Raises ``EngineError`` when data was made with a secret that is gone."""
        folder = self.settings.secrets
        admin = folder / "postgres_password"
        volume = f"{self.project}_postgres"
        if not admin.exists() and self.engine.run("volume", "inspect", volume).returncode == 0:
            raise EngineError(
                f"the secret {os.path.relpath(admin)} is missing, but the database that was made with it is there: "
                "put it back, or delete the data (make down WIPE=1)"
            )
        write_secret(admin)
        passwords = self.settings.passwords()
        write_secret(folder / "role_passwords", json.dumps(passwords))
        for name in service_databases():
            url = f"postgresql://{name}:{passwords[name]}@postgres:5432/{name}"
            write_secret(folder / f"{name}_store_url", url)

    def _reason(self, unsettled: Iterable[Container], log: Path, *, gave_up: bool) -> str:
        for container in unsettled:
            if container.status.startswith(("failed", "unhealthy", "restarting")):
                done = self._run("logs", "--no-log-prefix", "--tail", "3", container.service)
                return f"{container.service} is {container.status}: {_last(done.stdout)}"
        waiting = [container.service for container in unsettled]
        if gave_up or not waiting:
            return _last(log.read_text())  # Compose ended by itself and gives the reason
        return f"{', '.join(waiting)} not healthy after {UP_SECONDS} s"

    def _compose(self) -> list[str]:
        command = self.engine.compose(offline.COMPOSE_BINARY)
        return [*command, "-p", self.project, "-f", str(ROOT / "docker-compose.yml")]

    def _run(self, *arguments: str, timeout: float = 60) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*self._compose(), *arguments],
            env=self.environment(), cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip


def _rows(text: str) -> list[dict[str, Any]]:
    """The rows of ``ps --format json``: one object a line, or one list in an older Compose."""
    found: list[dict[str, Any]] = []
    for line in text.splitlines():
        if line.strip():
            row = json.loads(line)
            found += row if isinstance(row, list) else [row]
    return found


def _container(row: dict[str, Any], addresses: dict[str, str]) -> Container:
    state, health, code = row.get("State", ""), row.get("Health", ""), int(row.get("ExitCode") or 0)
    if state == "running":
        status = health or "running"
    elif state == "exited" and row["Service"] in jobs():
        status = "done" if code == 0 else f"failed with {code}"
    elif state == "exited":
        status = f"failed with {code}" if code else "stopped"
    else:
        status = state
    return Container(row["Service"], row.get("Name", ""), status, code, addresses.get(row["Service"], ""))


def _table(found: Iterable[Container], title: str | None = None) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for column in ("container", "state", "address"):
        table.add_column(column, header_style="bold", overflow="fold")
    for container in found:
        table.add_row(
            container.service, _MARKS.get(container.status, f"[yellow]◐[/] {container.status}"), container.address
        )
    return table


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "no reason given"
