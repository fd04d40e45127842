"""Pairs of patients who may be one person: found by what they share, decided by a person, never joined by the suite."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Final, Literal
from uuid import UUID

from chassis.store import Store, asking
from chassis.store.lazily import lazily
from chassis.store.rows import audit, rows, sql
from chassis.store.rows import columns as columns_of
from scheduler_sync.store import statements

if TYPE_CHECKING:
    from scheduler_sync.store import tables
else:
    (tables,) = lazily("scheduler_sync.store.tables")

Decision = Literal["same", "different"]
MOST: Final = 200


@dataclass(frozen=True, slots=True)
class ReviewRow:
    """A pair, without the patients' data. ``state``: open, same (to be merged in PowerServer), different, merged."""

    id: int
    first_id: UUID
    second_id: UUID
    reasons: list[str]
    state: str
    found_at: datetime
    decided_at: datetime | None
    decided_by: str | None


@dataclass(frozen=True, slots=True)
class Person:
    """One side of a pair, as a person compares it."""

    id: UUID
    family: str
    given: str
    middle: str | None
    birth_date: date | None
    sex: str
    email: str | None
    phone: str | None
    heard_at: datetime
    fhir_id: str | None


@dataclass(frozen=True, slots=True)
class Side:
    """A patient with the numbers (id^issuer) and the count of appointments."""

    person: Person
    numbers: list[str]
    appointments: int


class Reviews:
    """Each method is one session."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def look(self) -> None:
        """Finds new pairs, and ends those that PowerServer has merged. Raises StoreUnavailable."""
        with asking():
            await self._store.pool.execute(statements.FIND_REVIEWS)
            await self._store.pool.execute(statements.END_MERGED_REVIEWS)

    async def list(self, states: tuple[str, ...] = ("open", "same")) -> list[ReviewRow]:
        """The oldest first, at most 200."""
        async with self._store.session() as session:
            found = tables.PatientReviews
            wanted = sql.select(*columns_of(found, ReviewRow)).where(sql.col(found.state).in_(states))
            return await rows(session, ReviewRow, wanted.order_by(found.id).limit(MOST))

    async def pair(self, review_id: int, *, actor: str) -> tuple[ReviewRow, Side, Side] | None:
        """Both records side by side. Audited: they are patients' data."""
        async with self._store.session() as session:
            found, patients, links = tables.PatientReviews, tables.Patients, tables.AppointmentLinks
            numbers = tables.PatientIdentifiers
            asked = sql.select(*columns_of(found, ReviewRow)).where(found.id == review_id)
            review = next(iter(await rows(session, ReviewRow, asked)), None)
            if review is None:
                return None
            sides = []
            for patient_id in (review.first_id, review.second_id):
                wanted = sql.select(*columns_of(patients, Person)).where(patients.id == patient_id)
                person = next(iter(await rows(session, Person, wanted)), None)
                if person is None:
                    return None
                known = sql.select(numbers.value, numbers.issuer).where(numbers.patient_id == patient_id)
                of_them = (await session.exec(known.order_by(numbers.position))).all()
                booked = sql.select(sql.func.count()).select_from(links).where(links.patient_id == patient_id)
                count: int = (await session.exec(booked)).one()
                sides.append(Side(person, [f"{value}^{issuer}" for value, issuer in of_them], count))
            await audit(session, actor=actor, action="review.seen", subject=str(review_id))
            await session.commit()
            return review, sides[0], sides[1]

    async def decide(self, review_id: int, decision: Decision, *, actor: str) -> bool:
        """Keeps the decision; False where there is no such pair, or it was merged. Audited."""
        async with self._store.session() as session:
            found = tables.PatientReviews
            change = sql.update(found).where(found.id == review_id, found.state != "merged")
            values = {"state": decision, "decided_at": sql.func.clock_timestamp(), "decided_by": actor}
            if (await session.exec(change.values(values))).rowcount == 0:
                return False
            await audit(session, actor=actor, action=f"review.{decision}", subject=str(review_id))
            await session.commit()
            return True

    async def version(self) -> str:
        """A value that changes whenever the list may change."""
        async with self._store.session() as session:
            found = tables.PatientReviews
            counted = sql.select(found.state, sql.func.count()).group_by(found.state)
            return str(sorted((await session.exec(counted)).all()))
