"""The worklist's view of the near days. The process that asks is ended when it takes too long."""

import asyncio
import hashlib
import json
import re
import sys
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import date, datetime, timedelta, timezone, tzinfo
from typing import Final

from chassis.errors import Transient
from scheduler_sync.adapters.worklist.asking import Answer, Asked, Step
from scheduler_sync.domain.reconciliation import Days, Seen
from scheduler_sync.settings import WorklistSettings
from scheduler_sync.site import SiteFile

LISTED: Final = "listed"
"""The status of every appointment that the worklist shows."""
LONGEST_LINE_BYTES: Final = 64 * 2**20
_OFFSET: Final = re.compile(r"([+-])(\d\d)(\d\d)")
_WHY: Final = {3: "no association", 4: "the association ended early"}


@dataclass(slots=True)
class WorklistDay:
    """What the worklist shows of one day. ``is_cut``: it may hold more, so absences from it say nothing."""

    day: date
    found: list[Seen] = field(default_factory=list)
    unreadable: int = 0
    is_cut: bool = False


class Worklist:
    """PowerServer's modality worklist. Its methods raise Transient."""

    def __init__(self, settings: WorklistSettings, site: SiteFile) -> None:
        self._settings = settings
        self._site = site
        self._stations = {
            title: (facility, resource)
            for facility, titles in site.stations.items()
            for title, resource in titles.items()
        }

    @property
    def facilities(self) -> list[str]:
        """The facilities whose stations are known."""
        return sorted({facility for facility, _ in self._stations.values()})

    async def days(self, days: Days) -> AsyncIterator[WorklistDay]:
        """A question for each day and station; the days in their order."""
        asked = [Asked(station, f"{day:%Y%m%d}") for day in days for station in self._stations]
        async with self._asking(asked) as answers:
            for day in days:
                steps: list[Step] = []
                whole = WorklistDay(day)
                for _ in self._stations:
                    answer = await anext(answers)
                    steps += answer.steps
                    whole.unreadable += answer.unreadable
                    whole.is_cut = whole.is_cut or answer.is_cut
                whole.found, unreadable = self._rows(steps)
                whole.unreadable += unreadable
                yield whole

    async def shows(self, accession_numbers: Sequence[str]) -> list[Seen]:
        """What the worklist shows of these orders now."""
        if not accession_numbers:
            return []
        async with self._asking([Asked(accession=one) for one in accession_numbers]) as answers:
            steps = [step for _ in accession_numbers for step in (await anext(answers)).steps]
        return self._rows(steps)[0]

    def _rows(self, steps: Iterable[Step]) -> tuple[list[Seen], int]:
        """An appointment for each order, from the first start of its steps; and the number of unreadable ones."""
        by_order: dict[str, list[tuple[datetime, Step]]] = {}
        unreadable = 0
        for step in steps:
            starts = self._starts(step)
            if starts is None:
                unreadable += 1
            else:
                by_order.setdefault(step.placer or step.accession, []).append((starts, step))
        return [self._row(order, found) for order, found in by_order.items()], unreadable

    def _row(self, order: str, found: Sequence[tuple[datetime, Step]]) -> Seen:
        starts, first = min(found, key=lambda one: (one[0], one[1].identity))
        resources = {self._stations[step.station][1] for _, step in found if step.station in self._stations}
        patient = hashlib.sha256(first.patient_id.encode()).hexdigest() if first.patient_id else None
        return Seen(
            key=order,
            version=json.dumps([starts.isoformat(), sorted(resources), patient]),
            link_id=None,
            placer=first.placer or None,
            status=LISTED,
            starts=starts,
            ends=None,
            resource=resources.pop() if len(resources) == 1 else None,
            patient=patient,
            accession=first.accession or None,
        )

    def _starts(self, step: Step) -> datetime | None:
        place = self._stations.get(step.station)
        zone: tzinfo | None = None if place is None else self._site.facilities[place[0]].zone
        if (said := _OFFSET.fullmatch(step.offset)) is not None:
            minutes = int(said[2]) * 60 + int(said[3])
            zone = timezone(timedelta(minutes=-minutes if said[1] == "-" else minutes))
        try:
            clock = datetime.strptime(f"{step.day} {(step.time.partition('.')[0] + '000000')[:6]}", "%Y%m%d %H%M%S")  # noqa: DTZ007 - its zone follows
        except ValueError:
            return None
        return None if zone is None else clock.replace(tzinfo=zone)

    @asynccontextmanager
    async def _asking(self, asked: Sequence[Asked]) -> AsyncIterator[AsyncIterator[Answer]]:
        """The answers, one by one. Transient where the worklist does not answer in time, or ends early."""
        settings = self._settings
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "scheduler_sync.adapters.worklist.process", stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL, limit=LONGEST_LINE_BYTES,
        )  # fmt: skip
        given = {"connection": _connection(settings), "questions": [asdict(one) for one in asked]}
        try:
            async with asyncio.timeout(settings.longest_seconds):
                assert process.stdin is not None  # noqa: S101 - a pipe, as asked
                process.stdin.write(json.dumps(given).encode())
                process.stdin.close()
                yield _answers(process, len(asked))
                await process.wait()
        except TimeoutError:
            raise Transient("the worklist took longer than worklist.longest_seconds") from None
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()


async def _answers(process: asyncio.subprocess.Process, number: int) -> AsyncIterator[Answer]:
    assert process.stdout is not None  # noqa: S101 - a pipe, as asked
    for _ in range(number):
        line = await process.stdout.readline()
        if not line.endswith(b"\n"):
            why = _WHY.get(await process.wait(), "the process that asks has ended")
            raise Transient(f"the worklist does not answer: {why}")
        yield Answer.from_line(line)


def _connection(settings: WorklistSettings) -> Mapping[str, object]:
    files = (settings.ca_file, settings.certificate_file, settings.key_file)
    ca_file, certificate_file, key_file = (None if one is None else str(one) for one in files)
    tls = {"ca_file": ca_file, "certificate_file": certificate_file, "key_file": key_file}
    return {
        "host": settings.host,
        "port": settings.port,
        "calling": settings.calling_title,
        "called": settings.called_title,
        "timeout_seconds": settings.timeout_seconds,
        "tls": tls if settings.tls else None,
    }
