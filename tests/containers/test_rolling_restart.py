"""Replaces every process of both services in turn, under load, on Compose: no message is lost or doubled.

A partner may receive a message once more when the process that held its connection ends, and no oftener.
"""

import json
import os
import subprocess
import sys
from collections import Counter

import pytest

from local_stack import offline
from local_stack.engine import Engine, EngineError
from local_stack.fixtures import CHOSEN, free_port
from local_stack.running import Suite
from local_stack.settings import ROOT, Ports

pytestmark = pytest.mark.stack

PROJECT = "suite-rolling-test"
MOST_SENDS = 2  # the first attempt, and one retry


@pytest.fixture(scope="module")
def composed(request, tmp_path_factory):
    """The suite on Compose with two processes of each service."""
    if request.config.stash[CHOSEN].embedded:
        pytest.skip("replicas are replaced on Compose, and this session's stack is the embedded one")
    try:
        Engine.find().compose(offline.COMPOSE_BINARY)
    except EngineError as error:
        pytest.skip(str(error))
    base = tmp_path_factory.mktemp("compose")
    ports = Ports.each(free_port)
    environment = {
        **os.environ,
        **ports.variables(),
        "SUITE_LOCAL_DIR": str(base), "SUITE_COMPOSE_PROJECT": PROJECT,
        "COMPOSE_PROFILES": "replicas", "STACK": "docker",
    }  # fmt: skip
    suite = Suite(ports, base, environment)
    try:
        up = suite.run("local_stack", "up")
        assert up.returncode == 0, up.stdout + up.stderr
        yield suite
    finally:
        suite.run("local_stack", "down", "--wipe")


def sends(suite: Suite) -> dict[str, int]:
    """The number of attempts for each of PowerServer's messages, from the simulator's own store."""
    question = (
        "import sqlite3, json; store = sqlite3.connect('/data/powerserver.sqlite3'); "
        "print(json.dumps(dict(store.execute('select control_id, attempts from outbound').fetchall())))"
    )
    container = f"{PROJECT}-powerserver-1"
    done = subprocess.run(
        ["docker", "exec", container, "python", "-c", question], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def rows_of(suite: Suite, name: str) -> list[dict]:
    rows, after = [], 0
    while page := suite.get(name, f"/ledger?after={after}&limit=1000")["rows"]:
        rows += page
        after = page[-1]["seq"]
    return rows


@pytest.mark.timeout(600)
def test_replacing_every_process_under_load_loses_and_doubles_nothing(composed, tmp_path) -> None:
    report = tmp_path / "report.json"
    addresses = [f"--{name}={composed.address(name)}" for name in ("powerserver", "omegaai", "mailsink")]
    rolling = subprocess.Popen(
        [sys.executable, "-m", "local_stack", "roll"],
        env=composed.environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    runs = 0
    try:
        while rolling.poll() is None:
            played = composed.run("demo_story", "--appointments", "100", "--report", str(report), *addresses)
            assert played.returncode == 0, played.stdout + played.stderr
            flows = json.loads(report.read_text())["flows"]
            assert all(row["lost"] == row["doubled"] == 0 for row in flows.values()), flows
            assert all(row["finished"] == row["started"] for row in flows.values()), flows
            runs += 1
    finally:
        rolling.terminate()
        output, _ = rolling.communicate(timeout=60)
    assert rolling.returncode == 0, output
    assert output.count("is replaced and healthy") == 4, output
    assert runs, "nothing was under way while the processes were replaced"
    attempts = sends(composed)
    assert len(attempts) >= 100 * runs
    assert max(attempts.values()) <= MOST_SENDS, Counter(attempts.values())
    received = Counter(row["subject"] for row in rows_of(composed, "powerserver") if row["kind"] == "hl7.received")
    assert received
    assert max(received.values()) <= MOST_SENDS, received.most_common(3)
