"""The soak's verdict tells a leak from a warm-up, and a run that is too short from both."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.chaos.soak import WITNESS, Line, Sample, grown_tables, memory_of, minutes_means, verdict_of

RIPPLE_MIB = (0.0, 0.05, -0.05, 0.02, -0.02)


def samples(minutes: int, slope_mib_per_hour: float, ripple: float = 1.0) -> list[Sample]:
    """One sample every five seconds, on a line with a ripple."""
    found = []
    for number in range(minutes * 12):
        at = number * 5.0
        rss = 80 + slope_mib_per_hour * at / 3600 + ripple * RIPPLE_MIB[number // 7 % 5]
        found.append(Sample(at, rss, 380_000 + int(at), at * 0.01))
    return found


@pytest.mark.parametrize(
    ("slope", "ripple", "minutes", "verdict"),
    [
        (0.0, 1, 45, "steady"),
        (0.5, 1, 45, "steady"),
        (3.0, 1, 45, "grows"),
        (1.0, 1, 45, "undecided"),
        (0.5, 60, 6, "undecided"),
    ],
)
def test_a_slope_is_judged_as_surely_as_the_samples_allow(
    slope: float, ripple: float, minutes: int, verdict: str
) -> None:
    found = memory_of(samples(minutes, slope, ripple))
    assert found["verdict"] == verdict, found


def test_a_line_knows_its_slope_and_that_it_is_not_sure() -> None:
    line = Line.through(minutes_means([(at, 10 + 2 * at / 3600) for at in range(0, 3600, 5)]))
    assert line.slope == pytest.approx(2, abs=0.01)
    assert line.standard_error == 0
    assert line.samples == 60
    assert verdict_of(Line(0.9, 0.2, 10)) == "undecided"


def test_tables_may_grow_that_keep_history_and_no_others() -> None:
    before = {"link_history": 10, "outbox": 5, "parked_keys": 0, "resources": 3}
    assert grown_tables(before, {"link_history": 90, "outbox": 50, "parked_keys": 0, "resources": 3}) == []
    assert grown_tables(before, {"link_history": 90, "parked_keys": 2, "resources": 3, "strangers": 1}) == [
        "parked_keys",
        "strangers",
    ]


def test_the_witness_notes_what_python_has_allocated(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(WITNESS), "SOAK_WITNESS_FOLDER": str(tmp_path)}
    program = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"], env=environment)
    noted = tmp_path / f"{program.pid}.blocks"
    deadline = time.monotonic() + 60
    try:
        while not noted.exists():
            assert time.monotonic() < deadline, "nothing was noted"
            time.sleep(0.02)
        assert int(noted.read_text()) > 1000
    finally:
        program.kill()
        program.wait()
