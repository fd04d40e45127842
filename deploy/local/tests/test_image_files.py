"""The promises of every image, read from its files; and each member's part of the lock."""

import importlib.metadata
import importlib.util
import re
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement

from local_stack import images
from local_stack.containers import jobs
from local_stack.settings import ROOT
from roster import roster

SCRIPT = ROOT / "deploy" / "images" / "requirements_of.py"
MEMBERS = sorted(member.folder for member in roster().members)


def _composed() -> dict:
    """The whole Compose model of these tests: the main file and its includes."""
    main = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    for name in main["include"]:
        part = yaml.safe_load((ROOT / name).read_text())
        for kind in ("services", "secrets", "volumes"):
            main[kind] |= part.get(kind, {})
    return main


COMPOSE = _composed()


def _script():
    spec = importlib.util.spec_from_file_location("requirements_of", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


requirements_of = _script()


def _names(requirements: str) -> set[str]:
    return {
        requirements_of.normalized(name) for name in re.findall(r"^([A-Za-z0-9._-]+)==", requirements, re.MULTILINE)
    }


@pytest.mark.parametrize("member", MEMBERS, ids=lambda path: path.name)
def test_a_members_part_of_the_lock_is_closed_and_holds_nothing_for_developers(member) -> None:
    part = requirements_of.requirements_of(ROOT, member.relative_to(ROOT))
    names = _names(part)
    own = {tomllib.loads((folder / "pyproject.toml").read_text())["project"]["name"]
           for folder in requirements_of.members_of(ROOT, member.relative_to(ROOT))}  # fmt: skip
    for name in names:
        for line in importlib.metadata.requires(name) or []:
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                assert requirements_of.normalized(requirement.name) in names | own, f"{name} needs {requirement.name}"
    assert not names & {"pytest", "ruff", "mypy", "hypothesis", "playwright", "testcontainers", "uv", "hatchling"}
    assert part.count("--hash=sha256:") >= len(names) > 5
    assert all("--hash=sha256:" in block for block in re.split(r"^(?=[A-Za-z0-9])", part, flags=re.MULTILINE)[1:])


def test_a_requirement_that_the_lock_lacks_is_named(tmp_path) -> None:
    member = tmp_path / "services" / "new"
    member.mkdir(parents=True)
    (member / "pyproject.toml").write_text('[project]\nname = "new"\ndependencies = ["unheard-of>=1"]\n')
    (tmp_path / "requirements.lock").write_text("known==1 \\\n    --hash=sha256:00\n    # via\n    #   new\n")
    with pytest.raises(requirements_of.LockError, match="has no unheard-of, which new asks for: run make lock"):
        requirements_of.requirements_of(tmp_path, member.relative_to(tmp_path))


@pytest.mark.parametrize("member", MEMBERS, ids=lambda path: path.name)
def test_every_service_and_simulator_has_an_image_that_keeps_the_promises(member) -> None:
    lines = (member / "Dockerfile").read_text().splitlines()
    instructions = [line for line in lines if line and not line.startswith(("#", " "))]
    final = instructions[max(index for index, line in enumerate(instructions) if line.startswith("FROM")) :]
    assert "ARG BASE_IMAGE=docker.io/library/python:3.13-slim-bookworm" in instructions
    assert [line for line in instructions if line.startswith("FROM")] == [
        "FROM ${BUILD_IMAGE} AS build",
        "FROM ${BASE_IMAGE}",
    ]
    assert "USER 10001:10001" in final
    assert any(line.startswith("HEALTHCHECK ") for line in final)
    ports = [str(port) for port in roster().by_name[member.name].ports.values()]
    assert f"EXPOSE {' '.join(ports)}" in final
    assert re.search(rf'healthcheck.py", "{ports[0]}", ', "\n".join(lines))
    assert f'ENTRYPOINT ["python", "-m", "{roster().by_name[member.name].package}"]' in final
    assert not [line for line in final if line.startswith(("RUN", "ADD"))], "the final stage installs nothing"
    text = "\n".join(lines)
    for label in ("title", "description", "licenses", "version", "revision", "created"):
        assert f"org.opencontainers.image.{label}=" in text
    assert f'image.title="{member.name}"' in text


def test_the_dockerfiles_differ_only_in_what_is_the_members_own() -> None:
    def common(member) -> list[str]:
        kept = []
        for line in (member / "Dockerfile").read_text().splitlines():
            own = r"#|COPY simulators/kit |    [A-Z_]+=|EXPOSE|    CMD|ENTRYPOINT|CMD|.*image\.(title|description)="
            if not re.match(own, line):
                kept.append(line.replace(str(member.relative_to(ROOT)), "MEMBER"))
        return kept

    first, *others = (common(member) for member in MEMBERS)
    assert all(other == first for other in others)


def test_compose_runs_every_member_restricted_and_within_four_gibibytes() -> None:
    services = COMPOSE["services"]
    always = {name: service for name, service in services.items() if not service.get("profiles")}
    for member in images.members():
        service = services[member.name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
    # A job ends before what waits for it starts.
    staying = [service for service in always.values() if service.get("restart") != "no"]
    assert sum(_bytes(service["mem_limit"]) for service in staying) <= 4 * 2**30
    assert jobs() == {name for name, service in services.items() if service.get("restart") == "no"}


def _bytes(words: str) -> int:
    return int(words[:-1]) * {"m": 2**20, "g": 2**30}[words[-1]]


def test_compose_publishes_nothing_beyond_this_machine_and_holds_no_secret() -> None:
    for name, service in COMPOSE["services"].items():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), f"{name} publishes {port}"
    for name, secret in COMPOSE["secrets"].items():
        assert secret["file"].endswith(f"/{name}")
    values = [
        str(value)
        for service in COMPOSE["services"].values()
        for value in service.get("environment", {}).values()
        if value
    ]
    assert not [value for value in values if "postgresql://" in value]


def test_compose_names_the_same_public_images_as_the_commands() -> None:
    assert COMPOSE["services"]["kafka"]["image"] == f"${{SUITE_KAFKA_IMAGE:-{images.PUBLIC_KAFKA}}}"
    assert COMPOSE["services"]["postgres"]["image"] == f"${{SUITE_POSTGRES_IMAGE:-{images.PUBLIC_POSTGRES}}}"


def test_prometheus_scrapes_every_service_and_knows_its_alarms() -> None:
    scraped = yaml.safe_load((ROOT / "deploy" / "observability" / "prometheus.yml").read_text())["scrape_configs"]
    mounted = {volume.split(":")[0] for volume in COMPOSE["services"]["prometheus"]["volumes"]}
    services = [member for member in images.members() if member.is_service]
    assert {job["job_name"] for job in scraped} == {service.name for service in services}
    for service in services:
        alarms = service.folder / "alarms.yaml"
        assert not alarms.exists() or f"./{alarms.relative_to(ROOT)}" in mounted
    assert all((ROOT / path).exists() for path in mounted)
