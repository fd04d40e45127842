"""One run: start the stack, let people work, carry out the plan, wait for rest, count."""

import asyncio
import shutil
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
from rich.console import Console
from rich.progress import Progress, TaskID, TextColumn, TimeElapsedColumn

from local_stack.arguments import end_on_sigterm
from tests.chaos.checks import Verdict, check
from tests.chaos.evidence import Evidence, Reader
from tests.chaos.faults import Mischief, plan
from tests.chaos.history import history
from tests.chaos.load import Town
from tests.chaos.stack import ChaosStack, Kill

STORIES_END_SECONDS = 15.0
"""People wait for each other for this long at most; then their story is cut off."""
HISTORIES_SHOWN = 3
SAY_SECONDS = 20.0


@dataclass(frozen=True)
class Options:
    """The options of one run."""

    seed: int
    seconds: float
    kills: int
    others: int
    per_second: float
    burst: int = 1
    replicas: int = 1
    settle_seconds: float = 300
    sabotage: str = ""
    keep: bool = False

    @property
    def words(self) -> str:
        kills = f"{self.kills} kills" if self.burst == 1 else f"{self.kills} crash loops of about {self.burst} kills"
        what = f"{kills} and {self.others} other faults in {self.seconds:g} s"
        replicas = f", {self.replicas} replicas of each service" if self.replicas > 1 else ""
        return what + replicas + (f", sabotaged: {self.sabotage}" if self.sabotage else "")


@dataclass
class Outcome:
    """The outcome of a run."""

    options: Options
    verdict: Verdict
    kills: list[Kill]
    faults: Counter[str]
    missed: Counter[str]
    people: Counter[str]
    ends: Counter[str]
    """Processes that ended by themselves, such as at a start without their store."""
    settled_seconds: float
    unsettled: list[str]
    seconds: float
    takeovers: list[float] = field(default_factory=list)
    histories: dict[str, list[str]] = field(default_factory=dict)
    folder: Path | None = None

    @property
    def is_right(self) -> bool:
        return not self.verdict.violations and not self.unsettled


@dataclass(frozen=True)
class Screen:
    """Shows the progress: live on a terminal, otherwise a line per phase."""

    progress: Progress
    bar: TaskID
    said: list[float] = field(default_factory=lambda: [0.0])
    """The time of the last line, when the output is no terminal."""

    def phase(self, words: str) -> None:
        self.progress.update(self.bar, description=words)
        if not self.progress.console.is_terminal:
            self.said[0] = time.monotonic()
            self.progress.console.print(f"  {datetime.now(UTC):%H:%M:%S} {words}")

    def show(self, words: str) -> None:
        """Shows a text: it replaces the last one on a terminal; otherwise it is printed now and then."""
        self.progress.update(self.bar, description=words)
        if not self.progress.console.is_terminal and time.monotonic() - self.said[0] > SAY_SECONDS:
            self.phase(words)

    def tell(self, stack: ChaosStack, town: Town, words: str) -> None:
        self.show(f"{len(stack.kills)} kills, {len(town.answered)} acts, {len(town.seen)} appointments; {words}")


async def run(options: Options, console: Console) -> Outcome:
    """Raises ``ChaosError`` when the stack does not start."""
    started = time.monotonic()
    end_on_sigterm()
    base = Path(tempfile.mkdtemp(prefix="suite-chaos-"))
    columns = (TextColumn("  {task.description}"), TimeElapsedColumn())
    outcome: Outcome | None = None
    with Progress(*columns, console=console, transient=True) as progress:
        screen = Screen(progress, progress.add_task("", total=None))
        screen.phase("starting the stack")
        stack = ChaosStack(base, replicas=options.replicas, sabotage=options.sabotage)
        try:
            await stack.start()
            outcome = await _play(options, stack, screen)
            outcome.seconds = time.monotonic() - started
        finally:
            await stack.close()
            if outcome is not None and outcome.is_right and not options.keep:
                for folder in (base, stack.postgres.data_dir):
                    shutil.rmtree(folder, ignore_errors=True)
    outcome.folder = base if options.keep or not outcome.is_right else None
    return outcome


async def _play(options: Options, stack: ChaosStack, screen: Screen) -> Outcome:
    timeout = aiohttp.ClientTimeout(total=20, connect=5)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=64)) as http:
        town = Town(stack.addresses(), http, options.seed)
        await town.begin(int(options.seconds * options.per_second * 3) + 100)
        mischief = Mischief(stack, http, lambda words: screen.tell(stack, town, words))
        faults = plan(
            options.seed, seconds=options.seconds, kills=options.kills, others=options.others,
            replicas=options.replicas, burst=options.burst,
        )  # fmt: skip
        screen.phase("people are at work while faults happen")
        is_over = asyncio.Event()
        most = int(options.seconds * options.per_second * 1.5)
        async with asyncio.TaskGroup() as group:
            group.create_task(town.live(is_over, per_second=options.per_second, most=most))
            await mischief.run(faults)
            is_over.set()
        await mischief.heal()
        screen.phase("the last stories end")
        await town.go_home(STORIES_END_SECONDS)
        screen.phase("settling")
        reader = Reader(stack, http)
        settled_seconds, unsettled = await reader.settle(options.settle_seconds, screen.show)
        screen.phase("counting at both ends")
        evidence = await reader.gather()
        verdict = check(evidence, town.answered)
    return Outcome(
        options, verdict, stack.kills, mischief.done, mischief.missed, town.outcomes,
        Counter(f"{member.name}: {end}" for member in stack.members.values() for end in member.ends),
        round(settled_seconds, 1), unsettled, 0.0, stack.takeovers, _histories(evidence, verdict),
    )  # fmt: skip


def _histories(evidence: Evidence, verdict: Verdict) -> dict[str, list[str]]:
    """The histories of appointments with a violation, across all hops."""
    placers = dict.fromkeys(one.placer for one in verdict.violations if one.placer)
    return {placer: history(evidence, placer) for placer in placers}
