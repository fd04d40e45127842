"""The report of a number of runs: on the screen, and as JSON."""

import json
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from rich.console import Console
from rich.markup import escape

from tests.chaos.run import HISTORIES_SHOWN, Outcome
from tests.chaos.stack import Kill, versions

VIOLATIONS_SHOWN = 20


def totals(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """The numbers of all runs together."""
    verdicts = [outcome.verdict for outcome in outcomes]

    def total(name: str) -> int:
        return sum(getattr(verdict, name) for verdict in verdicts)

    return {
        "seed": outcomes[0].options.seed,
        "runs": len(outcomes),
        "kills": sum(len(outcome.kills) for outcome in outcomes),
        "faults": sum(sum(outcome.faults.values()) for outcome in outcomes),
        "inputs": total("inputs"),
        "effects": total("effects"),
        "appointments": total("appointments"),
        "contested": total("contested"),
        "reordered_on_the_wire": total("reordered_on_the_wire"),
        "mails": total("mails"),
        "mails_twice_and_logged": total("mails_twice_and_logged"),
        "conflicts_logged": total("conflicts_logged"),
        "lost": sum(verdict.count("lost") for verdict in verdicts),
        "doubled": sum(verdict.count("doubled") for verdict in verdicts),
        "reordered": sum(verdict.count("reordered") for verdict in verdicts),
        "unequal": sum(verdict.count("unequal") for verdict in verdicts),
        "illegal": sum(verdict.count("illegal") for verdict in verdicts),
        "orphans": sum(verdict.count("orphan") for verdict in verdicts),
        "unsettled": [words for outcome in outcomes for words in outcome.unsettled],
        "violations": sum(len(verdict.violations) for verdict in verdicts)
        + sum(map(len, (o.unsettled for o in outcomes))),
        "seconds": round(sum(outcome.seconds for outcome in outcomes)),
    }


def recovery(kills: Sequence[Kill]) -> dict[str, dict[str, float | int]]:
    """Seconds from a kill until the process served again, by process, for kills whose dependencies stayed up.

    ``cpu``: the median processor time of the starts.
    """
    found: dict[str, list[tuple[float, float]]] = {}
    for kill in kills:
        if kill.recovery_seconds is not None and kill.is_alone:
            found.setdefault(kill.name, []).append((kill.recovery_seconds, kill.cpu_seconds))
    return {name: _recovered(*zip(*pairs, strict=True)) for name, pairs in sorted(found.items())}


def _recovered(times: Sequence[float], cpu: Sequence[float]) -> dict[str, float | int]:
    figures = {"p95": _p95(times), "max": max(times), "cpu": median(cpu)}
    return {"kills": len(times), **{name: round(figure, 2) for name, figure in figures.items()}}


def _p95(times: Sequence[float]) -> float:
    return quantiles(times, n=20, method="inclusive")[-1] if len(times) > 1 else times[0]


def show(outcome: Outcome, console: Console) -> None:
    """Shows one run on the screen; each violation with its history."""
    verdict, kills = outcome.verdict, outcome.kills
    console.print(
        f"  {len(kills)} kills, {sum(outcome.faults.values())} faults; {verdict.appointments} appointments "
        f"({verdict.contested} contested), {verdict.inputs} inputs, {verdict.effects} effects, {verdict.mails} mails "
        f"({verdict.mails_twice_and_logged} twice, logged); settled in {outcome.settled_seconds:.0f} s "
        f"of {outcome.seconds:.0f} s"
    )
    for name, row in recovery(kills).items():
        console.print(
            f"  {name:<18} {row['kills']:>3} kills alone, serves again p95 {row['p95']:.1f} s, max {row['max']:.1f} s, "
            f"of the processors {row['cpu']:.1f} s"
        )
    if outcome.takeovers:
        found = sorted(outcome.takeovers)
        console.print(f"  relay's standby took over {len(found)} times, p95 {_p95(found):.1f} s, max {found[-1]:.1f} s")
    for words in outcome.unsettled:
        console.print(f"  [red]unsettled[/] {escape(words)}")
    for one in verdict.violations[:VIOLATIONS_SHOWN]:
        console.print(f"  [red]{one.kind}[/] {one.placer} {escape(one.text)}")
    if len(verdict.violations) > VIOLATIONS_SHOWN:
        console.print(f"  … and {len(verdict.violations) - VIOLATIONS_SHOWN} more in the report")
    for placer, lines in list(outcome.histories.items())[:HISTORIES_SHOWN]:
        console.print(f"  [bold]{placer}[/]")
        for line in lines:
            console.print(f"  {escape(line)}")
    if outcome.folder is not None:
        console.print(f"  logs and data: {outcome.folder}")


def record(outcome: Outcome) -> dict[str, Any]:
    """One run as a row of numbers, for comparison with others."""
    kept = ("kills", "faults", "inputs", "effects", "appointments", "contested", "mails", "mails_twice_and_logged",
            "lost", "doubled", "reordered", "unequal", "illegal", "orphans", "unsettled", "seconds")  # fmt: skip
    options, told = outcome.options, totals([outcome])
    return {
        "seed": options.seed,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "replicas": options.replicas,
        "options": options.words,
        **{name: told[name] for name in kept},
        "kills_by_process": dict(Counter(kill.name for kill in outcome.kills).most_common()),
        "kills_by_how": dict(Counter(kill.how for kill in outcome.kills).most_common()),
        "settled_seconds": outcome.settled_seconds,
        "recovery_seconds": recovery(outcome.kills),
        "relay_takeover_seconds": sorted(outcome.takeovers),
    }


def accumulate(path: Path, outcome: Outcome) -> dict[str, int]:
    """Adds a run to the file of all past runs. Returns the file's totals."""
    runs = json.loads(path.read_text())["runs"] if path.exists() else []
    runs.append(record(outcome))
    summed = ("kills", "faults", "inputs", "effects", "contested", "lost", "doubled", "reordered", "unequal", "illegal",
              "orphans")  # fmt: skip
    sums = {name: sum(run[name] for run in runs) for name in summed}
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = {"totals": {"runs": len(runs), **sums}, "stack": versions(), "runs": runs}
    path.write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n")
    return sums


def write(path: Path, outcomes: Sequence[Outcome]) -> None:
    """All runs as JSON."""
    kills = [kill for outcome in outcomes for kill in outcome.kills]
    whole = {
        **totals(outcomes),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "stack": versions(),
        "options": [outcome.options.words for outcome in outcomes],
        "kills_by_process": dict(Counter(kill.name for kill in kills).most_common()),
        "kills_by_how": dict(Counter(kill.how for kill in kills).most_common()),
        "faults_by_kind": dict(sum((outcome.faults for outcome in outcomes), Counter[str]()).most_common()),
        "faults_not_there_to_hurt": sum(sum(outcome.missed.values()) for outcome in outcomes),
        "recovery_seconds": recovery(kills),
        "relay_takeover_seconds": sorted(seconds for outcome in outcomes for seconds in outcome.takeovers),
        "people": dict(sum((outcome.people for outcome in outcomes), Counter[str]()).most_common()),
        "ended_by_itself": dict(sum((outcome.ends for outcome in outcomes), Counter[str]()).most_common()),
        "settled_seconds": [outcome.settled_seconds for outcome in outcomes],
        "seeds": [outcome.options.seed for outcome in outcomes],
        "violated": [
            {"seed": outcome.options.seed, "kind": one.kind, "placer": one.placer, "text": one.text}
            for outcome in outcomes for one in outcome.verdict.violations
        ],
        "histories": {placer: lines for outcome in outcomes for placer, lines in outcome.histories.items()},
    }  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n")
