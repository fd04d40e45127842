"""The promises of every intake, written once: a member's tests make a class of it for each of the member's intakes.

The handler writes one row for each message, with the marker that the test gives. So each test counts at the end how
often every message had an effect, whatever was raised, refused or killed on the way.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Literal, Protocol, TypeVar

from chassis import failpoints
from chassis.errors import Permanent, StoreUnavailable, Transient
from chassis.messaging import BatchExecutor, Done, Duplicate, Failed, Held, Intake, Outcome
from chassis.store import Store, Transaction

M = TypeVar("M")
TABLE: Final = "CREATE TABLE intake_effects (number int NOT NULL CHECK (number < 1000000))"
_WRITE: Final = "INSERT INTO intake_effects SELECT * FROM unnest($1::int[])"
_REFUSED_BY_THE_STORE: Final = 1_000_000
_AT_ONCE: Final = 20


class Given(Protocol[M]):
    """An intake, and how its messages are made. Equal numbers make copies of one message, as a sender repeats it."""

    @property
    def intake(self) -> Intake[M]: ...

    def message(self, number: int, key: int) -> M: ...

    def number(self, message: M) -> int: ...


@dataclass
class _Effects:
    """The repository: rows are staged in memory and written with the flush."""

    transaction: Transaction
    numbers: list[int] = field(default_factory=list)

    def mark(self) -> int:
        return len(self.numbers)

    def rollback_to(self, mark: Any) -> None:
        del self.numbers[mark:]

    async def flush(self, _connection: Any) -> None:
        if self.numbers:
            self.transaction.write(_WRITE, self.numbers)


class _Line:
    """The intake under the batch executor, with a handler that does what the test says."""

    def __init__(self, store: Store, given: Given[Any]) -> None:
        self.store, self.given = store, given
        self.raises: dict[int, Exception] = {}
        self.breaks_the_write: set[int] = set()
        self.is_store_away = False
        self.executor: BatchExecutor[Any, _Effects, None] = BatchExecutor(
            store, intake=given.intake, open_work=self._open, prefetch=self._prefetch, handle=self._handle
        )

    async def run(self, *numbers: int, key: int | None = None) -> list[Outcome[None]]:
        """Runs one batch; every message has a key of its own unless ``key`` names one for all."""
        return await self.executor.run([self.given.message(one, one if key is None else key) for one in numbers])

    async def effects(self) -> Counter[int]:
        return Counter([row["number"] for row in await self.store.pool.fetch("SELECT number FROM intake_effects")])

    def _open(self, transaction: Transaction) -> _Effects:
        effects = _Effects(transaction)
        transaction.join(effects)
        return effects

    async def _prefetch(self, _work: _Effects, _messages: Sequence[Any]) -> None:
        if self.is_store_away:
            raise StoreUnavailable("told so")

    async def _handle(self, work: _Effects, message: Any) -> None:
        number = self.given.number(message)
        work.numbers.append(_REFUSED_BY_THE_STORE if number in self.breaks_the_write else number)
        if number in self.raises:
            raise self.raises[number]


class _CountingConnection:
    """Replaces the connection of a claim, and counts its queries."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.asked = 0

    def __getattr__(self, name: str) -> Any:
        self.asked += 1
        return getattr(self._connection, name)


class _CountingTransaction(Transaction):
    """Counts what an intake stages."""

    def __init__(self, connection: Any) -> None:
        super().__init__(connection)
        self.staged = 0

    def write(self, statement: str, *arguments: object) -> None:
        self.staged += 1
        super().write(statement, *arguments)


class IntakeContract:
    """Subclass it as ``Test…`` with ``given``; the member's tests have a fixture ``store`` with its tables."""

    after_a_failure: ClassVar[Literal["handled again", "kept"]]
    """The outcome of a message that comes again after a permanent failure, or after a bug."""
    after_a_passing_failure: ClassVar[Literal["handled again", "held"]] = "handled again"
    keeps_order: ClassVar[bool]
    """Whether later messages of a key wait after a passing failure."""
    may_repeat_in_a_batch: ClassVar[bool] = True

    def given(self) -> Given[Any]:
        raise NotImplementedError

    async def _line(self, store: Store) -> _Line:
        await store.pool.execute(TABLE)
        return _Line(store, self.given())

    async def test_each_message_of_a_batch_has_one_effect_and_a_repeat_none(self, store: Store) -> None:
        line = await self._line(store)
        numbers = range(_AT_ONCE)
        assert await line.run(*numbers) == [Done(None)] * _AT_ONCE
        assert await line.run(*numbers) == [Duplicate()] * _AT_ONCE
        assert await line.effects() == Counter(numbers)

    async def test_a_batch_of_old_and_new_messages_tells_them_apart(self, store: Store) -> None:
        line = await self._line(store)
        await line.run(1, 3)
        assert await line.run(0, 1, 2, 3) == [Done(None), Duplicate(), Done(None), Duplicate()]
        assert await line.effects() == Counter(range(4))

    async def test_two_copies_in_one_batch_have_one_effect(self, store: Store) -> None:
        if not self.may_repeat_in_a_batch:
            return
        line = await self._line(store)
        assert await line.run(1, 1) == [Done(None), Duplicate()]
        assert await line.effects() == Counter([1])

    async def test_two_processes_that_take_the_same_messages_have_one_effect(self, store: Store) -> None:
        line = await self._line(store)
        other = _Line(store, self.given())
        numbers = range(_AT_ONCE)
        outcomes = await asyncio.gather(line.run(*numbers), other.run(*reversed(numbers)))
        assert Counter(type(one) for both in outcomes for one in both) == {Done: _AT_ONCE, Duplicate: _AT_ONCE}
        assert await line.effects() == Counter(numbers)

    async def test_a_passing_failure_leaves_no_effect_and_the_others_theirs(self, store: Store) -> None:
        line = await self._line(store)
        line.raises[1] = Transient("told so")
        first, failed, last = await line.run(0, 1, 2)
        assert (first, failed, last) == (Done(None), Failed(line.raises[1]), Done(None))
        assert await line.effects() == Counter([0, 2])
        line.raises.clear()
        again = await line.run(1)
        if self.after_a_passing_failure == "handled again":
            assert again == [Done(None)]
            assert await line.effects() == Counter([0, 1, 2])
        else:
            assert again == [Held()]
            assert await line.effects() == Counter([0, 2])

    async def test_a_failure_for_good_leaves_no_effect_and_the_others_theirs(self, store: Store) -> None:
        await self._fails(store, Permanent("told so"))

    async def test_a_bug_leaves_no_effect_and_the_others_theirs(self, store: Store) -> None:
        await self._fails(store, ZeroDivisionError("told so"))

    async def _fails(self, store: Store, error: Exception) -> None:
        line = await self._line(store)
        line.raises[1] = error
        assert await line.run(0, 1, 2) == [Done(None), Failed(error), Done(None)]
        assert await line.effects() == Counter([0, 2])
        line.raises.clear()
        is_handled = self.after_a_failure == "handled again"
        assert await line.run(0, 1) == [Duplicate(), Done(None) if is_handled else Duplicate()]
        assert await line.effects() == Counter([0, 1, 2] if is_handled else [0, 2])

    async def test_a_write_that_the_store_refuses_costs_one_message(self, store: Store) -> None:
        line = await self._line(store)
        line.breaks_the_write.add(1)
        outcomes = await line.run(0, 1, 2)
        assert (outcomes[0], type(outcomes[1]), outcomes[2]) == (Done(None), Failed, Done(None))
        assert await line.run(0, 2) == [Duplicate(), Duplicate()]
        assert await line.effects() == Counter([0, 2])

    async def test_a_store_that_takes_nothing_now_keeps_nothing(self, store: Store) -> None:
        line = await self._line(store)
        line.is_store_away = True
        try:
            await line.run(0, 1)
        except StoreUnavailable:
            pass
        else:
            raise AssertionError("the batch was taken")
        line.is_store_away = False
        assert await line.run(0, 1) == [Done(None)] * 2
        assert await line.effects() == Counter([0, 1])

    async def test_a_death_around_the_commit_loses_and_doubles_nothing(self, store: Store) -> None:
        line = await self._line(store)
        for number, point, then in (
            (0, failpoints.BATCH_BEFORE_COMMIT, Done(None)),
            (1, failpoints.BATCH_AFTER_COMMIT, Duplicate()),
        ):
            failpoints.arm(f"{point}=raise")
            try:
                await line.run(number)
            except failpoints.FailPoint:
                pass
            else:
                raise AssertionError(f"nothing died at {point}")
            finally:
                failpoints.arm("")
            assert await line.run(number) == [then]
        assert await line.effects() == Counter([0, 1])

    async def test_after_a_passing_failure_the_key_keeps_its_order(self, store: Store) -> None:
        line = await self._line(store)
        line.raises[1] = Transient("told so")
        outcomes = await line.run(0, 1, 2, key=7)
        assert outcomes == [Done(None), Failed(line.raises[1]), Held() if self.keeps_order else Done(None)]
        assert (await line.run(9, key=8)) == [Done(None)], "other keys flow"
        assert await line.effects() == Counter([0, 9] if self.keeps_order else [0, 2, 9])

    async def test_a_large_batch_asks_as_often_as_a_small_one(self, store: Store) -> None:
        line = await self._line(store)
        asked = {}
        for count, start in ((1, 0), (_AT_ONCE, 100)):
            items = [line.given.message(start + number, start + number) for number in range(count)]
            async with store.pool.acquire() as connection, connection.transaction():
                counting = _CountingConnection(connection)
                await line.given.intake.claim(counting, items)
                transaction = _CountingTransaction(connection)
                outcomes: list[Outcome[None]] = [Failed(Permanent("told so")) for _ in items]
                await line.given.intake.settle(transaction, items, outcomes)
                asked[count] = counting.asked, transaction.staged
        assert asked[1] == asked[_AT_ONCE]
