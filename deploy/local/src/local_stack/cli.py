"""The commands behind `make up`, `make down`, `make status` and `make logs`.

Exit codes: 0 done; 1 it did not start or is not healthy; 2 a setting or a taken port; 3 Kafka's jars cannot be had;
4 containers are asked for and cannot be used.
"""

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import psutil
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from local_stack import choice, images, kafka, offline, ports, supervisor
from local_stack.arguments import at_least
from local_stack.engine import Engine, EngineError
from local_stack.processes import module_command, postgres_data, processes
from local_stack.settings import Ports, Settings, SettingsError
from roster import RosterError

UP_SECONDS = 600
"""The longest time that a start may take; the supervisor holds each process to a shorter deadline."""
_MARKS = {"healthy": "[green]●[/] healthy", "stopped": "[dim]○ stopped[/]", "waiting": "[dim]○ waiting[/]"}
_EXIT_CODES: Mapping[type[Exception], int] = {SettingsError: 2, RosterError: 2, kafka.JarsError: 3, EngineError: 4}
_KILLED = "The stack's supervisor was killed and left servers running."
console = Console()


def main() -> int:
    options = _parser().parse_args()
    try:
        return _run(options, Settings.from_environment())
    except tuple(_EXIT_CODES) as error:
        console.print(f"[red]{escape(str(error))}[/]", soft_wrap=True)
        return _EXIT_CODES[type(error)]
    except OSError as error:
        what = error.filename or "the stack's folder"
        console.print(
            f"[red]{what}: {error.strerror}: is the disk full or read-only, is the folder yours?[/]", soft_wrap=True
        )
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m local_stack", description=__doc__)
    parser.add_argument(
        "--stack", help="embedded, docker, or auto: docker where an engine answers and has the images (STACK, auto)"
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="start everything, wait until it is healthy, print the addresses")
    stopping = commands.add_parser("down", help="stop everything")
    stopping.add_argument("--wipe", action="store_true", help="delete all data as well, without a question")
    commands.add_parser("status", help="show each process: state, start and address")
    reading = commands.add_parser("logs", help="follow the logs of all processes or of one")
    reading.add_argument("name", nargs="?", help="a process of the stack, as in status")
    reading.add_argument("--lines", type=at_least(0), default=20, help="number of lines of each log to begin with (20)")
    reading.add_argument("--no-follow", action="store_true", help="print and end")
    operating = commands.add_parser("operate", help="run a service's own command with the stack's settings")
    operating.add_argument("service", help="such as scheduler-sync")
    operating.add_argument("words", nargs=argparse.REMAINDER, metavar="…", help="as python -m <service> --help says")
    commands.add_parser("roll", help="replace the services' containers one by one while they run")
    commands.add_parser("fetch", help="fetch and check Kafka's jars")
    commands.add_parser("free-ports", help="print the settings for ports that are free now")
    building = commands.add_parser("images", help="build the images of services and simulators")
    building.add_argument("names", nargs="*", help="only these: names of services and simulators")
    building.add_argument("--offline", action="store_true", help="with all base images, from packages alone")
    building.add_argument("--fresh", action="store_true", help="build the base images again as well")
    return parser


def _run(options: argparse.Namespace, settings: Settings) -> int:
    asked = choice.asked(options.stack)
    commands: dict[str, Callable[[], int]] = {
        "up": lambda: up_(settings, asked),
        "down": lambda: down_(settings, asked, wipe=options.wipe),
        "status": lambda: status_(settings, asked),
        "logs": lambda: logs_(settings, asked, options),
        "operate": lambda: operate(settings, asked, options.service, options.words),
        "roll": lambda: roll(settings),
        "fetch": lambda: fetch(settings),
        "free-ports": free_ports,
        "images": lambda: images_(settings, options.names, offline_too=options.offline, fresh=options.fresh),
    }
    return commands[options.command]()


def roll(settings: Settings) -> int:
    chosen = choice.to_look_at("auto", settings, console)
    if chosen.containers is None:
        raise EngineError("roll replaces containers, and the stack is not up in any: STACK=docker make up")
    return chosen.containers.roll()


def images_(settings: Settings, names: Sequence[str], *, offline_too: bool, fresh: bool) -> int:
    engine = Engine.find()
    builder = images.Builder(engine, settings, console)
    built = offline.build_all(builder, fresh=fresh) if offline_too else builder.members(names)
    return images.report(engine, console, built)


def free_ports() -> int:
    for name, port in Ports.each(ports.free_port).variables().items():
        print(f"export {name}={port}")
    return 0


def fetch(settings: Settings) -> int:
    jars = kafka.fetch_jars(settings.jars)
    console.print(f"{len(jars)} Kafka jars are in {_relative(settings.jars)}, each as {kafka.LOCK.name} says")
    return 0


def up_(settings: Settings, asked: str) -> int:
    chosen = choice.to_start(asked, settings, console)
    other = choice.recorded(settings)
    if other not in {None, chosen.stack}:
        console.print(f"[red]The {other} stack is up: stop it first (make down), or start STACK={other}.[/]")
        return 2
    if asked == "auto":
        console.print(f"Stack: {chosen.stack} ({chosen.why}).", soft_wrap=True)
    choice.record(settings, chosen.stack)
    code = chosen.containers.up() if chosen.containers else up(settings)
    if code and not chosen.containers:
        choice.record(settings, None)
    return code


def up(settings: Settings) -> int:
    state = supervisor.read_state(settings)
    if state and supervisor.alive(state):
        if state["phase"] == "up":
            console.print("The stack is up already.")
            return status(settings)
        if state["phase"] == "starting":
            console.print("The stack is being started already; waiting for it.")
            return _follow(settings, time.monotonic())
        console.print("The stack is being stopped; waiting for that.")
        psutil.Process(int(state["supervisor"]["pid"])).wait(60)
        state = supervisor.read_state(settings)
    if stopped := supervisor.stop_orphans(state):
        console.print(f"{_KILLED} Stopped {', '.join(stopped)}; their data is kept.", soft_wrap=True)
    taken = list(ports.taken(processes(settings)))
    if taken:
        for line in taken:
            console.print(f"[red]{escape(line)}[/]", soft_wrap=True)
        return 2
    if not settings.given:
        kafka.fetch_jars(settings.jars)
    settings.logs.mkdir(parents=True, exist_ok=True)
    settings.data.mkdir(parents=True, exist_ok=True)
    settings.passwords()
    started = time.monotonic()
    child = _start_supervisor(settings)
    try:
        code = _follow(settings, started, child)
    except KeyboardInterrupt:
        console.print("Stopping what was started …")
        _end(child)
        console.print("The start was stopped; nothing is left running.")
        return 130
    if code:
        _end(child)
    return code


def _start_supervisor(settings: Settings) -> "subprocess.Popen[bytes]":
    settings.state_file.unlink(missing_ok=True)
    with (settings.logs / "supervisor.log").open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "local_stack.supervisor"],
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip


def _follow(settings: Settings, started: float, child: "subprocess.Popen[bytes] | None" = None) -> int:
    """Shows the progress of a start until it succeeds, fails with its reason, or is late.

    ``child``: our own process.
    """
    state = None
    with Live(console=console, refresh_per_second=8, transient=True) as live:
        while time.monotonic() - started < UP_SECONDS:
            state = supervisor.read_state(settings)
            if state:
                live.update(_table(state, title=f"Starting … {time.monotonic() - started:.0f} s"))
                if state["phase"] != "starting":
                    break
            if child.poll() is not None if child else not supervisor.alive(state):
                break
            time.sleep(0.1)
    seconds = time.monotonic() - started
    if state and state["phase"] == "up":
        console.print(_table(state))
        servers_word = f"embedded PostgreSQL and Apache Kafka {kafka.KAFKA_VERSION}"
        servers_word = "the given PostgreSQL and Kafka" if settings.given else servers_word
        console.print(f"The stack is up on {servers_word} ({seconds:.0f} s). Stop it with make down.", soft_wrap=True)
        return 0
    failure = (state or {}).get("failure") or _still_waited_for(state, seconds)
    failure = failure or supervisor.last_line(settings.logs / "supervisor.log")
    console.print(f"[red]The stack did not start: {failure}[/]", soft_wrap=True)
    return 1


def _still_waited_for(state: Mapping[str, Any] | None, seconds: float) -> str:
    if not state or seconds < UP_SECONDS:
        return ""
    names = [f"{row['name']} ({row['status']})" for row in state["processes"] if row["status"] != "healthy"]
    return f"after {seconds:.0f} s these are not up: {', '.join(names)}; make logs NAME=… shows what they say"


def _end(child: "subprocess.Popen[bytes]") -> None:
    """Tells the supervisor to stop the processes that it started, and waits."""
    with contextlib.suppress(ProcessLookupError):
        child.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(90)


def down_(settings: Settings, asked: str, *, wipe: bool) -> int:
    chosen = choice.to_look_at(asked, settings, console)
    code = chosen.containers.down(wipe=wipe) if chosen.containers else down(settings, wipe=wipe)
    if not code:
        choice.record(settings, None)
    return code


def down(settings: Settings, *, wipe: bool) -> int:
    state = supervisor.read_state(settings)
    if state and supervisor.alive(state):
        main_process = psutil.Process(int(state["supervisor"]["pid"]))
        main_process.send_signal(signal.SIGTERM)
        with console.status("Stopping …"), contextlib.suppress(psutil.TimeoutExpired):
            main_process.wait(60)
        console.print("The stack is down.")
    else:
        stopped = supervisor.stop_orphans(state)
        words = f"{_KILLED} Stopped {', '.join(stopped)}." if stopped else "The stack was not up."
        console.print(words, soft_wrap=True)
    if wipe:
        for folder in (settings.data, postgres_data(settings)):
            shutil.rmtree(folder, ignore_errors=True)
        console.print(f"Deleted {_relative(settings.data)}.")
    return 0


def status_(settings: Settings, asked: str) -> int:
    chosen = choice.to_look_at(asked, settings, console)
    return chosen.containers.status() if chosen.containers else status(settings)


def status(settings: Settings) -> int:
    state = supervisor.read_state(settings)
    if not state or not supervisor.alive(state):
        left = ", ".join(supervisor.orphans(state))
        words = f"{_KILLED} Still running: {left}. make up starts the stack anew on its data, make down ends it."
        console.print(words if left else "The stack is down. Start it with make up.", soft_wrap=True)
        return 1
    console.print(_table(state))
    return 0 if all(row["status"] == "healthy" for row in state["processes"]) else 1


def logs_(settings: Settings, asked: str, options: argparse.Namespace) -> int:
    chosen = choice.to_look_at(asked, settings, console)
    if chosen.containers:
        return chosen.containers.logs(options.name, options.lines, follow=not options.no_follow)
    return logs(settings, options.name, options.lines, follow=not options.no_follow)


def logs(settings: Settings, name: str | None, lines: int, *, follow: bool) -> int:
    found = sorted(settings.logs.glob("*.log"))
    names = [path.stem for path in found]
    if name is not None and name not in names:
        there = ", ".join(names) or "none yet"
        console.print(f"[red]There is no log of {name!r}; there are: {there}[/]", soft_wrap=True)
        return 2
    chosen = [str(path) for path in found if name in {None, path.stem}]
    if not chosen:
        console.print("There are no logs yet. Start the stack with make up.")
        return 1
    command = ["tail", "-n", str(lines), *(["-F"] if follow else []), *chosen]
    return _become(command, os.environ)


def operate(settings: Settings, asked: str, name: str, words: Sequence[str]) -> int:
    """Runs a service's own command (dead letters, needs-setup …) with this stack's settings."""
    services = {process.name: process for process in processes(settings) if process.after}
    if name not in services:
        console.print(f"[red]{escape(name)} is no service of the stack; there are: {', '.join(services)}[/]")
        return 2
    chosen = choice.to_look_at(asked, settings, console)
    if chosen.containers:
        return chosen.containers.operate(name, words)
    command = module_command(services[name].arguments[0], *words)
    return _become(command, {**os.environ, **services[name].environment})


def _become(command: list[str], environment: Mapping[str, str]) -> NoReturn:
    """Replaces this process by the command, so that a signal to us ends the command."""
    sys.stdout.flush()
    os.execvpe(command[0], command, environment)  # noqa: S606 (no shell is wanted)


def _table(state: Mapping[str, Any], title: str | None = None) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for column in ("process", "state", "pid", "restarts", "address"):
        table.add_column(column, header_style="bold", overflow="fold")
    for row in state["processes"]:
        mark = _MARKS.get(row["status"], f"[yellow]◐[/] {row['status']}")
        table.add_row(row["name"], mark, str(row["pid"] or ""), str(row["restarts"] or ""), row["address"])
    return table


def _relative(path: Path) -> str:
    return os.path.relpath(path)
