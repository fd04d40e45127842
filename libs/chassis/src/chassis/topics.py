"""Kafka topics: created by a job from the contracts, verified by whoever uses them."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import TopicAlreadyExistsError, for_code

from chassis.settings import KAFKA_REQUEST_TIMEOUT_MS
from contracts.topics import TOPICS

LEAST_COPIES: Final = 2
"""Of a partition, acknowledged before a record counts as sent: one broker may be lost."""


class TopicsError(RuntimeError):
    """A topic is missing or has too few partitions; the text names it and the command that mends it."""


async def ensure(connection: Mapping[str, Any], *, prefix: str = "", replication_factor: int = 1) -> list[str]:
    """Creates the contracts' topics that are missing, and returns their names. ``connection``: aiokafka's keywords."""
    admin = AIOKafkaAdminClient(**connection)
    await admin.start()
    try:
        existing = set(await admin.list_topics())
        missing = [topic for topic in TOPICS.values() if prefix + topic.name not in existing]
        if missing:
            answer = await admin.create_topics(
                [
                    NewTopic(
                        name=prefix + topic.name,
                        num_partitions=topic.partitions,
                        replication_factor=replication_factor,
                        topic_configs={
                            "retention.ms": str(topic.retention_ms),
                            "cleanup.policy": topic.cleanup_policy,
                        },
                    )
                    for topic in missing
                ]
            )
            for name, code, *_ in answer.topic_errors:
                if code and code != TopicAlreadyExistsError.errno:
                    raise TopicsError(f"topic {name} could not be created: {for_code(code).__name__}")
        return [prefix + topic.name for topic in missing]
    finally:
        await admin.close()


async def verify(connection: Mapping[str, Any], names: Iterable[str], *, prefix: str = "") -> None:
    """Raises ``TopicsError`` unless every topic exists with at least the contracts' partitions.

    A topic that some broker made by itself has one partition: order and scale would quietly differ from the contract.
    """
    admin = AIOKafkaAdminClient(**connection, request_timeout_ms=KAFKA_REQUEST_TIMEOUT_MS)
    await admin.start()
    try:
        wanted = {prefix + name: TOPICS[name].partitions for name in names}
        for found in await admin.describe_topics(list(wanted)):
            name, partitions = found["topic"], len(found["partitions"])
            if found["error_code"]:
                raise TopicsError(f"topic {name} is missing: run the service's topics command")
            if partitions < wanted[name]:
                raise TopicsError(
                    f"topic {name} has {partitions} partitions, the contract says {wanted[name]}: add some"
                )
    finally:
        await admin.close()


async def weaknesses(connection: Mapping[str, Any], *, prefix: str = "") -> list[str]:
    """A line for each of the contracts' topics from which the loss of one broker may take acknowledged records."""
    admin = AIOKafkaAdminClient(**connection, request_timeout_ms=KAFKA_REQUEST_TIMEOUT_MS)
    await admin.start()
    try:
        names = [prefix + name for name in TOPICS]
        described = await admin.describe_topics(names)
        answers = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in names])
    finally:
        await admin.close()
    configs = {
        resource[3]: {entry[0]: entry[1] for entry in resource[4]}
        for answer in answers
        for resource in answer.resources
    }
    found = []
    for topic in described:
        name, config = topic["topic"], configs.get(topic["topic"], {})
        copies = min((len(partition["replicas"]) for partition in topic["partitions"]), default=0)
        if copies < LEAST_COPIES:
            found.append(f"topic {name}: {copies} copy of a partition, {LEAST_COPIES} or more are needed")
        if int(config.get("min.insync.replicas") or 1) < LEAST_COPIES:
            found.append(f"topic {name}: min.insync.replicas is below {LEAST_COPIES}")
        if config.get("unclean.leader.election.enable") == "true":
            found.append(f"topic {name}: unclean.leader.election.enable is true")
    return found
