"""The picture of the rows: it shows every row of the report with its mark."""

import json
import struct
from pathlib import Path
from typing import Any

from bench import picture
from bench.__main__ import RESULTS, RowError, run_program

ROWS: list[dict[str, Any]] = [
    {"id": "P2-16-one", "step": "MLLP → committed → ACK, messages/s, 16 connections", "ours": 900.0, "floor": 450.0,
     "ratio": 2.0, "mark": "≥ 2 × the floor", "met": True},
    {"id": "P2-1-one", "step": "MLLP → committed → ACK, messages/s, 1 connection", "ours": 9.0, "floor": 45.0,
     "ratio": 0.2, "mark": "≥ 0.7 × the floor", "met": False},
    {"id": "P11-notifier", "step": "kill -9", "ours": 4.0, "floor": None, "ratio": None, "mark": "≤ 5 s", "met": True},
    {"id": "P10-10", "step": "tracing", "ours": 1.0, "floor": 1.0, "ratio": 1.0, "mark": "told, no mark", "met": True},
]  # fmt: skip


def test_rows_stand_in_the_order_of_marks_and_loads() -> None:
    assert [row["id"] for row in picture.in_order(ROWS)] == ["P2-1-one", "P2-16-one", "P10-10", "P11-notifier"]


def test_a_mark_is_read_from_its_words() -> None:
    assert [picture.least_ratio(row) for row in ROWS] == [2.0, 0.7, None, None]
    assert picture.least_ratio({"mark": 15.0}) == 15.0


def test_it_is_drawn_and_grows_with_its_rows(tmp_path: Path) -> None:
    heights = []
    for number in (1, 12):
        path = tmp_path / f"{number}.png"
        picture.draw([{**row, "id": f"{row['id']}-{n}"} for n in range(number) for row in ROWS], path)
        heights.append(struct.unpack(">I", path.read_bytes()[20:24])[0])
    assert heights[1] > 3 * heights[0]


def test_every_kept_row_has_a_title_and_the_keys_of_the_report() -> None:
    rows = json.loads((RESULTS / "latest.json").read_text())
    assert rows
    for row in rows:
        assert set(row) == {"id", "step", "ours", "floor", "ratio", "mark", "met"}
        assert picture.mark_of(row) in picture.TITLES, row["id"]


def test_a_program_of_a_row_is_heard_ended_and_told_apart(tmp_path: Path) -> None:
    script = tmp_path / "row.py"
    script.write_text("import sys; print('· half', file=sys.stderr); print('[{\"id\": \"P0\"}]')")
    assert run_program([str(script)], {}, "p0", 60) == [{"id": "P0"}]
    script.write_text("import sys; print('lost', file=sys.stderr); sys.exit(3)")
    assert _error(script, 60) == "lost"
    script.write_text("import atexit; atexit.register(print, 'unclosed', file=__import__('sys').stderr); {}['key']")
    assert _error(script, 60) == "KeyError: 'key'"
    script.write_text(
        "import subprocess, sys; subprocess.Popen(['sleep', '300']); print('· up', file=sys.stderr, flush=True);"
        " subprocess.run(['sleep', '300'])"
    )
    assert _error(script, 1) == "not done within 1 s and ended"


def _error(script: Path, limit_seconds: float) -> str:
    try:
        run_program([str(script)], {}, "p0", limit_seconds)
    except RowError as error:
        return str(error)
    raise AssertionError("it ended well")
