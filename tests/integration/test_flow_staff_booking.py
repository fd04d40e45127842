"""Booked in PowerServer → Pending in Blume → confirmed by the patient → CONFIRMED, on the whole running suite.

The effects are read from the ledgers of the systems at both ends, never from the suite.
"""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.stack
MAILS_IN_HAND = 16
"""Deliveries that the notifier sends at once: four for each of its connections to the mail server."""


@pytest.mark.timeout(300)
def test_the_demo_counts_nothing_lost_and_nothing_doubled(suite, tmp_path) -> None:
    report = tmp_path / "report.json"
    addresses = [f"--{name}={suite.address(name)}" for name in ("powerserver", "omegaai", "mailsink")]
    done = suite.run("demo_story", "--appointments", "60", "--report", str(report), *addresses)
    assert done.returncode == 0, done.stdout + done.stderr
    flows = json.loads(report.read_text())["flows"]
    acts = ("patient_reschedules", "patient_books", "staff_moves", "patient_cancels", "staff_cancels")
    assert {name: row["started"] for name, row in flows.items()} == {
        "booked": 60, "confirmed": 60, "mails": 120, **dict.fromkeys(acts, 8), "drift_healed": 4, "slot_contest": 60,
    }  # fmt: skip
    assert (flows["slot_contest"]["slots"], flows["slot_contest"]["winners"]) == (6, 6)
    assert all(row["finished"] == row["started"] for row in flows.values())
    assert all(row["lost"] == row["doubled"] == 0 for row in flows.values())


@pytest.mark.timeout(420)
def test_the_demo_survives_kills_of_both_services(suite, tmp_path) -> None:
    report = tmp_path / "report.json"
    addresses = [f"--{name}={suite.address(name)}" for name in ("powerserver", "omegaai", "mailsink")]
    command = [sys.executable, "-m", "demo_story", "--appointments", "80", "--report", str(report), *addresses]
    playing = subprocess.Popen(
        command, env=suite.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    kills = 0
    while playing.poll() is None and kills < 4:
        before = suite.get("omegaai", "/ledger?after=0&limit=1")["last"]
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and suite.get("omegaai", "/ledger?after=0&limit=1")["last"] < before + 40:
            if playing.poll() is not None:
                break
            time.sleep(0.05)
        name = ("scheduler-sync", "notifier")[kills % 2]
        pid = suite.pids()[name]
        if pid:
            os.kill(pid, signal.SIGKILL)
            kills += 1
    output, _ = playing.communicate(timeout=360)
    assert kills >= 2, "the run was over before anything was killed"
    flows = json.loads(report.read_text())["flows"]
    assert all(row["lost"] == 0 for row in flows.values()), output
    mails = flows.pop("mails")
    assert all(row["doubled"] == 0 for row in flows.values()), output
    # SMTP has no idempotency: the mails that a killed notifier was sending may arrive once more.
    assert mails["doubled"] <= kills // 2 * MAILS_IN_HAND, output
    assert (playing.returncode == 0) is (mails["doubled"] == 0), output
