"""Links and appointments of OmegaAI for the comparison: rows written straight into the store."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta

from chassis.store import Store
from scheduler_sync.domain.appointment import FHIR_STATUS_OF_STEP, State, WorkflowStep
from scheduler_sync.domain.reconciliation import Days, Seen, Side
from scheduler_sync.store.reconciliation import Compared, Comparison, Runs, Staging

SITE = "northside"
SERVICES = {("FAC01", "BLUME CT"): "hs-1", ("FAC01", "BLUME MR"): "hs-2", ("FAC02", "LAKE CT"): "hs-3"}
FIRST = date(2026, 12, 1)
DAYS = Days(FIRST, FIRST + timedelta(days=10))
READ = Days(FIRST - timedelta(days=1), FIRST + timedelta(days=11))
_ZONE = "America/Toronto"


@dataclass(frozen=True)
class Row:
    """A link as the comparison sees it."""

    id: uuid.UUID
    placer: str
    starts: datetime
    step: WorkflowStep = WorkflowStep.SCHEDULED
    state: State = State.STAFF_BOOKED
    resource: tuple[str, str] = ("FAC01", "BLUME CT")
    minutes: int = 30
    patient: int = 1
    powerserver_step: WorkflowStep | None = WorkflowStep.SCHEDULED
    fhir_id: str | None = None
    accession: str | None = None

    @property
    def ends(self) -> datetime:
        return self.starts + timedelta(minutes=self.minutes)


def row(number: int, **more) -> Row:
    starts = datetime(2026, 12, 1, 14, tzinfo=UTC) + timedelta(minutes=7 * number)
    given = {"fhir_id": f"appointment-{number}", "accession": f"ACC{number}", **more}
    return Row(uuid.UUID(int=1000 + number), f"P{number}", given.pop("starts", starts), **given)


def there(link: Row, **changes) -> Seen:
    """The Appointment as OmegaAI shows it when both sides agree."""
    status = "cancelled" if link.state is State.UNSCHEDULED else FHIR_STATUS_OF_STEP[link.step].value
    agreed = Seen(
        key=link.fhir_id or link.placer, version="1", link_id=link.id, placer=link.placer, status=status,
        starts=link.starts, ends=link.ends, resource=SERVICES[link.resource], patient=f"patient-{link.patient}",
    )  # fmt: skip
    return replace(agreed, **changes)


async def write(store: Store, links: Sequence[Row]) -> None:
    patients = sorted({one.patient for one in links})
    await store.pool.execute(
        "INSERT INTO patients (id, site, family, given, sex, language, organization, heard_at, details_heard_at, "
        "revision, fhir_id) SELECT ids.id, $2, 'Roe', 'Jane', 'F', 'en', '1', now(), '{}', 1, ids.fhir "
        "FROM unnest($1::uuid[], $3::text[]) AS ids (id, fhir) ON CONFLICT DO NOTHING",
        [uuid.UUID(int=number) for number in patients], SITE, [f"patient-{number}" for number in patients],
    )  # fmt: skip
    await store.pool.executemany(
        "INSERT INTO appointment_links (id, site, placer_number, patient_id, facility, resource, slot_start, slot_end, "
        "slot_zone, studies, study_details, state, step, who_acts_next, accession_numbers, powerserver_step, "
        "omegaai_id, omegaai_version, omegaai_written_version, revision, updated_at) VALUES ($1, $2, $3, $4, $5, $6, "
        "$7, $8, $9, '[]', '[]', $10, $11, 'patient', $12, $13, $14, '1', '1', 1, now() - interval '1 hour')",
        [
            (
                one.id, SITE, one.placer, uuid.UUID(int=one.patient), *one.resource, one.starts, one.ends, _ZONE,
                one.state.value, one.step.value, [] if one.accession is None else [one.accession],
                None if one.powerserver_step is None else one.powerserver_step.value, one.fhir_id,
            )
            for one in links
        ],
    )  # fmt: skip


async def stage(store: Store, side: Side, seen: Sequence[Seen], *, read: Days = READ) -> None:
    staging = Staging(store, side)
    at = datetime.now(UTC)
    by_day: Mapping[date, list[Seen]] = {day: [] for day in read}
    for one in seen:
        day = FIRST if one.starts is None else one.starts.date()
        by_day[day if day in by_day else FIRST].append(one)
    known = await staging.digests()
    for day, found in by_day.items():
        await staging.replace_day(day, found, known=known.get(day), at=at)
    await staging.analyze()


async def compared(
    store: Store, side: Side, *, days: Days = DAYS, cut: frozenset[date] = frozenset()
) -> tuple[int, list[dict]]:
    """A run's differences of one side: its number, and the rows."""
    runs = Runs(store, uuid.uuid4())
    number = await runs.wish("test")
    began_at = await store.pool.fetchval("SELECT clock_timestamp()")
    what = Compared(days, Days(days.first - timedelta(days=1), days.end + timedelta(days=1)), began_at, cut)
    comparison = Comparison(store, SITE)
    if side is Side.OMEGAAI:
        await comparison.omegaai(number, what, SERVICES)
    elif side is Side.POWERSERVER:
        await comparison.powerserver(number, what)
    else:
        await comparison.worklist(number, what, ["FAC01", "FAC02"])
    found = await store.pool.fetch("SELECT * FROM reconcile_differences WHERE run_id = $1 ORDER BY id", number)
    return number, [dict(one) for one in found]
