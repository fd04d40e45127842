"""What comes is held against what is due: in order, from the topic that was placed, and nothing passed over."""

from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import pytest
from aiokafka import TopicPartition

from chassis.messaging.assignment import Assignment, Due
from chassis.messaging.consumer import _record
from chassis.messaging.positions import Partition, Placement, Positions, fingerprint
from chassis.messaging.topics import Found
from chassis.observe import Metrics

ONE, OTHER = UUID(int=1), UUID(int=2)
PARTITION = Partition("t", 0)


class FakeConsumer:
    """Says where partitions begin; remembers which are paused."""

    def __init__(self, start: int) -> None:
        self.paused: set[TopicPartition] = set()
        self._start = start

    def pause(self, *partitions: TopicPartition) -> None:
        self.paused.update(partitions)

    async def beginning_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, self._start)


def assignment(placement: Placement, *, start: int = 0) -> Assignment:
    one = Assignment(cast("Any", None), Positions("test", Metrics()), cast("Any", None))
    one.reading = SimpleNamespace(consumer=FakeConsumer(start))
    one._due[PARTITION] = Due(placement)
    one._positions.topic_ids["t"] = ONE
    return one


def records(*offsets: int) -> list[Any]:
    return [
        SimpleNamespace(topic="t", partition=0, offset=one, key=None, value=b"v%d" % one, headers=[], timestamp=one)
        for one in offsets
    ]


async def taken(one: Assignment, *offsets: int) -> list[int]:
    return [record.offset for record in await one.take(records(*offsets))]


def is_placed_again(one: Assignment) -> bool:
    return PARTITION in one._unplaced and one.consumer.paused == {TopicPartition("t", 0)} and one.wake.is_set()


async def test_what_follows_is_taken_and_the_record_before_it_is_not_handled_again() -> None:
    one = assignment(Placement(4, fingerprint(4, b"v4")))
    assert await taken(one, 4, 5, 6) == [5, 6]
    assert await taken(one, 7) == [7]
    assert not one._unplaced


@pytest.mark.parametrize(
    "offsets",
    [
        pytest.param((2, 3), id="back: the client has begun again"),
        pytest.param((9, 10), id="ahead: records have expired"),
    ],
)
async def test_what_does_not_follow_is_thrown_away_and_the_partition_placed_again(offsets) -> None:
    one = assignment(Placement(5), start=9)
    assert await taken(one, *offsets) == []
    assert is_placed_again(one)
    assert await taken(one, 5) == [], "not before it is placed"


async def test_another_record_before_the_first_that_is_due_places_the_partition_again() -> None:
    one = assignment(Placement(4, fingerprint(4, b"other")))
    assert await taken(one, 4, 5) == []
    assert is_placed_again(one)


async def test_offsets_that_hold_no_record_are_passed() -> None:
    one = assignment(Placement(5), start=2)
    assert await taken(one, 7, 8) == [7, 8]
    assert not one._unplaced


async def test_what_was_taken_and_not_handled_is_placed_again() -> None:
    one = assignment(Placement(5))
    batch = await one.take(records(5, 6))
    one.not_handled([_record(record, ONE) for record in batch])
    assert is_placed_again(one)


@pytest.mark.parametrize(("topic_id", "again"), [(ONE, False), (OTHER, True)])
async def test_a_topic_that_was_made_anew_is_placed_again_whatever_its_offsets(topic_id, again) -> None:
    one = assignment(Placement(5))
    one.forget_topics({"t": Found(topic_id, 6)})
    assert is_placed_again(one) == again


async def test_a_partition_that_was_just_assigned_is_not_read_before_it_is_placed() -> None:
    one = assignment(Placement(5))
    await one.on_partitions_revoked([TopicPartition("t", 0)])
    await one.on_partitions_assigned([TopicPartition("t", 0)])
    assert is_placed_again(one)
    assert await taken(one, 5) == []
