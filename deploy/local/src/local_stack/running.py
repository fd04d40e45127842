"""Pytest fixtures: the whole suite as a user starts it, on its own ports and in its own folder."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from local_stack import kafka
from local_stack.fixtures import CHOSEN
from local_stack.ports import free_port
from local_stack.servers import JARS, Stack
from local_stack.settings import ROOT, Ports

SITE_FILE = ROOT / "deploy" / "site" / "northside.yaml"


@dataclass(frozen=True)
class Suite:
    """A running suite: its ports, its folder, and access to its effects."""

    ports: Ports
    base: Path
    environment: dict[str, str]

    def address(self, name: str) -> str:
        """The HTTP address of a process, such as ``powerserver``."""
        return f"http://127.0.0.1:{self.ports[name]}"

    @property
    def site_file(self) -> Path:
        """The suite's own copy of the site's mapping: a test may edit it as an operator would."""
        return self.base / SITE_FILE.name

    def get(self, name: str, path: str) -> Any:
        """The JSON answer at ``path``."""
        with urllib.request.urlopen(self.address(name) + path, timeout=10) as response:  # noqa: S310 (an address of ours)
            return json.load(response)

    def pids(self) -> dict[str, int]:
        """The process ids by name, as the supervisor knows them."""
        state = json.loads((self.base / "run" / "state.json").read_text())
        return {row["name"]: row["pid"] for row in state["processes"]}

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Runs ``python -m …`` against this suite."""
        return subprocess.run(
            [sys.executable, "-m", *arguments],
            env=self.environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )


@pytest.fixture(scope="session")
def suite(request: pytest.FixtureRequest) -> Iterator[Suite]:
    """The suite's processes as `make up` starts them, on the session's servers unless these are embedded."""
    with tempfile.TemporaryDirectory(prefix="suite-run-", ignore_cleanup_errors=True) as folder:
        base = Path(folder)
        base.chmod(0o755)
        shutil.copy(SITE_FILE.with_name("northside.hl7.yaml"), base)  # the mapping that the site file names
        ports = Ports.each(free_port)
        environment = {
            **os.environ,
            "STACK": "embedded",  # the suite's services are processes, also where Kafka and Postgres are containers
            "SUITE_LOCAL_DIR": folder,
            "SUITE_SITE_FILE": str(shutil.copy(SITE_FILE, base)),
            # The mails of a killed notifier wait for their lease, which depends on the mail server's time-out.
            "NOTIFIER_SMTP__TIMEOUT_SECONDS": "10",
            **_servers(request),
            **ports.variables(),
        }
        started = Suite(ports, base, environment)
        try:
            up = started.run("local_stack", "--stack", "embedded", "up")
            if up.returncode != 0:
                pytest.fail(f"the stack did not start: {up.stdout}{up.stderr}")
            yield started
        finally:
            started.run("local_stack", "--stack", "embedded", "down")


def _servers(request: pytest.FixtureRequest) -> dict[str, str]:
    """The source of the suite's servers: its own, from the jars, or the session's."""
    if request.config.stash[CHOSEN].embedded:
        jars = os.environ.get("KAFKA_JARS_DIR", str(JARS))
        kafka.fetch_jars(Path(jars))
        return {"KAFKA_JARS_DIR": jars}
    servers: Stack = request.getfixturevalue("stack")
    return {"POSTGRES_ADMIN_URL": servers.postgres_admin_url, "KAFKA_BOOTSTRAP_SERVERS": servers.kafka_bootstrap}
