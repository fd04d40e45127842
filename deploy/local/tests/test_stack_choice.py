"""The stack that a command or a test session gets, on machines with and without an engine, and its message."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from rich.console import Console

from local_stack import choice, images, offline, servers
from local_stack.containers import ContainerStack, _container, _rows
from local_stack.engine import Engine, EngineError
from local_stack.settings import GivenServers, Ports, Settings, SettingsError, service_databases

ENGINE = {"version": (0, json.dumps({"Version": "28.0", "Arch": "amd64"}), "")}
COMPOSE = {"compose version": (0, "2.40.3\n", ""), "compose": (0, "", "")}
REFUSED = (1, "", "Error response from daemon: lookup registry: no such host")


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(offline, "COMPOSE_BINARY", tmp_path / "no-compose-built-here")
    for name in ("POSTGRES_ADMIN_URL", "KAFKA_BOOTSTRAP_SERVERS", "STACK", "SUITE_KAFKA_IMAGE", "SUITE_POSTGRES_IMAGE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SUITE_IMAGE_PREFIX", "suite/")


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings(tmp_path, Ports())


@pytest.fixture
def machine(fake_command, monkeypatch):
    def make(answers) -> None:
        monkeypatch.setenv("PATH", fake_command("docker", answers)["PATH"])

    return make


def has(*names: str):
    return {f"image inspect --format {{{{json .Architecture}}}} {name}": (0, '"amd64"', "") for name in names}


def all_images():
    return has(images.PUBLIC_KAFKA, images.PUBLIC_POSTGRES, *(member.image for member in images.members()))


def test_without_an_engine_it_is_the_embedded_stack_and_says_why(settings, empty_path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", empty_path["PATH"])
    chosen = choice.to_start("auto", settings, Console())
    assert (chosen.stack, chosen.why) == ("embedded", "there is no docker command here")


def test_an_engine_with_the_images_is_taken(settings, machine) -> None:
    machine({**ENGINE, **COMPOSE, **all_images()})
    chosen = choice.to_start("auto", settings, Console())
    assert (chosen.stack, chosen.why) == ("docker", "engine 28.0 has the images")


def test_an_engine_that_cannot_pull_leaves_the_embedded_stack_and_names_the_offline_command(settings, machine) -> None:
    machine({**ENGINE, **COMPOSE, "image inspect": (1, "", ""), "pull": REFUSED})
    chosen = choice.to_start("auto", settings, Console())
    assert chosen.stack == "embedded"
    assert f"{images.PUBLIC_KAFKA} cannot be pulled" in chosen.why
    assert "make images-offline" in chosen.why


def test_containers_that_were_asked_for_are_not_quietly_replaced(settings, machine) -> None:
    machine({**ENGINE, **COMPOSE, "image inspect": (1, "", ""), "pull": REFUSED})
    with pytest.raises(EngineError, match="make images-offline"):
        choice.to_start("docker", settings, Console())


def test_an_old_compose_leaves_the_embedded_stack(settings, machine, fake_command) -> None:
    fake_command("docker-compose", {"version": (0, "1.29.2", "")})
    machine({**ENGINE, **all_images()})
    assert "docker-compose 1.29.2 is too old" in choice.to_start("auto", settings, Console()).why


def test_embedded_asks_no_engine(settings, machine) -> None:
    machine({})
    assert choice.to_start("embedded", settings, Console()).why == "asked for"


def test_what_was_started_is_what_down_and_status_mean(settings, machine) -> None:
    machine({**ENGINE, **COMPOSE})
    choice.record(settings, "docker")
    assert choice.to_look_at("auto", settings, Console()).stack == "docker"
    choice.record(settings, None)
    assert choice.to_look_at("auto", settings, Console()).stack == "embedded"


def test_a_word_that_is_no_stack_is_named() -> None:
    with pytest.raises(SettingsError, match="STACK='podman' is none of auto, embedded, docker"):
        choice.asked("podman")


def test_a_missing_secret_of_data_that_is_there_is_named(settings, machine) -> None:
    machine({**ENGINE, **COMPOSE, "volume inspect": (0, "[{}]", "")})
    stack = ContainerStack(Engine.find(), settings, Console())
    with pytest.raises(EngineError, match=r"the secret .*postgres_password is missing, but .*: put it back, or delete"):
        stack._secrets()
    machine({**ENGINE, **COMPOSE})
    ContainerStack(Engine.find(), settings, Console())._secrets()
    made = {path.name: path.stat().st_mode & 0o777 for path in settings.secrets.iterdir()}
    assert made == dict.fromkeys(
        ["postgres_password", "role_passwords", *(f"{name}_store_url" for name in service_databases())], 0o444
    )
    assert settings.secrets.stat().st_mode & 0o777 == 0o700
    first = (settings.secrets / "postgres_password").read_text()
    ContainerStack(Engine.find(), settings, Console())._secrets()
    assert (settings.secrets / "postgres_password").read_text() == first


def test_what_compose_gave_up_on_is_said_in_its_own_words(settings, machine, monkeypatch, capsys) -> None:
    monkeypatch.setattr(images, "outdated", lambda _engine: [])
    row = json.dumps({"Service": "postgres", "Name": "p", "State": "created"})
    answers = {**ENGINE, "compose version": (0, "2.40.3\n", ""), **all_images()}
    machine(answers)
    command = " ".join(ContainerStack(Engine.find(), settings, Console())._compose()[1:])
    machine({**answers, f"{command} up": (1, "", "Error: setrlimit: Operation not permitted"),
             f"{command} --profile * ps": (0, row, "")})  # fmt: skip
    assert ContainerStack(Engine.find(), settings, Console()).up() == 1
    assert "did not start: Error: setrlimit: Operation not permitted" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("row", "status", "settled"),
    [
        ({"Service": "kafka", "State": "running", "Health": "healthy"}, "healthy", True),
        ({"Service": "kafka", "State": "running", "Health": "starting"}, "starting", False),
        ({"Service": "topics", "State": "exited", "ExitCode": 0}, "done", True),
        ({"Service": "topics", "State": "exited", "ExitCode": 1}, "failed with 1", False),
        ({"Service": "kafka", "State": "exited", "ExitCode": 0}, "stopped", False),
        ({"Service": "kafka", "State": "restarting", "ExitCode": 1}, "restarting", False),
    ],
)
def test_what_compose_says_of_a_container_in_our_words(row, status, settled) -> None:
    container = _container(row, {})
    assert (container.status, container.settled) == (status, settled)


def test_both_shapes_of_composes_listing_are_read() -> None:
    rows = [{"Service": "a"}, {"Service": "b"}]
    assert _rows("\n".join(json.dumps(row) for row in rows)) == _rows(json.dumps(rows)) == rows


def test_a_session_takes_containers_where_the_images_are(machine) -> None:
    machine({**ENGINE, **has(images.OFFLINE_KAFKA, images.OFFLINE_POSTGRES)})
    chosen = servers.choose("auto")
    assert not chosen.embedded
    assert chosen.words == f"containers of {images.OFFLINE_POSTGRES} and {images.OFFLINE_KAFKA} on engine 28.0"


def test_a_session_without_the_images_is_embedded_and_says_what_is_missing(machine) -> None:
    machine({**ENGINE, "image inspect": (1, "", ""), "pull": REFUSED})
    chosen = servers.choose("auto")
    assert chosen.embedded
    assert f"the engine has no {images.PUBLIC_POSTGRES}: pull it, or make images-offline" in chosen.words


def test_a_session_that_asks_for_containers_gets_them_or_an_error(machine) -> None:
    machine({**ENGINE, "image inspect": (1, "", ""), "pull": REFUSED})
    with pytest.raises(EngineError, match="make images-offline builds it here"):
        servers.choose("containers")


def test_servers_that_are_given_come_first(machine, monkeypatch) -> None:
    machine({})
    monkeypatch.setenv("POSTGRES_ADMIN_URL", "postgresql://postgres:x@127.0.0.1:1/postgres")
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:2")
    chosen = servers.choose("containers")
    assert chosen.words == "given by the environment"
    with chosen.started() as stack:
        assert stack.kafka_bootstrap == "127.0.0.1:2"


def test_one_given_server_is_refused(monkeypatch) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:2")
    with pytest.raises(SettingsError, match="POSTGRES_ADMIN_URL is not set: give both servers, or neither"):
        GivenServers.from_environment()


def test_given_servers_are_what_services_connect_to(tmp_path) -> None:
    given = GivenServers("postgresql://postgres:x@127.0.0.1:4711/postgres", "127.0.0.1:2")
    settings = Settings(tmp_path, Ports(), given)
    password = settings.passwords()["notifier"]
    assert settings.database_url("notifier") == f"postgresql://notifier:{password}@127.0.0.1:4711/notifier"
    assert settings.kafka_bootstrap == "127.0.0.1:2"
    assert (tmp_path / "secrets.json").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("machine", "taken"),
    [(("tmpfs", 8, 8), "."), (("ext4", 8, 8), None), (("tmpfs", 0.06, 8), None), (("tmpfs", 8, 2), None)],
)
def test_a_sessions_servers_keep_their_data_in_memory_where_that_has_room(
    machine, taken, tmp_path, monkeypatch
) -> None:
    kind, free_gib, available_gib = machine
    disk = SimpleNamespace(mountpoint=str(tmp_path), fstype=kind)
    monkeypatch.setattr(psutil, "disk_partitions", lambda *, all: [disk])  # noqa: A006 (psutil's name)
    monkeypatch.setattr(psutil, "disk_usage", lambda _: SimpleNamespace(free=free_gib * 1024**3))
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=available_gib * 1024**3))
    assert servers.folder_in_memory(tmp_path) == (taken and tmp_path)


def test_a_folder_that_is_missing_or_on_disk_holds_no_servers_data(tmp_path: Path) -> None:
    assert servers.folder_in_memory(tmp_path / "missing") is None


def test_the_folders_of_killed_sessions_are_removed_and_no_others(tmp_path: Path) -> None:
    no_process = 2**22 + 1  # above Linux's largest process id
    for name in (f"suite-stack-{no_process}-a", f"suite-stack-{os.getpid()}-b", "suite-stack-abc-d", "another"):
        (tmp_path / name / "postgres").mkdir(parents=True)
    servers.remove_leftovers(tmp_path)
    left = {folder.name for folder in tmp_path.iterdir()}
    assert left == {f"suite-stack-{os.getpid()}-b", "suite-stack-abc-d", "another"}
