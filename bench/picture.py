"""The picture of the rows: a bar for each ratio beside the tick of its mark, grouped by mark.

Rows without a floor have no bar; their group shows their figure and their limit.
"""

import re
from itertools import groupby
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

TITLES = {
    "P1": "HL7 codec",
    "P2": "MLLP receive → committed → acknowledged",
    "P2s": "the same with scheduler-sync's whole effect",
    "P3": "SIU in → state → outbox → Kafka → a consumer's committed effect",
    "P4": "consumer without a store",
    "P5": "inbox + state + history + outbox",
    "P6": "outbox relay",
    "P8": "notifier → mail server",
    "P10": "what tracing costs of P3",
    "P11": "kill -9, and what a backlog does to a start",
    "P12": "100,000 appointments compared",
    "P13": "10,000 timers due at once",
    "R2": "Kafka and Postgres killed, stopped, paused, cut off",
    "R6": "what poison costs the other keys",
    "M1": "memory",
}
SAID_BY_THE_TITLE = (
    "MLLP → committed → ACK",
    "MLLP → scheduler-sync's whole effect committed → ACK",
    "SIU in → state → outbox → Kafka → effect committed",
    "consumer without a store",
    "inbox + state + history + outbox",
)
MET, MISSED, TOLD, MARK = "#2e7d32", "#c62828", "#757575", "#1a237e"
RATIO = re.compile(r"([≥≤]) ([\d.]+) × the floor")
LABEL_CHARACTERS = 96
ROW_INCHES = 0.23


def mark_of(row: dict[str, Any]) -> str:
    """P2s-64-one → P2s, P4a → P4."""
    found = re.match(r"[A-Z]\d+s?", row["id"])
    return found[0] if found else str(row["id"])


def least_ratio(row: dict[str, Any]) -> float | None:
    """The ratio that the mark requires; None when the mark is no ratio."""
    if isinstance(row["mark"], int | float):
        return float(row["mark"])
    found = RATIO.search(row["mark"])
    return float(found[2]) if found else None


def in_order(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """By mark, then by the numbers in the id: P2-1 before P2-16 before P2-64."""
    names = list(TITLES)

    def place(row: dict[str, Any]) -> tuple[int, list[tuple[int, str]]]:
        mark = mark_of(row)
        parts = [(int(part), "") if part.isdigit() else (10**6, part) for part in row["id"].split("-")]
        return (names.index(mark) if mark in names else len(names), parts)

    return sorted(rows, key=place)


def label(row: dict[str, Any]) -> str:
    """The step without the words of the group's title."""
    step = str(row["step"])
    for prefix in SAID_BY_THE_TITLE:
        step = step.removeprefix(prefix)
    step = step.lstrip(",: ")
    return step if len(step) <= LABEL_CHARACTERS else step[: LABEL_CHARACTERS - 1].rstrip() + "…"


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    groups = [(mark, list(found)) for mark, found in groupby(in_order(rows), key=mark_of)]
    lines = sum(len(found) + 1.5 for _, found in groups)
    figure, axes = plt.subplots(figsize=(14, ROW_INCHES * lines + 0.9))
    at = 0.0
    for mark, found in groups:
        axes.text(0, at, f"{mark}  {TITLES.get(mark, '')}", fontsize=9.5, weight="bold", va="center",
                  transform=axes.get_yaxis_transform(), ha="left")  # fmt: skip
        at += 1
        for row in found:
            _row(axes, row, at)
            at += 1
        at += 0.5
    axes.axvline(1, color="#777777", linewidth=0.8, zorder=0)
    axes.set_xscale("log")
    ratios = [row["ratio"] for row in rows if row["ratio"]]
    axes.set_xlim(min([0.03, *(ratio * 0.7 for ratio in ratios)]), max([10.0, *ratios]) * 60)
    axes.set_ylim(at, -1)
    axes.set_yticks([])
    axes.set_xlabel("ours ÷ floor (log); the blue tick is the mark; green: met, red: not met, grey: told, has no mark")
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)
    figure.subplots_adjust(left=0.48, right=0.99)
    figure.savefig(path, dpi=90, bbox_inches="tight")
    plt.close(figure)


def _row(axes: Axes, row: dict[str, Any], at: float) -> None:
    has_no_mark = str(row["mark"]).startswith(("told", "beside"))
    colour = TOLD if has_no_mark else MET if row["met"] else MISSED
    axes.text(-0.01, at, label(row), fontsize=8, va="center", ha="right", transform=axes.get_yaxis_transform())
    if row["ratio"] is None:
        axes.text(1.05, at, f"{_figure(row['ours'])}  ({row['mark']})", fontsize=8, va="center", color=colour)
        return
    axes.barh(at, row["ratio"], height=0.72, color=colour)
    least = least_ratio(row)
    if least is not None:
        axes.plot([least, least], [at - 0.42, at + 0.42], color=MARK, linewidth=2.2)
    figures = f"{row['ratio']:.2f}   {_figure(row['ours'])} : {_figure(row['floor'])}   ({row['mark']})"
    axes.text(max(row["ratio"], least or 0) * 1.12, at, figures, va="center", fontsize=7.5)


def _figure(value: float) -> str:
    return f"{value:,.0f}".replace(",", " ") if abs(value) >= 100 else f"{value:.3g}"
