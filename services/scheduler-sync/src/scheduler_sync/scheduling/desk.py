"""The use cases of the scheduling API: the rules of self-scheduling, and the store's claims under them.

What ``find`` offers is what ``hold``, ``book`` and ``move`` accept: one function (``Room.is_free``). The claim decides
between two who come at once.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar
from uuid import UUID, uuid4, uuid5

import asyncpg

from chassis.backoff import pause_seconds
from chassis.errors import StoreUnavailable
from chassis.store import Store, Transaction, asking, meaning_of
from scheduler_sync.commands import Origin
from scheduler_sync.domain.appointment import AppointmentLink, Decision, Outcome, Study, requests
from scheduler_sync.domain.patient import Patient
from scheduler_sync.domain.slots import Busy, Length, Slot
from scheduler_sync.handlers.effects import Effects
from scheduler_sync.handlers.requests import powerservers_name
from scheduler_sync.rooms import Room, Rooms
from scheduler_sync.scheduling.offers import Offers, TimeRefused, near, taken
from scheduler_sync.scheduling.parameters import PatientAsked, SlotAsked
from scheduler_sync.scheduling.problems import Code, Problem, Refused
from scheduler_sync.scheduling.rules import beside, closed, confirms, is_taken, out_of_time
from scheduler_sync.store import columns, statements
from scheduler_sync.store.claims import busy_between
from scheduler_sync.store.work import OpenWork, StoredWork

SOURCE: Final = "scheduling"
EXPIRED: Final = "hold.expired"
LONGEST_SEARCH: Final = timedelta(days=62)
MOST_LINKS: Final = 200
MOST_COLLISIONS: Final = 20
_HOLDS: Final = UUID("b60d2c39-6f6f-5be1-9b8a-86b2e6f3f0d5")
_MINUTE: Final = timedelta(minutes=1)
T = TypeVar("T")
NO_STUDY: Final = Problem(Code.REQUIRED, "names a study type", "appt-resource.serviceType")
"""PowerServer refuses an order without a study, so nobody is promised a time for one."""
NO_PATIENT: Final = Problem(Code.NOT_FOUND, "PowerServer has told of no such patient", "patient")


@dataclass(frozen=True, slots=True)
class Hold:
    """A time that is held for a caller until ``expires_at``; None: it is booked by now."""

    id: UUID
    client: str
    facility: str
    resource: str
    slot: Slot
    studies: tuple[Study, ...]
    patient_id: UUID | None
    moves_id: UUID | None
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class FindAsked:
    """What ``find`` looks for. None: any."""

    begin: datetime
    end: datetime
    service_id: str | None = None
    facility: str | None = None
    modality: str | None = None
    studies: tuple[str, ...] = ()
    minutes: int | None = None
    moves_id: UUID | None = None
    position: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """One call's transaction, for one caller."""

    work: StoredWork
    transaction: Transaction
    client: str


@dataclass(frozen=True, slots=True)
class Wish:
    """A slot that is wanted. ``moved`` is the appointment to be moved there, ``own_claims`` the caller's hold."""

    room: Room
    length: Length
    slot: Slot
    moved: AppointmentLink | None = None
    own_claims: Collection[UUID] = ()


class Desk:
    """The operations. Each raises Refused with every reason, and StoreUnavailable."""

    def __init__(self, store: Store, open_work: OpenWork, rooms: Rooms, effects: Effects) -> None:
        self._store = store
        self._open_work = open_work
        self._rooms = rooms
        self._effects = effects
        self._offers = Offers(store, rooms)

    def room_of(self, facility: str, resource: str) -> Room | None:
        return self._rooms.of(facility, resource)

    async def find(self, asked: FindAsked) -> list[tuple[Room, Slot]]:
        """Free slots in order of time: of the one service, or of all that patients may book."""
        if not asked.begin < asked.end <= asked.begin + LONGEST_SEARCH:
            raise Refused(Problem(Code.TOO_COSTLY, f"ends after its start, within {LONGEST_SEARCH.days} days", "end"))
        moved = None if asked.moves_id is None else await self._link(asked.moves_id)
        rooms = self._candidates(asked)
        is_moving = moved is not None
        reasons = {room.resource.id: closed(room, is_moving=is_moving, position=asked.position) for room in rooms}
        if asked.service_id is not None and reasons.get(rooms[0].resource.id):
            raise Refused(*reasons[rooms[0].resource.id])
        offered = [room for room in rooms if not reasons[room.resource.id]]
        with asking():
            busy = await busy_between(
                self._store.pool, [room.resource.id for room in offered], asked.begin, asked.end,
                without_links=[] if moved is None else [moved.id],
            )  # fmt: skip
        now = self._rooms.now()
        found: list[tuple[Room, Slot]] = []
        for room in offered:
            length, zone = room.length(asked.studies, asked.minutes), str(room.hours.zone)
            begin = max(asked.begin, now + room.rules.notice_minutes * _MINUTE)
            end = min(asked.end, now + timedelta(days=room.rules.horizon_days))
            if room.resource.id in busy and begin < end:
                starts = room.free_starts(busy[room.resource.id], length, begin, end)
                found += [(room, Slot(start, start + length.exam, zone)) for start in starts]
        found.sort(key=lambda one: (one[1].start, one[0].resource.facility, one[0].resource.name))
        return found

    async def hold(
        self, asked: SlotAsked, *, client: str, key: str | None, moves_id: UUID | None, patient: PatientAsked | None
    ) -> Hold:
        """Holds the time for some minutes. The same ``key`` again gives the same hold."""
        hold_id = uuid4() if key is None else uuid5(_HOLDS, f"{client}/{key}")
        unclear = [] if moves_id is not None or asked.studies else [NO_STUDY]
        room = self._service(asked.service_id)
        length = room.length([one.code for one in asked.studies], asked.minutes)

        async def do(turn: Turn) -> Hold:
            work, transaction = turn.work, turn.transaction
            connection = transaction.connection
            problems = list(unclear)
            found = await self._named(work, patient or asked.patient, problems)
            slot = Slot(asked.start, asked.start + length.exam, str(room.hours.zone))
            seconds = float(room.rules.hold_minutes * 60)
            values = (
                hold_id, client, room.resource.facility, room.resource.name, slot.start, slot.end,
                columns.encoded([[one.code, one.description] for one in asked.studies]),
                None if found is None else found.id, moves_id,
            )  # fmt: skip
            expires_at = await connection.fetchval(statements.WRITE_HOLD, *values, seconds)
            if expires_at is None:
                return _same(_hold(await connection.fetchrow(statements.HOLD, hold_id)), values)
            moved = None if moves_id is None else await self._link(moves_id, connection)
            await self._check(connection, Wish(room, length, slot, moved), problems)
            start, end = length.claimed(slot.start)
            for number, part in enumerate(beside(moved, room, start, end)):
                claim_id = uuid5(hold_id, str(number)) if number else hold_id
                outcome = await connection.fetchval(statements.CLAIM_HOLD, room.resource.id, *part, claim_id, seconds)
                if outcome == "taken":
                    raise taken(room, slot, moved)
            transaction.set_timer(EXPIRED, key=hold_id, due_at=expires_at, revision=1)
            transaction.audit(actor=client, action="scheduling.hold", subject=str(hold_id))
            return Hold(
                hold_id, client, room.resource.facility, room.resource.name, slot, asked.studies,
                None if found is None else found.id, moves_id, expires_at,
            )  # fmt: skip

        return await self._in_transaction(do, client)

    async def release(self, hold_id: UUID, *, client: str) -> Hold:
        """Gives a hold of this caller's back: others may have its time. A hold that is over already stays so."""
        link_id = _link_of_hold(self._effects.site().site, hold_id)

        async def do(turn: Turn) -> Hold:
            hold = await self._own_hold(hold_id, client, turn.transaction.connection)
            if await turn.transaction.connection.fetchrow(statements.LINK, link_id) is not None:
                raise Refused(Problem(Code.CONFLICT, "the hold was booked: cancel the appointment", "id"))
            for claim_id in _claims_of(hold_id):
                turn.work.claims.end_hold(claim_id)
            turn.transaction.cancel_timer(EXPIRED, key=hold_id, revision=2)
            turn.transaction.audit(actor=turn.client, action="scheduling.release", subject=str(hold_id))
            return hold

        return await self._in_transaction(do, client)

    async def book(
        self,
        *,
        client: str,
        key: str | None,
        hold_id: UUID | None = None,
        asked: SlotAsked | None = None,
        patient: PatientAsked | None = None,
    ) -> AppointmentLink:
        """Books what a hold has, or ``asked`` at once. The same hold or ``key`` again gives the same appointment."""
        site = self._effects.site()
        link_id = _link_of_hold(site.site, hold_id or uuid5(_HOLDS, f"{client}/{key or uuid4()}"))

        async def do(turn: Turn) -> AppointmentLink:
            work, connection = turn.work, turn.transaction.connection
            hold = None if hold_id is None else await self._own_hold(hold_id, client, connection)
            if hold is not None and hold.moves_id is not None:
                return await self._move(turn, hold.moves_id, hold)
            room, length, start, studies = self._wanted(hold, asked)
            problems = [] if studies else [NO_STUDY]
            found = await self._named(work, patient or (None if asked is None else asked.patient), problems, hold)
            if found is None and NO_PATIENT not in problems:
                problems.append(Problem(Code.REQUIRED, "names the patient, who is known to PowerServer", "patient"))
            slot = Slot(start, start + length.exam, str(room.hours.zone))
            await work.links.load_by_id([link_id])
            known = work.links.by_id(link_id)
            if known is not None and found is not None:
                return _same_booking(known, found, slot, is_of_hold=hold is not None)
            held = () if hold is None else _claims_of(hold.id)
            await self._check(connection, Wish(room, length, slot, None, held), problems)
            assert found is not None  # noqa: S101 - a problem otherwise
            link = AppointmentLink(
                id=link_id, site=site.site, placer_number=requests.placer_number(link_id), patient_id=found.id,
                facility=room.resource.facility, resource=powerservers_name(room.resource, site),
                modality=room.resource.modality, slot=slot, studies=studies,
            )  # fmt: skip
            decision = link.book_for_patient()
            self._apply(turn, link, decision, found, "scheduling.book", hold_id)
            booked = await self._with_room(turn, link_id, room, slot)
            if confirms(room, found):
                confirmed = booked.confirm_by_rule()
                self._apply(turn, booked, confirmed, found, "scheduling.confirm-by-rule", None)
                booked = confirmed.link
            return booked

        return await self._in_transaction(do, client)

    async def move(
        self, link_id: UUID, *, client: str, hold_id: UUID | None = None, start: datetime | None = None
    ) -> AppointmentLink:
        """Asks for another time of an appointment, in one transaction: the booked time stays until staff decide."""

        async def do(turn: Turn) -> AppointmentLink:
            if hold_id is not None:
                hold = await self._own_hold(hold_id, client, turn.transaction.connection)
                return await self._move(turn, link_id, hold)
            return await self._move(turn, link_id, None, start)

        return await self._in_transaction(do, client)

    async def cancel(self, link_id: UUID, *, client: str, reason: str) -> AppointmentLink:
        """Cancels an appointment for its patient."""

        async def do(turn: Turn) -> AppointmentLink:
            link, patient = await self._locked(turn.work, link_id)
            if link.state.value == "cancelled":
                return link
            rules, problems = self._effects.site().scheduling_of(link.facility), list[Problem]()
            decision = link.cancel_for_patient(reason)
            if not rules.cancel:
                problems.append(Problem(Code.SUPPRESSED, "patients of this facility may not cancel by themselves"))
            if decision.outcome is Outcome.REFUSED:
                problems.append(Problem(Code.RULE, decision.conflict or "the appointment's state does not allow it"))
            if problems:
                raise Refused(*problems)
            self._apply(turn, link, decision, patient, "scheduling.cancel", None)
            return decision.link

        return await self._in_transaction(do, client)

    async def appointments(self, patient_id: UUID, begin: datetime, end: datetime) -> list[AppointmentLink]:
        """A patient's appointments that start within the span, in order of time, at most 200."""
        with asking():
            rows = await self._store.pool.fetch(statements.LINKS_OF_PATIENT, patient_id, begin, end, MOST_LINKS)
        return [columns.link(row) for row in rows]

    async def read(self, link_id: UUID, *, client: str) -> AppointmentLink | Hold:
        """An appointment, or a hold of this caller's."""
        with asking():
            row = await self._store.pool.fetchrow(statements.LINK, link_id)
            if row is not None:
                return columns.link(row)
            return await self._own_hold(link_id, client, self._store.pool)

    # ---- inside a transaction

    async def _move(
        self, turn: Turn, link_id: UUID, hold: Hold | None, start: datetime | None = None
    ) -> AppointmentLink:
        link, patient = await self._locked(turn.work, link_id)
        start = start if hold is None else hold.slot.start
        if link.slot is None or start is None:
            raise Refused(Problem(Code.RULE, "the appointment has no time that could be moved"))
        room = self._rooms.of(link.facility, link.resource)
        if room is None:
            raise Refused(Problem(Code.NOT_FOUND, "OmegaAI has no such resource any more"))
        if hold is not None and hold.resource != room.resource.name:
            raise Refused(
                Problem(Code.RULE, "another resource is another appointment: book that one and cancel this", "hold")
            )
        length = room.length(minutes=link.slot.minutes)
        slot = Slot(start, start + (link.slot.end - link.slot.start), link.slot.zone)
        if link.requested_slot == slot:
            return link
        refusal = list[Problem]()
        if slot == link.slot:
            refusal.append(Problem(Code.RULE, "is the time that the appointment has", "start"))
        decision = link.ask_to_move(slot)
        if decision.outcome is Outcome.REFUSED:
            refusal.append(Problem(Code.RULE, decision.conflict or "the appointment's state does not allow it"))
        held = () if hold is None else _claims_of(hold.id)
        await self._check(turn.transaction.connection, Wish(room, length, slot, link, held), refusal)
        self._apply(turn, link, decision, patient, "scheduling.move", None if hold is None else hold.id)
        return await self._with_room(turn, link_id, room, slot)

    def _apply(  # noqa: PLR0917 (each is another thing)
        self,
        turn: Turn,
        link: AppointmentLink,
        decision: Decision,
        patient: Patient,
        action: str,
        hold_id: UUID | None,
    ) -> None:
        """Stages the decision's effects, as for an act in Blume."""
        if decision.outcome is Outcome.REFUSED:
            raise Refused(Problem(Code.RULE, decision.conflict or "the appointment's state does not allow it"))
        origin = Origin(SOURCE, action, uuid4(), self._effects.clock.now())
        if hold_id is not None:
            for claim_id in _claims_of(hold_id):
                turn.work.claims.end_hold(claim_id)
            turn.transaction.cancel_timer(EXPIRED, key=hold_id, revision=2)
        self._effects.of_decision(link, decision, patient, by="patient", work=turn.work, origin=origin)
        turn.transaction.audit(actor=turn.client, action=action, subject=str(link.id))

    async def _with_room(self, turn: Turn, link_id: UUID, room: Room, slot: Slot) -> AppointmentLink:
        """The link as it will be saved. If another one takes the time before the claim, the transaction runs again."""
        link = turn.work.links.by_id(link_id)
        assert link is not None  # noqa: S101 - it was saved just now
        if not await turn.work.claims.has_room(link):
            raise taken(room, slot, link)
        return link

    async def _check(self, connection: "asyncpg.Connection", wish: Wish, problems: Sequence[Problem] = ()) -> None:
        """Raises with every reason against the wish at once."""
        room, length, slot, moved = wish.room, wish.length, wish.slot, wish.moved
        start, end = length.claimed(slot.start)
        found = await busy_between(
            connection,
            [room.resource.id],
            start,
            end,
            without_links=[] if moved is None else [moved.id],
            without_claims=wish.own_claims,
        )
        busy = found.get(room.resource.id, Busy())
        reasons = [*problems, *closed(room, is_moving=moved is not None)]
        reasons += out_of_time(room, length, slot.start, self._rooms.now())
        if not room.is_free(busy, length, slot.start) and (not reasons or not busy.has_room(start, end)):
            reasons.append(is_taken(busy, start, end))
        if reasons:
            raise TimeRefused(*reasons, near=near(room, slot, moved))

    async def _named(
        self, work: StoredWork, asked: PatientAsked | None, problems: list[Problem], hold: Hold | None = None
    ) -> Patient | None:
        """The patient by id, or by number and issuer; that of the hold where none is named.

        An unknown patient is added to ``problems``.
        """
        wanted = asked.id if asked is not None else None if hold is None else hold.patient_id
        if asked is not None and asked.identifier is not None:
            issuers = [key for key, system in self._effects.site().issuers.items() if system == asked.identifier.issuer]
            numbers = [replace(asked.identifier, issuer=one) for one in issuers]
            await work.patients.load(numbers)
            found = {one.id: one for one in work.patients.all_identified_by(numbers)}
            patient = next(iter(found.values())) if len(found) == 1 else None
        elif wanted is not None:
            await work.patients.load_by_id([wanted], lock=False)
            patient = work.patients.by_id(wanted)
        else:
            return None
        if patient is None:
            problems.append(NO_PATIENT)
        return patient

    async def _locked(self, work: StoredWork, link_id: UUID) -> tuple[AppointmentLink, Patient]:
        await work.links.load_by_id([link_id])
        link = work.links.by_id(link_id)
        if link is None:
            raise _unknown()
        await work.patients.load_by_id([link.patient_id], lock=False)
        patient = work.patients.by_id(link.patient_id)
        if patient is None:
            raise _unknown()
        return link, patient

    async def _link(
        self, link_id: UUID, connection: "asyncpg.Connection | asyncpg.Pool | None" = None
    ) -> AppointmentLink:
        with asking():
            row = await (connection or self._store.pool).fetchrow(statements.LINK, link_id)
        if row is None:
            raise _unknown("ignore-appointment")
        return columns.link(row)

    async def _own_hold(self, hold_id: UUID, client: str, connection: "asyncpg.Connection | asyncpg.Pool") -> Hold:
        row = await connection.fetchrow(statements.HOLD, hold_id)
        if row is None or row["client"] != client:
            raise _unknown("appt-reference")
        return _hold(row)

    def _wanted(self, hold: Hold | None, asked: SlotAsked | None) -> tuple[Room, Length, datetime, tuple[Study, ...]]:
        """Where, how long, when and what, by the hold or by the call itself."""
        if hold is not None:
            room = self._rooms.of(hold.facility, hold.resource)
            if room is None:
                raise Refused(Problem(Code.NOT_FOUND, "OmegaAI has no such resource any more", "appt-reference"))
            return room, room.length(minutes=hold.slot.minutes), hold.slot.start, hold.studies
        if asked is None:
            raise Refused(Problem(Code.REQUIRED, "names a hold, or the appointment", "appt-reference"))
        room = self._service(asked.service_id)
        return room, room.length([one.code for one in asked.studies], asked.minutes), asked.start, asked.studies

    def _service(self, service_id: str) -> Room:
        found = next((room for room in self._all_rooms() if room.resource.healthcare_service_id == service_id), None)
        if found is None:
            raise Refused(Problem(Code.NOT_FOUND, "no resource of the site is this HealthcareService", "participant"))
        return found

    def _all_rooms(self) -> list[Room]:
        return [room for facility in self._effects.site().facilities for room in self._rooms.all_of(facility)]

    def _candidates(self, asked: FindAsked) -> list[Room]:
        if asked.service_id is not None:
            return [self._service(asked.service_id)]
        return [
            room
            for room in self._all_rooms()
            if asked.facility in {None, room.resource.facility} and asked.modality in {None, room.resource.modality}
        ]

    async def _in_transaction(self, do: Callable[[Turn], Awaitable[T]], client: str) -> T:
        """Runs again what lost against another transaction."""
        collisions = 0
        while True:
            try:
                with asking():
                    return await self._once(do, client)
            except TimeRefused as refused:
                with asking():
                    raise await self._offers.beside(refused) from None
            except StoreUnavailable as error:
                collisions += 1
                is_over = error.__cause__ is None or meaning_of(error.__cause__) not in {"again", "taken"}
                if is_over or collisions == MOST_COLLISIONS:
                    raise
            await asyncio.sleep(pause_seconds(min(collisions, 5), first_seconds=0.01))

    async def _once(self, do: Callable[[Turn], Awaitable[T]], client: str) -> T:
        async with self._store.pool.acquire() as connection, connection.transaction():
            transaction = Transaction(connection)
            work = self._open_work(transaction)
            result = await do(Turn(work, transaction, client))
            await transaction.flush()
            return result


def _link_of_hold(site: str, hold_id: UUID) -> UUID:
    """The id of the appointment that a hold becomes: the same each time it is booked."""
    return requests.link_id(site, f"{SOURCE}/{hold_id}")


def _claims_of(hold_id: UUID) -> list[UUID]:
    return [hold_id, uuid5(hold_id, "1")]


def _hold(row: Mapping[str, Any]) -> Hold:
    studies = columns.decoded(row["studies"])
    return Hold(
        row["id"], row["client"], row["facility"], row["resource"], Slot(row["slot_start"], row["slot_end"], "UTC"),
        tuple(Study(code, text) for code, text in studies), row["patient_id"], row["moves_id"], row["expires_at"],
    )  # fmt: skip


def _same(hold: Hold, values: tuple[Any, ...]) -> Hold:
    """The former hold under this key. Refused when it was for something else."""
    _, _, facility, resource, start, end, _, patient_id, moves_id = values
    before = hold.facility, hold.resource, hold.slot.start, hold.slot.end, hold.patient_id, hold.moves_id
    if before != (facility, resource, start, end, patient_id, moves_id):
        raise Refused(Problem(Code.DUPLICATE, "the key was used for another request", "Idempotency-Key"))
    return hold


def _same_booking(known: AppointmentLink, patient: Patient, slot: Slot, *, is_of_hold: bool) -> AppointmentLink:
    """The former booking under this key or of this hold. Refused when it was for something else."""
    if known.patient_id != patient.id or not (is_of_hold or known.slot == slot):
        raise Refused(Problem(Code.DUPLICATE, "the key was used for another request", "Idempotency-Key"))
    return known


def _unknown(where: str = "Appointment") -> Refused:
    return Refused(Problem(Code.NOT_FOUND, "this API knows no such appointment or hold", where))
