"""Compose: a file in each member's folder, and the members' lists in ``docker-compose.yml``."""

import json
from collections.abc import Iterator
from typing import Final

from roster.members import SESSION_TIMEOUT_SECONDS, Member, Place, Roster, consoles, port_variable

SITE_FILE: Final = "/etc/suite/northside.yaml"
JOB_MEMORY_MB: Final = 192


def place(roster: Roster) -> Place:
    """Each container has its member's name and listens on the member's default ports."""
    return Place(
        host=lambda target: target.member,
        port=lambda target: str(roster.by_name[target.member].ports[target.port]),
        browser_port=lambda target: published(roster.by_name[target.member], target.port),
        site_file=SITE_FILE,
    )


def published(member: Member, port: str) -> str:
    """The port on this machine, as a variable that Compose reads from the environment."""
    return f"${{{port_variable(member.target(port))}:-{member.ports[port]}}}"


def member_file(member: Member, roster: Roster) -> str:
    """``compose.yaml`` of a member's folder."""
    return "\n".join(_service(member, roster) if member.is_service else _simulator(member, roster)) + "\n"


def _common(member: Member, environment: dict[str, str]) -> Iterator[str]:
    """Settings of every container of the member; no rights beyond its own files."""
    yield f"  image: ${{SUITE_IMAGE_PREFIX:-suite/}}{member.name}:${{SUITE_IMAGE_TAG:-dev}}"
    yield "  read_only: true"
    yield "  cap_drop: [ALL]"
    yield '  security_opt: ["no-new-privileges:true"]'
    yield '  tmpfs: ["/tmp:size=32m"]'
    yield "  pids_limit: 256"
    yield '  logging: {driver: json-file, options: {max-size: 10m, max-file: "3"}}'
    if environment:
        yield "  environment:"
        yield from (
            f"    {name}: {json.dumps(value)}" if value else f"    {name}:" for name, value in environment.items()
        )


def _ports(member: Member) -> Iterator[str]:
    yield "    ports:"
    yield from (f'      - "127.0.0.1:{published(member, name)}:{port}"' for name, port in member.ports.items())


def _service(member: Member, roster: Roster) -> Iterator[str]:
    name, prefix, secret = member.name, member.prefix, f"{member.database}_store_url"
    environment = {
        f"{prefix}_ENVIRONMENT": "development",
        f"{prefix}_STORE__URL_FILE": f"/run/secrets/{secret}",
        f"{prefix}_KAFKA__BOOTSTRAP_SERVERS": "kafka:9092",
        **({f"{prefix}_KAFKA__SESSION_TIMEOUT_SECONDS": str(SESSION_TIMEOUT_SECONDS)} if member.hears else {}),
        f"{prefix}_HTTP__CONSOLES": consoles(member, {one.name: published(one, "http") for one in roster.services}),
        **member.settings(place(roster)),
        f"{prefix}_TELEMETRY__OTLP_ENDPOINT": "",  # from the environment of `docker compose`, where set
    }
    yield "x-service: &service"
    yield from _common(member, environment)
    yield f"  secrets: [{secret}]"
    if member.reads_site_file:
        yield '  volumes: ["../../deploy/site:/etc/suite:ro"]'
    yield f"""
services:
  {name}-migrate:
    <<: *service
    command: [migrate]
    restart: "no"
    mem_limit: {JOB_MEMORY_MB}m
    healthcheck: {{disable: true}}
    depends_on:
      databases: {{condition: service_completed_successfully}}

  # A stop may take as long as the service drains (25 s) and a little more.
  {name}: &run
    <<: *service
    restart: unless-stopped"""
    yield from _ports(member)
    yield f"""\
    mem_limit: {member.memory_mb}m
    stop_grace_period: 35s
    depends_on:
      topics: {{condition: service_completed_successfully}}
      {name}-migrate: {{condition: service_completed_successfully}}

  {name}-2:
    <<: *run
    profiles: [replicas]
    ports: []
    networks:
      default: {{aliases: [{name}]}}

secrets:
  {secret}:
    file: ${{SUITE_SECRETS_DIR:-../../.local/secrets}}/{secret}"""


def _simulator(member: Member, roster: Roster) -> Iterator[str]:
    yield "x-simulator: &simulator"
    yield from _common(member, member.settings(place(roster)))
    yield f"""
services:
  {member.name}:
    <<: *simulator
    restart: unless-stopped
    volumes: ["{member.name}:/data"]"""
    yield from _ports(member)
    yield f"""\
    mem_limit: {member.memory_mb}m

volumes:
  {member.name}:"""


def included(roster: Roster) -> Iterator[str]:
    for member in roster.members:
        yield f"- {member.place}/compose.yaml"


def alarm_rules(roster: Roster) -> Iterator[str]:
    """Prometheus' volumes: the alarm files of the services."""
    for service in roster.services:
        if (service.folder / "alarms.yaml").exists():
            yield f"- ./{service.place}/alarms.yaml:/etc/prometheus/rules/{service.name}.yaml:ro"


def scraped(roster: Roster) -> str:
    """``deploy/observability/prometheus.yml``."""
    lines = [
        "# What Prometheus scrapes on Compose. Each job finds each process of its service by name; alarms are mounted.",
        "global:",
        "  scrape_interval: 5s",
        "  evaluation_interval: 5s",
        "rule_files: [/etc/prometheus/rules/*.yaml]",
        "scrape_configs:",
    ]
    for service in roster.services:
        names = f"[{service.name}]"
        lines.append(f"  - job_name: {service.name}")
        lines.append(f"    dns_sd_configs: [{{names: {names}, type: A, port: {service.http}, refresh_interval: 5s}}]")
    return "\n".join(lines) + "\n"
