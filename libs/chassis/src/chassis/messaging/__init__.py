"""Kafka: the outbox and its relay, the inbox and its batches, parking, dead letters, topics and positions."""

from chassis.messaging.batch import BatchExecutor, Done, Duplicate, Failed, Held, Intake, Outcome
from chassis.messaging.consumer import Consumer, InboxIntake, Subscription
from chassis.messaging.evidence import Revisions, Unknown
from chassis.messaging.outbox import Relay
from chassis.messaging.published import Published, TopicReader
from chassis.messaging.records import Item, Record
from chassis.messaging.replayed import PROCESSED, Replayed, ReplayOutcome
from chassis.messaging.revisions import RevisionGaps
from chassis.messaging.topics import TopicsWatch, produced_by

__all__ = [
    "PROCESSED",
    "BatchExecutor",
    "Consumer",
    "Done",
    "Duplicate",
    "Failed",
    "Held",
    "InboxIntake",
    "Intake",
    "Item",
    "Outcome",
    "Published",
    "Record",
    "Relay",
    "ReplayOutcome",
    "Replayed",
    "RevisionGaps",
    "Revisions",
    "Subscription",
    "TopicReader",
    "TopicsWatch",
    "Unknown",
    "produced_by",
]
