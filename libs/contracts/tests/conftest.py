"""A message with two versions for tests only, in the release before the second version and the one after."""

from datetime import UTC, date, datetime
from typing import Literal
from uuid import UUID

import pytest
from pydantic import Field

from contracts import Message, Payload, Registry
from contracts.artefacts import Catalogue
from contracts.topics import Topic


class VisitDataV1(Payload):
    """Version 1: one name in one field."""

    visitor: str = Field(description="Given and family name.")


class VisitData(Payload):
    """Version 2."""

    given: str = Field(description="Given name.")
    family: str = Field(description="Family name.")
    born: date | None = Field(default=None, description="Date of birth.")


class VisitMadeV1(Message):
    """Somebody came."""

    type: Literal["visit.made"]
    version: Literal[1]
    data: VisitDataV1 = Field(description="The visit.")


class VisitMade(Message):
    """Somebody came."""

    type: Literal["visit.made"]
    version: Literal[2]
    data: VisitData = Field(description="The visit.")


class VisitEnded(Message):
    """Somebody left."""

    type: Literal["visit.ended"]
    version: Literal[1]
    data: VisitData = Field(description="The visit.")


def to_visit_made_2(old: VisitMadeV1) -> VisitMade:
    given, _, family = old.data.visitor.partition(" ")
    return VisitMade.upcast_from(old, VisitData(given=given, family=family))


def _example(message: type[Message], data: Payload) -> Message:
    return message(
        message_id=UUID("01940d2e-7b00-7000-8000-000000000001"),
        type=message.MESSAGE_TYPE,
        version=message.MESSAGE_VERSION,
        occurred_at=datetime(2026, 11, 25, 14, 30, tzinfo=UTC),
        producer="gatehouse",
        aggregate_id=UUID("01940d2e-7b00-7000-8000-000000000002"),
        revision=1,
        correlation_id=UUID("01940d2e-7b00-7000-8000-000000000003"),
        data=data,
    )


TOPICS = {name: Topic(name, producer="gatehouse") for name in ("visit.made", "visit.ended")}
EXAMPLES = {
    VisitMadeV1: _example(VisitMadeV1, VisitDataV1(visitor="Jane Roe")),
    VisitMade: _example(VisitMade, VisitData(given="Jane", family="Roe")),
    VisitEnded: _example(VisitEnded, VisitData(given="Jane", family="Roe")),
}


@pytest.fixture
def old_release() -> Catalogue:
    return Catalogue(Registry([VisitMadeV1, VisitEnded]), TOPICS, EXAMPLES)


@pytest.fixture
def new_release() -> Catalogue:
    registry = Registry([VisitMadeV1, VisitMade, VisitEnded], {VisitMadeV1: to_visit_made_2})
    return Catalogue(registry, TOPICS, EXAMPLES)
