"""One run from its reading to its report. What it has not committed when it dies, the next process does or drops.

A run that dies while it reads gives way to the next one; a run that dies while it corrects is gone on with, difference
by difference. A run that would correct too much stops, and asks a person.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import structlog

from chassis.errors import NeedsSetup, Permanent, Transient, reason_of
from chassis.store import Store
from omegaai.client import FhirClient
from scheduler_sync.adapters.omegaai.askers import Askers
from scheduler_sync.adapters.omegaai.view import AppointmentView
from scheduler_sync.adapters.worklist.worklist import Worklist
from scheduler_sync.domain.reconciliation import Days, Settled, asks
from scheduler_sync.handlers.effects import Effects
from scheduler_sync.reconciliation.correcting import Correcting
from scheduler_sync.reconciliation.reading import Read, Reading
from scheduler_sync.settings import ReconciliationSettings, WorklistSettings
from scheduler_sync.site import SiteFile
from scheduler_sync.store.reconciliation import Compared, Comparison, LostRunError, Run, Runs
from scheduler_sync.store.work import OpenWork

_log = structlog.get_logger(__name__)
ONE_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class Reconciler:
    """Performs runs. ``still_ours`` raises where the process has lost the right to; ``beat`` says that it goes on."""

    store: Store
    site: SiteFile
    omegaai: FhirClient
    effects: Effects
    open_work: OpenWork
    runs: Runs
    settings: ReconciliationSettings
    worklist_settings: WorklistSettings
    now: Callable[[], Any]
    still_ours: Callable[[], Awaitable[None]]
    beat: Callable[[], None] = lambda: None

    async def run(self, run: Run) -> None:
        """Performs or continues a run; its row says how it ended. LostRunError, StoreUnavailable; no other error."""
        try:
            if run.state == "reading" and not await self._look(run):
                return
            await self._correct(run)
        except LostRunError:
            raise
        except (Transient, Permanent) as error:
            _log.warning("reconcile.failed", run=run.id, reason=reason_of(error))
            await self.runs.move(run, "failed", reason=reason_of(error), counts=await self._settled(run))

    async def _look(self, run: Run) -> bool:
        """Reads and compares. Returns whether the run goes on to correct."""
        view = AppointmentView(self.omegaai, page_size=self.settings.page_size)
        services = await self._services()
        reading = Reading(
            self.store, view, self.settings, services=set(services.values()), still_ours=self._turn
        )  # fmt: skip
        days, reads = await self._read_omegaai(run, reading, view)
        await self.runs.move(run, "reading", first_day=days.first, end_day=days.end)
        comparison = Comparison(self.store, self.site.site)
        what = Compared(days, reads.days, run.started_at, frozenset(reads.cut))
        await self.runs.forget_found(run)
        await comparison.omegaai(run.id, what, services)
        await self._turn()
        await comparison.powerserver(run.id, what)
        await self._turn()
        counts: dict[str, object] = {"omegaai": reads.counts(), "compared": await comparison.compared(what)}
        worklist = self._worklist()
        if worklist is not None:
            counts["worklist"] = await self._read_worklist(run, reading, worklist, comparison)
        await comparison.sort_out(run.id)
        await self.runs.supersede_asking(run)
        counts["to_heal"] = to_heal = await self.runs.to_heal(run)
        await self.runs.move(run, "reading", counts={**counts, **await self._settled(run)})
        if run.dry_run:
            await self.runs.move(run, "done")
            return False
        why = self._must_ask(reads, to_heal=to_heal, compared=int(str(counts["compared"])))
        if why is not None:
            _log.warning("reconcile.asks", run=run.id, to_heal=to_heal)
            await self.runs.move(run, "asks", reason=why)
            return False
        await self.runs.move(run, "healing")
        return True

    async def _read_omegaai(self, run: Run, reading: Reading, view: AppointmentView) -> tuple[Days, Read]:
        """The compared days, and what was read."""
        horizon = self.settings.horizon
        local = run.started_at.astimezone(self._zone())
        today = local.date()
        if run.day is not None:
            days = Days(run.day, run.day + ONE_DAY)
            return days, await reading.by_day(days, run.started_at)
        if await view.can_tell_changes():
            days = horizon.all_days(today)
            if await reading.may_read_changes(days, run.started_at):
                found = await reading.changes(days, run.started_at)
                if found is not None:
                    return days, found
            return days, await reading.by_day(days, run.started_at)
        near_end = horizon.near_days(today).end
        days = horizon.days(
            today, local.hour, read_until=await self.runs.last_slice(near_end),
            interval_seconds=self.settings.interval_seconds,
        )  # fmt: skip
        return days, await reading.by_day(days, run.started_at)

    async def _read_worklist(
        self, run: Run, reading: Reading, worklist: Worklist, comparison: Comparison
    ) -> Mapping[str, object]:
        """A worklist that does not answer leaves the rest of the run as it is: the report says so."""
        today = run.started_at.astimezone(self._zone()).date()
        days = Days(run.day, run.day + ONE_DAY) if run.day else Days(today, today + self._near())
        try:
            found = await reading.worklist(worklist, days, run.started_at)
        except Transient as error:
            _log.warning("reconcile.worklist-away", run=run.id, reason=error.reason)
            return {"away": error.reason}
        what = Compared(days, found.days, run.started_at, frozenset(found.cut))
        await comparison.worklist(run.id, what, worklist.facilities)
        return found.counts()

    def _must_ask(self, reads: Read, *, to_heal: int, compared: int) -> str | None:
        if compared and not reads.by_changes and reads.read == 0:
            return "OmegaAI showed no appointment at all"
        share, fewest = self.settings.ask_above_share, self.settings.ask_from
        if asks(to_heal=to_heal, compared=compared, share=share, fewest=fewest):
            return f"{to_heal} of {compared} appointments would be corrected, more than {share:.1%}"
        return None

    async def _correct(self, run: Run) -> None:
        view = AppointmentView(self.omegaai, page_size=self.settings.page_size)
        askers = Askers(self.omegaai, lambda: self.site.issuer_of_system)
        correcting = Correcting(
            self.store, self.site.site, runs=self.runs, view=view, askers=askers, worklist=self._worklist(),
            open_work=self.open_work, effects=self.effects, now=self.now,
        )  # fmt: skip
        await correcting.run(run, self._turn)
        await self.runs.move(run, "done", counts=await self._settled(run))
        await self.runs.prune(self.settings.keep_days)

    async def _settled(self, run: Run) -> dict[str, int]:
        counted = await self.runs.counts(run)
        return {
            **{settled.value: counted.get(settled.value, 0) for settled in Settled},
            "differences": sum(counted.values()),
        }

    async def _services(self) -> dict[tuple[str, str], str]:
        """The HealthcareService of each resource that links have, where OmegaAI has it."""
        found: dict[tuple[str, str], str] = {}
        for facility, name in await Comparison(self.store, self.site.site).resources():
            try:
                found[facility, name] = self.effects.resources.named(facility, name).healthcare_service_id
            except (NeedsSetup, KeyError):
                continue
        return found

    def _worklist(self) -> Worklist | None:
        is_asked = self.worklist_settings.host and self.site.stations
        return Worklist(self.worklist_settings, self.site) if is_asked else None

    def _near(self) -> timedelta:
        return timedelta(days=self.worklist_settings.near_days)

    def _zone(self) -> ZoneInfo:
        return next(iter(self.site.facilities.values())).zone

    async def _turn(self) -> None:
        await self.still_ours()
        self.beat()
