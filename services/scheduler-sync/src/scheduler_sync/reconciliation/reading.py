"""Reads both products into the staged views, a day at a time."""

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Final

from chassis.store import Store
from scheduler_sync.adapters.omegaai.appointments import AppointmentThere
from scheduler_sync.adapters.omegaai.view import AppointmentView, Searched
from scheduler_sync.adapters.worklist.worklist import Worklist
from scheduler_sync.domain.reconciliation import Days, Seen, Side
from scheduler_sync.settings import ReconciliationSettings
from scheduler_sync.store.reconciliation import Staging

ONE_DAY: Final = timedelta(days=1)
MOST_LISTED: Final = 50


@dataclass(slots=True)
class Read:
    """What was read of one side. ``days``: the days whose staged rows count; ``cut``: those that may lack some."""

    days: Days
    by_changes: bool = False
    read: int = 0
    foreign: int = 0
    days_changed: int = 0
    unreadable: int = 0
    unreadable_listed: list[str] = field(default_factory=list)
    cut: set[date] = field(default_factory=set)

    def counts(self) -> dict[str, object]:
        return {
            "by": "changes" if self.by_changes else "days",
            "read": self.read,
            "foreign": self.foreign,
            "days": len(self.days),
            "days_changed": self.days_changed,
            "unreadable": self.unreadable,
            "unreadable_listed": self.unreadable_listed,
            "cut_days": [day.isoformat() for day in sorted(self.cut)],
        }

    def cannot_read(self, what: str) -> None:
        self.unreadable += 1
        if len(self.unreadable_listed) < MOST_LISTED:
            self.unreadable_listed.append(what)


class Reading:
    """One run's reading. ``still_ours`` is awaited between the steps: it raises where the run is another's by now."""

    def __init__(
        self,
        store: Store,
        view: AppointmentView,
        settings: ReconciliationSettings,
        *,
        services: Collection[str],
        still_ours: Callable[[], Awaitable[None]],
    ) -> None:
        self._omegaai = Staging(store, Side.OMEGAAI)
        self._worklist = Staging(store, Side.WORKLIST)
        self._view = view
        self._settings = settings
        self._services = services
        self._still_ours = still_ours

    async def may_read_changes(self, days: Days, now: datetime) -> bool:
        """Whether every day is known, and was read whole lately."""
        known = await self._omegaai.known(wide(days))
        since = now - timedelta(seconds=self._settings.whole_seconds)
        return known.number >= len(wide(days)) and known.read_at is not None and known.read_at >= since

    async def changes(self, days: Days, began_at: datetime) -> Read | None:
        """Brings the known days up to date. None where the search slipped each time: the days have to be read."""
        found = Read(wide(days), by_changes=True)
        known = await self._omegaai.known(found.days)
        assert known.known_at is not None  # noqa: S101 - may_read_changes has said so
        since = known.known_at - timedelta(seconds=self._settings.overlap_seconds)
        searched = await self._view.changed_since(since)
        if not searched.is_whole:
            return None
        await self._still_ours()
        kept: list[tuple[date, Seen]] = []
        gone: list[str] = []
        for one in searched.found:
            seen, starts = self._of(one, found), one.command.facts.start
            if seen is not None and starts is not None and (day := starts.date()) in set(found.days):
                kept.append((day, seen))
            else:
                gone.append(one.command.facts.fhir_id)
        _note_unreadable(searched, found)
        gone += [fhir_id for fhir_id, _ in searched.unreadable]
        await self._omegaai.replace_keys(gone, kept)
        await self._omegaai.move_known(found.days, began_at)
        found.days_changed = len({day for day, _ in kept})
        return found

    async def by_day(self, days: Days, began_at: datetime) -> Read:
        """Reads each day, and one on either side: the partner's days begin elsewhere than ours."""
        found = Read(wide(days))
        known = await self._omegaai.digests()
        for day in found.days:
            searched = await self._view.of_day(day)
            await self._still_ours()
            rows = {one.key: one for there in searched.found if (one := self._of(there, found)) is not None}
            _note_unreadable(searched, found)
            if not searched.is_whole:
                found.cut.add(day)
            staged = list(rows.values())
            found.days_changed += await self._omegaai.replace_day(day, staged, known=known.get(day), at=began_at)
        await self._omegaai.forget_before(found.days.first - timedelta(days=self._settings.back_days + 7))
        await self._omegaai.analyze()
        return found

    async def worklist(self, worklist: Worklist, days: Days, began_at: datetime) -> Read:
        found = Read(wide(days))
        known = await self._worklist.digests()
        async for one in worklist.days(found.days):
            await self._still_ours()
            found.read += len(one.found)
            for _ in range(one.unreadable):
                found.cannot_read(f"worklist of {one.day}: an item without order number or start")
            if one.is_cut:
                found.cut.add(one.day)
            found.days_changed += await self._worklist.replace_day(
                one.day, one.found, known=known.get(one.day), at=began_at
            )
        await self._worklist.analyze()
        return found

    def _of(self, there: AppointmentThere, found: Read) -> Seen | None:
        """None for an Appointment that is none of ours."""
        found.read += 1
        seen = seen_of(there)
        if seen.link_id is None and seen.placer is None and seen.resource not in self._services:
            found.foreign += 1
            return None
        return seen


def seen_of(there: AppointmentThere) -> Seen:
    """The compared facts of an Appointment."""
    command, facts = there.command, there.command.facts
    return Seen(
        key=facts.fhir_id,
        version=facts.version,
        link_id=command.link_id,
        placer=command.placer_number,
        status=facts.status.value,
        starts=facts.start,
        ends=facts.end,
        resource=command.service_id,
        patient=there.patient_fhir_id,
    )


def wide(days: Days) -> Days:
    """``days`` with one more on either side."""
    return Days(days.first - ONE_DAY, days.end + ONE_DAY)


def _note_unreadable(searched: Searched, found: Read) -> None:
    for fhir_id, element in searched.unreadable:
        found.read += 1
        found.cannot_read(f"Appointment/{fhir_id}: {element}")
