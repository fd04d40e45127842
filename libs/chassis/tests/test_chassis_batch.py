"""The batch executor: one transaction, many messages, and nobody's failure costs the others anything."""

from uuid import UUID, uuid4

import pytest
from chassis_bench_domain import Behaviour, Things, applied, event

import contracts
from chassis import failpoints
from chassis.errors import Permanent, StoreUnavailable, Transient
from chassis.messaging import BatchExecutor, Done, Duplicate, Failed, Held, InboxIntake, Item, Record, parking
from chassis.messaging.dead_letters import DeadLetterLimitError
from chassis.testing import DEATHS_AT_EACH_POINT

pytestmark = pytest.mark.stack


def item(message: contracts.Message, offset: int = 0) -> Item:
    return Item(Record("t", 0, offset, message.key(), message.to_bytes(), []), message)


def executor(store, behaviour: Behaviour, *, limit: int = 100, intake: InboxIntake | None = None) -> BatchExecutor:
    async def prefetch(work, items):
        await behaviour.prefetch(work, [one.message for one in items])

    async def handle(work, one):
        await behaviour.handle(work, one.message)

    return BatchExecutor(
        store,
        intake=intake or InboxIntake("test", dead_letter_limit=limit),
        open_work=behaviour.open_work,
        prefetch=prefetch,
        handle=handle,
    )


def messages(number: int) -> list[contracts.Message]:
    return [event(uuid4(), 1) for _ in range(number)]


async def counts(store) -> dict[str, int]:
    tables = ("inbox", "outbox", "deliveries", "dead_letters", "things")
    count = "SELECT count(*) FROM "
    return {table: await store.pool.fetchval(count + table) for table in tables}


async def test_a_batch_has_every_effect_once_and_a_repeat_none(store) -> None:
    run, batch = executor(store, Behaviour()), [item(message) for message in messages(50)]
    assert await run.run(batch) == [Done(None)] * 50
    assert await run.run(batch) == [Duplicate()] * 50
    assert await counts(store) == {"inbox": 50, "outbox": 50, "deliveries": 50, "dead_letters": 0, "things": 50}


async def test_what_a_batch_has_loaded_is_in_no_cycle(store, left_in_cycles) -> None:
    run, batch = executor(store, Behaviour()), [item(message) for message in messages(3)]
    assert await run.run(batch) == [Done(None)] * 3
    assert await run.run(batch) == [Duplicate()] * 3
    assert left_in_cycles(Things) == []


async def test_two_copies_in_one_batch_have_one_effect(store) -> None:
    (message,) = messages(1)
    assert await executor(store, Behaviour()).run([item(message), item(message)]) == [Done(None), Duplicate()]
    assert await applied(store) == {message.aggregate_id: [1]}


async def test_one_bad_message_among_fifty_costs_the_others_nothing(store) -> None:
    batch = messages(50)
    behaviour = Behaviour(permanent={batch[10].aggregate_id}, bug={batch[20].aggregate_id})
    outcomes = await executor(store, behaviour).run([item(message, n) for n, message in enumerate(batch)])
    assert [n for n, outcome in enumerate(outcomes) if isinstance(outcome, Failed)] == [10, 20]
    assert isinstance(outcomes[10].error, Permanent)
    assert isinstance(outcomes[20].error, ZeroDivisionError)
    assert await counts(store) == {"inbox": 48, "outbox": 48, "deliveries": 48, "dead_letters": 2, "things": 48}
    assert len(behaviour.seen) == 50, "the batch was not run again"


async def test_a_write_that_the_store_refuses_is_found_out_and_the_others_commit(store) -> None:
    batch = messages(20)
    behaviour = Behaviour(breaks_the_write={batch[7].aggregate_id})
    outcomes = await executor(store, behaviour).run([item(message, n) for n, message in enumerate(batch)])
    assert [n for n, outcome in enumerate(outcomes) if not isinstance(outcome, Done)] == [7]
    assert await counts(store) == {"inbox": 19, "outbox": 19, "deliveries": 19, "dead_letters": 1, "things": 19}
    kept = await store.pool.fetchrow("SELECT kind, reason, value FROM dead_letters")
    assert (kept["kind"], bytes(kept["value"])) == ("bug", batch[7].to_bytes())


@pytest.mark.parametrize("one_by_one", [False, True])
async def test_after_a_passing_failure_the_rest_of_the_key_is_held_and_nothing_of_it_claimed(
    store, *, one_by_one: bool
) -> None:
    key, other, breaks = uuid4(), uuid4(), uuid4()
    batch = [event(key, 1), event(other, 1), event(key, 2), event(other, 2), *([event(breaks, 1)] * one_by_one)]
    behaviour = Behaviour(transient={key: 1 + one_by_one}, breaks_the_write={breaks})
    run = executor(store, behaviour, intake=InboxIntake("test", dead_letter_limit=1, parks=False))
    outcomes = (await run.run([item(message) for message in batch]))[:4]
    assert isinstance(outcomes[0], Failed)
    assert isinstance(outcomes[0].error, Transient)
    assert outcomes[1:] == [Done(None), Held(), Done(None)]
    assert await applied(store) == {other: [1, 2]}
    assert await run.run([item(batch[0]), item(batch[2])]) == [Done(None), Done(None)]
    assert await applied(store) == {other: [1, 2], key: [1, 2]}


@pytest.mark.parametrize("one_by_one", [False, True])
async def test_a_key_parks_in_the_batchs_own_transaction(store, *, one_by_one: bool) -> None:
    key, other, breaks = uuid4(), uuid4(), uuid4()
    batch = [event(key, 1), event(other, 1), event(key, 2), event(breaks, 1), event(other, 2)]
    behaviour = Behaviour(transient={key: 2}, breaks_the_write={breaks} if one_by_one else set())
    items = [item(message, n) for n, message in enumerate(batch)]
    failpoints.arm("batch.before-commit=raise")
    with pytest.raises(failpoints.FailPoint):
        await executor(store, behaviour).run(items)
    failpoints.arm("")
    assert await store.pool.fetchval("SELECT count(*) FROM parked_keys") == 0
    behaviour.transient[key] = 2 if one_by_one else 1  # message by message is a second try
    outcomes = await executor(store, behaviour).run(items)
    words = ["parked", "done", "parked", "dead" if one_by_one else "done", "done"]
    assert [parking.word_of(outcome) for outcome in outcomes] == words
    (row,) = await store.pool.fetch("SELECT key, reason, attempts FROM parked_keys")
    assert (row["key"], row["reason"], row["attempts"]) == (key, "told so", 1)
    line = await store.pool.fetch("SELECT message_id, value FROM parked_messages ORDER BY sequence")
    assert [row["message_id"] for row in line] == [batch[0].message_id, batch[2].message_id]
    assert bytes(line[1]["value"]) == batch[2].to_bytes()


async def test_who_is_overtaken_while_it_keeps_a_failure_takes_nothing_back(store) -> None:
    """Between its rollback and its second claim another process, which had waited for the first, does the message."""
    (message,) = messages(1)

    class Overtaken(InboxIntake):
        claims = 0

        async def claim(self, connection, items):
            self.claims += 1
            if self.claims == 3:
                assert await executor(store, Behaviour()).run(items) == [Done(None)]
            return await super().claim(connection, items)

    run = executor(
        store,
        Behaviour(breaks_the_write={message.aggregate_id}),
        intake=Overtaken("test", dead_letter_limit=10),
    )
    assert await run.run([item(message)]) == [Duplicate()]
    assert await counts(store) == {"inbox": 1, "outbox": 1, "deliveries": 1, "dead_letters": 0, "things": 1}


async def test_a_revision_published_twice_is_an_error_and_not_a_second_event(store) -> None:
    first = event(uuid4(), 1)
    again = first.model_copy(update={"message_id": contracts.uuid7()})
    run = executor(store, Behaviour())
    assert await run.run([item(first)]) == [Done(None)]
    (outcome,) = await run.run([item(again)])
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, Transient), "two transactions met on it: the loser may look again"
    assert (await counts(store))["outbox"] == 1
    assert await store.pool.fetchval("SELECT key FROM parked_keys") == first.aggregate_id


async def test_at_the_limit_of_dead_letters_nothing_of_the_batch_is_kept(store) -> None:
    batch = messages(3)
    run = executor(store, Behaviour(permanent={message.aggregate_id for message in batch}), limit=2)
    await run.run([item(batch[0], 0)])
    await run.run([item(batch[1], 1)])
    with pytest.raises(DeadLetterLimitError):
        await run.run([item(batch[2], 2), item(messages(1)[0], 3)])
    assert (await counts(store))["dead_letters"] == 2
    assert (await counts(store))["inbox"] == 0


async def test_a_store_that_is_away_is_nobodys_fault(store) -> None:
    with pytest.raises(StoreUnavailable):
        await executor(store, Behaviour(store_away=True)).run([item(messages(1)[0])])
    terminate = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE pid <> pg_backend_pid() AND datname = current_database()
    """

    class Dies(Behaviour):
        async def handle(self, work, message):
            await super().handle(work, message)
            async with store.pool.acquire() as other:
                await other.execute(terminate)

    with pytest.raises(StoreUnavailable):
        await executor(store, Dies()).run([item(messages(1)[0])])
    assert await counts(store) == {"inbox": 0, "outbox": 0, "deliveries": 0, "dead_letters": 0, "things": 0}


@pytest.mark.parametrize("point", ["batch.before-commit", "batch.after-commit"])
async def test_a_death_around_the_commit_loses_and_doubles_nothing(store, point) -> None:
    """R3: a hundred deaths at each point; who comes again finds either nothing or all of it."""
    run = executor(store, Behaviour())
    ids: list[UUID] = []
    for _ in range(DEATHS_AT_EACH_POINT):
        message = event(uuid4(), 1)
        ids.append(message.aggregate_id)
        failpoints.arm(f"{point}=raise")
        with pytest.raises(failpoints.FailPoint):
            await run.run([item(message)])
        failpoints.arm("")
        (outcome,) = await run.run([item(message)])
        assert outcome == (Done(None) if point == "batch.before-commit" else Duplicate())
    assert await applied(store) == {identifier: [1] for identifier in ids}
    assert (await counts(store))["outbox"] == (await counts(store))["deliveries"] == DEATHS_AT_EACH_POINT
