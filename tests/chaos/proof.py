"""Proof that the harness can fail: it catches each promise that is broken on purpose.

``make chaos-proof`` takes six minutes of a quiet machine. It is not part of ``make test``: it proves the harness, which
changes seldom, and needs three runs.
"""

import json

import pytest

from tests.chaos.test_chaos_short import chaos

pytestmark = pytest.mark.stack

CAUGHT_AS = {
    "inbox-off": "doubled",
    "mark-before-send": "lost",
    "ack-before-commit": "lost",
}
SEED = 7


@pytest.mark.timeout(900)
@pytest.mark.parametrize("mode", sorted(CAUGHT_AS))
def test_a_broken_promise_is_caught(mode: str, tmp_path) -> None:
    report = tmp_path / "report.json"
    done = chaos(
        "--sabotage", mode, "--seed", str(SEED), "--seconds", "45", "--kills", "40", "--others", "40", "--settle", "60",
        "--report", str(report), seconds=800,
    )  # fmt: skip
    found = json.loads(report.read_text())
    kinds = ("kills", "inputs", "lost", "doubled", "reordered", "unequal", "illegal", "orphans")
    print(mode, {name: found[name] for name in kinds})
    assert done.returncode == 1, done.stdout
    assert found[CAUGHT_AS[mode]] > 0, done.stdout
    assert all(found["histories"].get(one["placer"], True) for one in found["violated"]), (
        "a violation without a history"
    )
