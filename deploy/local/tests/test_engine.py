"""The error for a machine whose containers cannot be used: one line with the missing thing and the remedy."""

import json
import re
from pathlib import Path

import pytest

from local_stack import images
from local_stack.engine import Engine, EngineError

ENGINE = {"version": (0, json.dumps({"Version": "28.0", "Arch": "amd64"}), "")}


def test_a_machine_without_the_command(empty_path) -> None:
    with pytest.raises(EngineError, match="there is no docker command here"):
        Engine.find(empty_path)


def test_another_command_can_be_named_and_is_missed_by_its_name(empty_path) -> None:
    with pytest.raises(EngineError, match="there is no podman command here"):
        Engine.find({**empty_path, "SUITE_DOCKER": "podman"})


def test_a_client_without_an_engine(fake_command) -> None:
    refusal = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock."
    with pytest.raises(EngineError, match=r"no container engine answers \(Cannot connect to the Docker daemon"):
        Engine.find(fake_command("docker", {"version": (1, "null", refusal)}))


def test_an_engine_that_answers_is_known_by_version_and_architecture(fake_command) -> None:
    answer = {"version": (0, json.dumps({"Version": "28.0", "Arch": "x86_64"}), "")}
    engine = Engine.find(fake_command("docker", answer))
    assert (engine.version, engine.architecture) == ("28.0", "amd64")


def test_an_image_that_cannot_be_pulled_names_the_offline_command(fake_command) -> None:
    refused = "Error response from daemon: dial tcp: lookup registry: no such host"
    engine = Engine.find(fake_command("docker", {**ENGINE, "pull": (1, "", refused)}))
    with pytest.raises(
        EngineError, match=r"kafka:1 cannot be pulled \(.*no such host\): make images-offline builds it"
    ):
        engine.pull("kafka:1")


def test_an_image_of_another_architecture_is_named(fake_command) -> None:
    engine = Engine.find(fake_command("docker", {**ENGINE, "image inspect": (0, '"arm64"\n', "")}))
    with pytest.raises(EngineError, match=r"image kafka:1 is for arm64, this engine runs amd64: remove it"):
        engine.has("kafka:1")


def test_an_image_that_is_not_there(fake_command) -> None:
    engine = Engine.find(fake_command("docker", {**ENGINE, "image inspect": (1, "[]", "No such image")}))
    assert not engine.has("kafka:1")


@pytest.mark.parametrize(
    ("held", "chosen"),
    [
        ((), images.PUBLIC_KAFKA),
        ((images.OFFLINE_KAFKA,), images.OFFLINE_KAFKA),
        ((images.PUBLIC_KAFKA, images.OFFLINE_KAFKA), images.PUBLIC_KAFKA),
    ],
)
def test_the_public_image_comes_first_and_the_offline_one_where_only_that_is_there(
    fake_command, monkeypatch, held, chosen
) -> None:
    monkeypatch.delenv("SUITE_KAFKA_IMAGE", raising=False)
    question = "image inspect --format {{json .Architecture}} "
    answers = {question + image: (0, '"amd64"', "") for image in held}
    engine = Engine.find(fake_command("docker", {**ENGINE, **answers}))
    assert images.KAFKA.choose(engine) == chosen


def test_an_image_that_is_set_is_taken_whatever_is_there(fake_command, monkeypatch) -> None:
    monkeypatch.setenv("SUITE_KAFKA_IMAGE", "mirror.example/kafka:1")
    assert images.KAFKA.choose(Engine.find(fake_command("docker", ENGINE))) == "mirror.example/kafka:1"


def test_compose_of_the_client_is_used(fake_command, tmp_path) -> None:
    engine = Engine.find(fake_command("docker", {**ENGINE, "compose version": (0, "2.40.3\n", "")}))
    assert engine.compose(tmp_path / "none")[-1] == "compose"


@pytest.mark.parametrize("version", ["1.29.2", "2.3.3", "2.19.1"])
def test_an_old_compose_is_named_with_its_version(fake_command, tmp_path, version) -> None:
    fake_command("docker-compose", {"version": (0, f"v{version}\n", "")})
    engine = Engine.find(fake_command("docker", ENGINE))
    words = f"docker-compose {version} is too old: install Compose 2.20 or later, or make images-offline"
    with pytest.raises(EngineError, match=re.escape(words)):
        engine.compose(tmp_path / "none")


def test_an_old_compose_of_the_client_gives_way_to_a_newer_one(fake_command, tmp_path) -> None:
    fake_command("docker-compose", {"version": (0, "v2.20.0\n", "")})
    engine = Engine.find(fake_command("docker", {**ENGINE, "compose version": (0, "2.19.1\n", "")}))
    assert Path(engine.compose(tmp_path / "none")[-1]).name == "docker-compose"


def test_no_compose_at_all(fake_command, tmp_path) -> None:
    engine = Engine.find(fake_command("docker", ENGINE))
    with pytest.raises(EngineError, match="there is no docker compose here"):
        engine.compose(tmp_path / "none")


def test_a_compose_that_was_built_here_is_used_where_the_client_has_none(fake_command, tmp_path) -> None:
    fake_command("built-compose", {"version": (0, "v2.40.3\n", "")})
    built = tmp_path / "fake-bin" / "built-compose"
    assert Engine.find(fake_command("docker", ENGINE)).compose(built) == [str(built)]


def test_a_new_client_without_buildx_cannot_build(fake_command) -> None:
    engine = Engine.find(
        fake_command("docker", {**ENGINE, "--version": (0, "Docker version 28.2.2, build e6534b4", "")})
    )
    with pytest.raises(EngineError, match="install its buildx plugin"):
        _ = engine.builder


@pytest.mark.parametrize(
    "answers",
    [
        {"buildx version": (0, "github.com/docker/buildx v0.20.1", ""), "--version": (0, "Docker version 28.2.2", "")},
        {"--version": (0, "Docker version 20.10.24+dfsg1, build 297e128", "")},
    ],
    ids=["buildx", "built in"],
)
def test_a_client_that_has_buildkit_builds(fake_command, answers) -> None:
    command, environment = Engine.find(fake_command("docker", {**ENGINE, **answers})).builder
    assert command[-1] == "build"
    assert environment["DOCKER_BUILDKIT"] == "1"
