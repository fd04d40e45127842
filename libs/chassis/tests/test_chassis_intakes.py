"""The contract of intakes over the chassis' own: Kafka's inbox, the line of parked keys, the HL7 journal."""

from datetime import UTC, datetime
from functools import cache
from uuid import UUID, uuid5

import pytest
from chassis_bench_domain import SPACE, event, siu

import contracts
from chassis.hl7 import InboundHl7
from chassis.hl7.journal import JournalIntake
from chassis.messaging import InboxIntake, Item, Record
from chassis.observe import Metrics
from chassis.testing.intakes import IntakeContract

pytestmark = pytest.mark.stack


class Kafka:
    """Records of Kafka, each with its message."""

    def __init__(self, *, parks: bool) -> None:
        self.intake = InboxIntake("test", dead_letter_limit=1000, parks=parks)
        self._messages: dict[int, contracts.Message] = {}

    @staticmethod
    @cache
    def _message(number: int, key: UUID) -> contracts.Message:
        return event(key, number + 1)

    def message(self, number: int, key: int) -> Item:
        message = self._message(number, uuid5(SPACE, str(key)))
        return Item(Record("t", 0, number, message.key(), message.to_bytes(), []), message)

    def number(self, message: Item) -> int:
        return message.record.offset


class Hl7:
    """HL7 messages; their senders know no keys."""

    def __init__(self) -> None:
        self.intake = JournalIntake(Metrics())

    def message(self, number: int, key: int) -> InboundHl7:
        return InboundHl7.of(siu(f"C{number}", f"P{key}"), datetime.now(UTC))

    def number(self, message: InboundHl7) -> int:
        return int(message.control_id.removeprefix("C"))


class TestInbox(IntakeContract):
    after_a_failure = "kept"
    after_a_passing_failure = "held"
    keeps_order = True

    def given(self) -> Kafka:
        return Kafka(parks=True)


class TestInboxWithoutParking(IntakeContract):
    """As a recovery and the worker on parked keys use it."""

    after_a_failure = "kept"
    keeps_order = True

    def given(self) -> Kafka:
        return Kafka(parks=False)


class TestJournal(IntakeContract):
    after_a_failure = "handled again"
    keeps_order = False
    may_repeat_in_a_batch = False

    def given(self) -> Hl7:
        return Hl7()
