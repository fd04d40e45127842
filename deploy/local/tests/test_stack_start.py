"""Obstacles to a start: taken ports, and processes that a killed supervisor left running."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest
from rich.console import Console

from local_stack import cli, ports, supervisor
from local_stack.settings import ROOT, Ports, Settings
from roster.members import port_variable

SLEEPER = """
import signal, sys, time
def told(number, _):
    print(signal.Signals(number).name, flush=True)
    if "deaf" not in sys.argv:
        sys.exit()
signal.signal(signal.SIGTERM, told)
signal.signal(signal.SIGINT, told)
print("ready", flush=True)
time.sleep(300)
time.sleep(300)
"""
"""Prints the signal that it gets and ends by it, unless it is deaf."""


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch) -> None:
    for name in ("POSTGRES_ADMIN_URL", "KAFKA_BOOTSTRAP_SERVERS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def said(monkeypatch) -> Iterator[Console]:
    """The commands' output."""
    recording = Console(record=True, width=200, force_terminal=False)
    monkeypatch.setattr(cli, "console", recording)
    return recording


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings(tmp_path, Ports.each(ports.free_port))


@pytest.fixture
def spawned() -> Iterator[list["subprocess.Popen[bytes]"]]:
    children: list[subprocess.Popen[bytes]] = []
    yield children
    for child in children:
        child.kill()
        child.communicate()


def run(children: list["subprocess.Popen[bytes]"], *arguments: str) -> "subprocess.Popen[bytes]":
    child = subprocess.Popen([sys.executable, "-c", SLEEPER, *arguments], stdout=subprocess.PIPE)
    children.append(child)
    assert child.stdout
    child.stdout.readline()
    return child


def signals(child: "subprocess.Popen[bytes]") -> str:
    """The signals that the process got, read to its end."""
    assert child.stdout
    return child.stdout.read().decode().strip()


def killed_supervisor(settings: Settings, left: dict[str, "subprocess.Popen[bytes]"], age: float = 0) -> None:
    """The state file of a dead supervisor; ``age`` moves its children's start times into the past."""
    gone = subprocess.Popen([sys.executable, "-c", SLEEPER], stdout=subprocess.DEVNULL)
    state = {"supervisor": supervisor._identity(gone.pid), "phase": "up", "failure": "", "processes": []}
    gone.kill()
    gone.wait()
    for name, child in left.items():
        identity = supervisor._identity(child.pid)
        row = {"name": name, "status": "healthy", "restarts": 0, "since": 0, "address": ""}
        state["processes"].append({**row, **identity, "began": identity["began"] - age})
    state["processes"].append({"name": "mailsink", "status": "stopped", "pid": None, "restarts": 0, "address": ""})
    settings.state_file.parent.mkdir(parents=True)
    settings.state_file.write_text(json.dumps(state))


@pytest.mark.parametrize("name", list(Ports().numbers))
def test_a_taken_port_is_named_with_its_setting_and_nothing_starts(settings, said, name) -> None:
    port = settings.ports[name]
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        assert cli.up(settings) == 2
    (line,) = said.export_text().splitlines()
    assert line.startswith(f"Port {port} ({name.split('.')[0]}")
    assert f"(pid {psutil.Process().pid}): stop that, or set {port_variable(name)} to a free one." in line
    assert [path.name for path in settings.base.iterdir()] == ["secrets.json"], "nothing is left half-started"


def test_the_setting_that_is_named_moves_the_port(settings, monkeypatch) -> None:
    for name in Ports().numbers:
        free = ports.free_port()
        monkeypatch.setenv(port_variable(name), str(free))
        assert Ports.from_environment()[name] == free


def test_status_names_what_a_killed_supervisor_left(settings, said, spawned) -> None:
    killed_supervisor(settings, {"postgres": run(spawned), "kafka": run(spawned)})
    assert cli.status(settings) == 1
    text = said.export_text()
    assert "supervisor was killed and left servers running. Still running: postgres, kafka. make up starts" in text


def test_down_stops_what_a_killed_supervisor_left(settings, said, spawned) -> None:
    left = {"postgres": run(spawned), "notifier": run(spawned)}
    killed_supervisor(settings, left)
    assert cli.down(settings, wipe=False) == 0
    assert "left servers running. Stopped postgres, notifier." in said.export_text()
    assert signals(left["postgres"]) == "SIGINT", "Postgres' fast shutdown"
    assert signals(left["notifier"]) == "SIGTERM"


def test_up_stops_it_before_anything_else_and_says_that_the_data_is_kept(settings, said, spawned) -> None:
    left = run(spawned)
    killed_supervisor(settings, {"omegaai": left})
    kept = settings.data / "omegaai" / "kept"
    kept.parent.mkdir(parents=True)
    kept.touch()
    with socket.socket() as other:  # so that this start ends where the next one would begin
        other.bind(("127.0.0.1", settings.ports["notifier"]))
        other.listen()
        assert cli.up(settings) == 2
    assert signals(left) == "SIGTERM"
    assert "left servers running. Stopped omegaai; their data is kept." in said.export_text()
    assert kept.exists()


def test_one_that_does_not_stop_is_killed(settings, spawned, monkeypatch) -> None:
    monkeypatch.setattr(supervisor, "STOP_SECONDS", 0.2)
    deaf = run(spawned, "deaf")
    killed_supervisor(settings, {"kafka": deaf})
    assert supervisor.stop_orphans(supervisor.read_state(settings)) == ["kafka"]
    assert deaf.wait(10) == -9


def test_a_stranger_that_has_the_pid_by_now_is_left_alone(settings, said, spawned) -> None:
    """After a restart of the machine, a pid of the state file may belong to another program."""
    stranger = run(spawned)
    killed_supervisor(settings, {"kafka": stranger}, age=60)
    assert cli.down(settings, wipe=False) == 0
    assert said.export_text().strip() == "The stack was not up."
    assert stranger.poll() is None


def test_a_row_of_the_state_file_knows_its_process(settings, spawned) -> None:
    child = run(spawned)
    running = supervisor.Running(supervisor.processes(settings)[0], status="healthy", child=child)
    assert supervisor._runs(running.row())
    child.kill()
    child.wait()
    assert running.row()["pid"] is None


def test_a_mistake_in_a_members_file_is_said_at_the_start_in_one_line(tmp_path) -> None:
    """On a copy of the files that make the roster and the stack."""
    for name in ("deploy/roster/src", "deploy/local/src"):
        shutil.copytree(ROOT / name, tmp_path / name)
    service = tmp_path / "services" / "forms"
    service.mkdir(parents=True)
    (service / "pyproject.toml").touch()
    (service / "service.toml").write_text('name = "forms"\npackage = "forms"\nhttp = 8101\nmemory = 64\n')
    sources = os.pathsep.join(str(tmp_path / name) for name in ("deploy/roster/src", "deploy/local/src"))
    for words in (["up"], ["status"], ["down"]):
        done = subprocess.run(
            [sys.executable, "-m", "local_stack", *words], cwd=tmp_path, capture_output=True, text=True, check=False,
            env={**os.environ, "PYTHONPATH": sources, "SUITE_LOCAL_DIR": str(tmp_path / "local")},
        )  # fmt: skip
        assert done.returncode == 2
        said = (done.stdout + done.stderr).splitlines()
        assert said == [
            "services/forms/service.toml: memory: unknown key: did you mean memory_mb?",
            "services/forms/service.toml: memory_mb: is missing",
        ]
