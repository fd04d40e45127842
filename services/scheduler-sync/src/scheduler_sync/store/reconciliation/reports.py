"""The report: runs and differences, for pages and commands. Opaque ids, order numbers and facts, no patient's name."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from uuid import UUID

from chassis.store import Store
from chassis.store.lazily import lazily
from chassis.store.rows import audit, rows, sql
from chassis.store.rows import columns as columns_of
from scheduler_sync.domain.reconciliation import Settled

if TYPE_CHECKING:
    from scheduler_sync.store import tables
else:
    (tables,) = lazily("scheduler_sync.store.tables")

_SHOWN_RUNS = 30


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run with its counts."""

    id: int
    state: str
    wanted_by: str
    wanted_at: datetime
    day: date | None
    dry_run: bool
    started_at: datetime | None
    finished_at: datetime | None
    first_day: date | None
    end_day: date | None
    counts: dict[str, Any]
    reason: str | None
    answered_by: str | None


@dataclass(frozen=True, slots=True)
class DifferenceRow:
    """A difference with both values; ``placer_number`` and ``slot_zone`` are its link's."""

    id: int
    run_id: int
    side: str
    kind: str
    link_id: UUID | None
    key: str | None
    fields: list[str]
    ours: dict[str, Any]
    theirs: dict[str, Any]
    settled: str
    why: str | None
    noted_at: datetime
    since: datetime
    placer_number: str | None
    slot_zone: str | None


@dataclass(frozen=True, slots=True)
class DifferenceFilter:
    """The filter of the list; it stands in the page's address. ``after``: the last id of the page before."""

    side: str = ""
    kind: str = ""
    settled: str = ""
    after: int = 0
    ROWS: ClassVar[int] = 100


class Reports:
    """Each method is one session."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def runs(self, limit: int = _SHOWN_RUNS) -> list[RunRow]:
        """The newest first."""
        async with self._store.session() as session:
            runs = tables.ReconcileRuns
            found = sql.select(*columns_of(runs, RunRow)).order_by(sql.col(runs.id).desc()).limit(limit)
            return await rows(session, RunRow, found)

    async def run(self, run_id: int) -> RunRow | None:
        async with self._store.session() as session:
            runs = tables.ReconcileRuns
            found = await rows(session, RunRow, sql.select(*columns_of(runs, RunRow)).where(runs.id == run_id))
            return found[0] if found else None

    async def differences(
        self, run_id: int, wanted: DifferenceFilter = DifferenceFilter(), limit: int | None = None
    ) -> list[DifferenceRow]:
        """In the order in which they were found."""
        async with self._store.session() as session:
            found, links = tables.ReconcileDifferences, tables.AppointmentLinks
            columns = [getattr(found, name) for name in list(DifferenceRow.__slots__)[:-2]]
            asked = sql.select(*columns, links.placer_number, links.slot_zone).select_from(found)
            asked = asked.outerjoin(links, links.id == found.link_id).where(found.run_id == run_id)
            for column, value in (
                (found.side, wanted.side),
                (found.kind, wanted.kind),
                (found.settled, wanted.settled),
            ):
                if value:
                    asked = asked.where(column == value)
            if wanted.after:
                asked = asked.where(sql.col(found.id) > wanted.after)
            return await rows(session, DifferenceRow, asked.order_by(found.id).limit(limit or wanted.ROWS))

    async def still_open(self, run_id: int) -> int:
        """Differences that a person has to settle."""
        async with self._store.session() as session:
            found = tables.ReconcileDifferences
            is_open = sql.col(found.settled).in_([Settled.LISTED.value, Settled.FOUND.value])
            number: int = (
                await session.exec(sql.select(sql.func.count()).where(found.run_id == run_id, is_open))
            ).one()
            return number

    async def answer(self, run_id: int, state: Literal["approved", "declined"], *, actor: str) -> bool:
        """Approves or declines the corrections of a run that asks; False where it does not ask (any more). Audited."""
        async with self._store.session() as session:
            runs, found = tables.ReconcileRuns, tables.ReconcileDifferences
            asks = sql.update(runs).where(runs.id == run_id, runs.state == "asks")
            ends = {"finished_at": sql.func.clock_timestamp()} if state == "declined" else {}
            changed = await session.exec(asks.values(state=state, answered_by=actor, **ends))
            if changed.rowcount == 0:
                return False
            if state == "declined":
                listed = sql.update(found).where(found.run_id == run_id, found.settled == Settled.FOUND.value)
                await session.exec(listed.values(settled=Settled.LISTED.value, why="a person declined the correction"))
            await audit(session, actor=actor, action=f"reconcile.{state}", subject=str(run_id))
            await session.commit()
            return True

    async def wish(self, *, actor: str, day: date | None = None, dry_run: bool = False) -> int:
        """Asks for a run; a service takes it up at once. Audited."""
        async with self._store.session() as session:
            runs = tables.ReconcileRuns
            values = {
                "state": "wanted", "wanted_by": actor, "wanted_at": sql.func.clock_timestamp(), "day": day,
                "dry_run": dry_run, "counts": {},
            }  # fmt: skip
            number: int = (await session.exec(sql.insert(runs).values(values).returning(runs.id))).scalar_one()
            await audit(session, actor=actor, action="reconcile.run", subject=str(number))
            await session.commit()
            return number

    async def version(self) -> str:
        """A value that changes whenever the page may change."""
        async with self._store.session() as session:
            runs, found = tables.ReconcileRuns, tables.ReconcileDifferences
            newest = sql.select(runs.id, runs.state, runs.counts).order_by(sql.col(runs.id).desc()).limit(1)
            run = (await session.exec(newest)).first()
            if run is None:
                return ""
            settled = sql.select(found.settled, sql.func.count()).where(found.run_id == run[0]).group_by(found.settled)
            counted = sorted((await session.exec(settled)).all())
            return f"{run[0]}-{run[1]}-{counted}"
