"""The short run of the chaos harness: a fixed seed, at least twenty kills, the whole suite."""

import json
import os
import subprocess
import sys

import pytest

from local_stack.settings import ROOT

pytestmark = [
    pytest.mark.stack,
    pytest.mark.skipif(
        "CHAOS" not in os.environ, reason="takes two minutes of a quiet machine: CHAOS=1 make test, or make chaos"
    ),
]

SEED = 20261125


def chaos(*arguments: str, seconds: float) -> "subprocess.CompletedProcess[str]":
    """One call of ``python -m tests.chaos`` with a deadline; a hanging run is stopped in order."""
    command = [sys.executable, "-m", "tests.chaos", *arguments]
    running = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        output, _ = running.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        running.terminate()  # the run stops its stack first
        output, _ = running.communicate(timeout=60)
        output += f"\nthe run was stopped after {seconds:g} s"
    return subprocess.CompletedProcess(command, running.returncode, output)


@pytest.mark.timeout(1000)
def test_an_acknowledged_input_has_exactly_one_effect_whatever_dies(tmp_path) -> None:
    report = tmp_path / "report.json"
    done = chaos(
        "--seed", str(SEED), "--seconds", "45", "--kills", "14", "--burst", "3", "--others", "20", "--settle", "400",
        "--report", str(report), seconds=900,
    )  # fmt: skip
    print(done.stdout)
    assert done.returncode == 0, done.stdout
    found = json.loads(report.read_text())
    assert found["kills"] >= 20, "too few processes were killed for the run to say anything"
    assert found["inputs"] >= 40, "people did too little for the run to say anything"
    assert found["seed"] == SEED
