"""Pairs of records that may be of one person: found by what they share, decided by a person, never joined by the suite.

The second record of a pair is another patient of the suite, or OmegaAI's own Patient with the same number.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal
from uuid import UUID

from chassis.store import Store, asking
from chassis.store.lazily import lazily
from chassis.store.rows import audit, notify, rows, sql
from chassis.store.rows import columns as columns_of
from chassis.store.rows import tables as chassis_tables
from chassis.store.transaction import DELIVERIES_CHANNEL
from scheduler_sync.store import statements

if TYPE_CHECKING:
    from scheduler_sync.store import tables
else:
    (tables,) = lazily("scheduler_sync.store.tables")

Decision = Literal["same", "different"]
MOST: Final = 200
MOST_APPOINTMENTS: Final = 5
OPEN: Final = ("open", "same")
ALL: Final = ("open", "same", "different", "merged", "settled")
_ENDED: Final = ("merged", "settled")
_LARGEST_ID: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class ReviewRow:
    """Two records, without the patients' data; ``second_id`` is None where OmegaAI's Patient is the second one.

    ``state``: open, same, different, merged (PowerServer has merged them) or settled (OmegaAI has the patient's data).
    """

    id: int
    first_id: UUID
    second_id: UUID | None
    reasons: list[str]
    state: str
    found_at: datetime
    decided_at: datetime | None
    decided_by: str | None
    omegaai_id: str | None
    journal_ids: list[UUID]

    @property
    def can_decide(self) -> bool:
        return self.state not in _ENDED


@dataclass(frozen=True, slots=True)
class Side:
    """A record as a person compares it. ``seen_at``: PowerServer's time of the newest message about it.

    ``appointments``: their number, None for OmegaAI's own record; ``links``: ids and placer numbers of the newest.
    """

    numbers: list[str]
    family: str
    given: str
    middle: str
    birth_date: str
    sex: str
    email: str
    phone: str
    fhir_id: str | None
    seen_at: datetime | None = None
    appointments: int | None = None
    links: list[tuple[UUID, str]] = field(default_factory=list)


class Reviews:
    """Each method is one session."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def look(self) -> None:
        """Finds new pairs, and ends what is done. StoreUnavailable."""
        with asking():
            await self._store.pool.execute(statements.FIND_REVIEWS)
        await self.end()

    async def end(self) -> None:
        """Ends the reviews of records that PowerServer has merged, and of patients whose data OmegaAI has taken."""
        with asking():
            await self._store.pool.execute(statements.END_MERGED_REVIEWS)
            await self._store.pool.execute(statements.END_WRITTEN_REVIEWS)

    async def merged_with_messages(self) -> list[tuple[int, list[UUID]]]:
        """The reviews of merged records that have not ended, with the messages that named both. StoreUnavailable."""
        with asking():
            found = await self._store.pool.fetch(statements.MERGED_WITH_MESSAGES)
        return [(row["id"], sorted(row["journal_ids"])) for row in found]

    async def list(self, states: tuple[str, ...] = OPEN) -> list[ReviewRow]:
        """The oldest first, at most 200."""
        async with self._store.session() as session:
            found = tables.PatientReviews
            wanted = sql.select(*columns_of(found, ReviewRow)).where(sql.col(found.state).in_(states))
            return await rows(session, ReviewRow, wanted.order_by(found.id).limit(MOST))

    async def pair(self, review_id: int, *, actor: str) -> tuple[ReviewRow, Side, Side] | None:
        """Both records side by side. Audited: they are patients' data."""
        if review_id > _LARGEST_ID:
            return None
        async with self._store.session() as session:
            found = tables.PatientReviews
            asked = sql.select(*columns_of(found, ReviewRow), found.seen).where(found.id == review_id)
            row = (await session.exec(asked)).first()
            if row is None:
                return None
            review = ReviewRow(*row[:-1])
            first = await _patient(session, review.first_id)
            second = _there(row[-1]) if review.second_id is None else await _patient(session, review.second_id)
            if first is None or second is None:
                return None
            await audit(session, actor=actor, action="review.seen", subject=str(review_id))
            await session.commit()
            return review, first, second

    async def decide(self, review_id: int, decision: Decision, *, actor: str) -> bool:
        """Keeps the decision; False where there is no such review, or it has ended. Audited.

        What waits for OmegaAI about the patient is sent now.
        """
        if review_id > _LARGEST_ID:
            return False
        async with self._store.session() as session:
            found = tables.PatientReviews
            change = sql.update(found).where(found.id == review_id, sql.col(found.state).not_in(_ENDED))
            values = {"state": decision, "decided_at": sql.func.clock_timestamp(), "decided_by": actor}
            decided = (await session.exec(change.values(values).returning(found.first_id, found.second_id))).first()
            if decided is None:
                return False
            await audit(session, actor=actor, action=f"review.{decision}", subject=str(review_id))
            if decided[1] is None:
                waiting = chassis_tables.Deliveries
                line = sql.update(waiting).where(
                    waiting.destination == "omegaai", waiting.key == decided[0], waiting.state == "pending"
                )
                await session.exec(line.values(next_attempt_at=sql.func.clock_timestamp()))
                await notify(session, DELIVERIES_CHANNEL)
            await session.commit()
            return True

    async def version(self) -> str:
        """A value that changes whenever the list may change."""
        async with self._store.session() as session:
            found = tables.PatientReviews
            counted = sql.select(found.state, sql.func.count(), sql.func.max(found.decided_at)).group_by(found.state)
            return str(sorted((await session.exec(counted)).all()))


async def _patient(session: Any, patient_id: UUID) -> Side | None:
    patients, numbers, links = tables.Patients, tables.PatientIdentifiers, tables.AppointmentLinks
    person = (await session.exec(sql.select(patients).where(patients.id == patient_id))).first()
    if person is None:
        return None
    known = sql.select(numbers.value, numbers.issuer).where(numbers.patient_id == patient_id)
    of_them = (await session.exec(known.order_by(numbers.position))).all()
    booked = sql.select(sql.func.count()).select_from(links).where(links.patient_id == patient_id)
    newest = sql.select(links.id, links.placer_number).where(links.patient_id == patient_id)
    newest = newest.order_by(sql.col(links.updated_at).desc()).limit(MOST_APPOINTMENTS)
    return Side(
        numbers=[f"{value}^{issuer}" for value, issuer in of_them],
        family=person.family, given=person.given, middle=person.middle or "",
        birth_date="" if person.birth_date is None else person.birth_date.isoformat(), sex=person.sex,
        email=person.email or "", phone=person.phone or "", fhir_id=person.fhir_id, seen_at=person.heard_at,
        appointments=(await session.exec(booked)).one(), links=[tuple(one) for one in await session.exec(newest)],
    )  # fmt: skip


def _there(seen: Any) -> Side:
    """OmegaAI's Patient as it was read."""
    return Side(
        numbers=seen["numbers"], family=seen["family"], given=seen["given"], middle="", birth_date=seen["birth_date"],
        sex=seen["sex"], email=seen["email"], phone=seen["phone"], fhir_id=seen["fhir_id"],
    )  # fmt: skip
