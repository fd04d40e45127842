"""Kafka topics: created by a job from the contracts, checked by their users, and told from deleted topics by id."""

import asyncio
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Protocol
from uuid import UUID

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaConnectionError, KafkaError, TopicAlreadyExistsError, for_code

from chassis.messaging.topic_ids import UNKNOWN_TOPIC, TopicIdsRequest
from chassis.settings import KAFKA_REQUEST_TIMEOUT_MS, SEGMENT_MS
from contracts.topics import TOPICS

METADATA_MAX_AGE_MS: Final = 5_000
"""How long a client keeps its metadata of topics. A topic that was made anew is found within this time."""
LOOK_SECONDS: Final = 2.0
KNOWN_SECONDS: Final = 60.0
"""How long ``ensure`` waits until every broker knows the topics that it made."""
READINESS_SECONDS: Final = 1.5
_KNOWN_PAUSE_SECONDS: Final = 0.05
LEAST_COPIES: Final = 2
"""Copies that acknowledge a record before it counts as sent: one broker may be lost."""


class TopicsError(RuntimeError):
    """A topic is missing, has too few partitions or may not be read. The text names the topic and the remedy."""


class KafkaConnection(Protocol):
    """How to reach Kafka: aiokafka's connection keywords, and the installation's topic prefix."""

    @property
    def topic_prefix(self) -> str: ...

    def client_keywords(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Found:
    """A topic as the brokers know it. ``topic_id`` changes when the topic is deleted and made anew."""

    topic_id: UUID
    partitions: int


def produced_by(service: str) -> tuple[str, ...]:
    """The names of the topics that ``service`` publishes to, without the installation's prefix."""
    return tuple(topic.name for topic in TOPICS.values() if topic.producer == service)


async def ensure(connection: Mapping[str, Any], *, prefix: str = "", replication_factor: int = 1) -> list[str]:
    """Creates the contracts' topics that are missing, and returns their names. ``connection``: aiokafka's keywords.

    Returns once every broker knows these topics: Kafka answers a creation before the brokers have heard of it, and a
    broker that has not would tell the service that its topic is missing. Raises ``TopicsError``, ``KafkaError``.
    """
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
                            "segment.ms": str(SEGMENT_MS),
                        },
                    )
                    for topic in missing
                ]
            )
            for name, code, *_ in answer.topic_errors:
                if code and code != TopicAlreadyExistsError.errno:
                    raise TopicsError(f"topic {name} could not be created: {for_code(code).__name__}")
    finally:
        await admin.close()
    made = [prefix + topic.name for topic in missing]
    if made:
        await _wait_until_known(connection, made)
    return made


async def _wait_until_known(connection: Mapping[str, Any], names: list[str]) -> None:
    """Returns once each broker that can be reached knows each topic and a leader for each of its partitions."""
    client = AIOKafkaClient(**connection, request_timeout_ms=KAFKA_REQUEST_TIMEOUT_MS)
    unknown = set(names)
    try:
        await client.bootstrap()
        async with asyncio.timeout(KNOWN_SECONDS):
            for broker in client.cluster.brokers():
                with suppress(KafkaError, OSError):  # a broker that is away hears of the topics when it comes back
                    while unknown := await _unknown_to(client, broker.nodeId, names):
                        await asyncio.sleep(_KNOWN_PAUSE_SECONDS)
    except TimeoutError as error:
        listed = ", ".join(sorted(unknown))
        raise TopicsError(f"made, but not known to every broker after {KNOWN_SECONDS:g} s: {listed}") from error
    finally:
        await client.close()


async def _unknown_to(client: AIOKafkaClient, node: int, names: list[str]) -> set[str]:
    answer = await client.send(node, TopicIdsRequest(names))
    known = {
        name
        for code, name, _id, _internal, partitions, *_ in answer.topics
        if not code and partitions and not any(partition_code for partition_code, *_ in partitions)
    }
    return set(names) - known


async def verify(connection: Mapping[str, Any], names: Iterable[str], *, prefix: str = "") -> Mapping[str, Found]:
    """Returns the brokers' metadata of the topics, by their names with the prefix.

    Raises ``TopicsError`` unless every topic exists with at least the contracts' partitions: a topic that a broker made
    by itself has one partition, and order and scale would silently differ from the contract. ``KafkaError``.
    """
    client = AIOKafkaClient(
        **connection, request_timeout_ms=KAFKA_REQUEST_TIMEOUT_MS, metadata_max_age_ms=METADATA_MAX_AGE_MS
    )
    try:
        await client.bootstrap()
        return await _asked(client, names, prefix)
    finally:
        await client.close()


async def _asked(client: AIOKafkaClient, names: Iterable[str], prefix: str) -> Mapping[str, Found]:
    wanted = {prefix + name: TOPICS[name].partitions for name in names}
    node = client.get_random_node()
    if node is None:
        raise KafkaConnectionError("no Kafka broker is known")
    answer = await client.send(node, TopicIdsRequest(list(wanted)))
    found: dict[str, Found] = {}
    for code, name, topic_id, _internal, partitions, *_ in answer.topics:
        if code == UNKNOWN_TOPIC:
            raise TopicsError(f"topic {name} is missing: run the service's topics command")
        if code:
            raise TopicsError(f"topic {name}: the brokers answer {for_code(code).__name__}")
        if len(partitions) < wanted[name]:
            raise TopicsError(
                f"topic {name} has {len(partitions)} partitions, the contract says {wanted[name]}: add some"
            )
        found[name] = Found(topic_id, len(partitions))
    return found


def _heard(asking: "asyncio.Task[Any]") -> None:
    """Marks the failure as seen, so that asyncio does not report it when no caller has waited long enough."""
    if not asking.cancelled():
        asking.exception()


class TopicsWatch:
    """Reads the metadata of some topics again and again, over one connection."""

    def __init__(self, kafka: KafkaConnection, names: Iterable[str], *, look_seconds: float = LOOK_SECONDS) -> None:
        self._kafka = kafka
        self._names = tuple(names)
        self._look_seconds = look_seconds
        self._client: AIOKafkaClient | None = None
        self._asking: asyncio.Task[Mapping[str, Found]] | None = None
        self._answered_at = float("-inf")
        self._found: Mapping[str, Found] = {}

    async def look(self, *, afresh: bool = False) -> Mapping[str, Found]:
        """As ``verify``. An answer is reused for ``look_seconds``, unless ``afresh`` is set."""
        if not afresh and time.monotonic() - self._answered_at <= self._look_seconds:
            return self._found
        if afresh and self._asking is not None:
            await asyncio.wait({self._asking})  # an earlier request may hold an older answer
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask())
            self._asking.add_done_callback(_heard)
        # A caller may give up; a connection that is cancelled while it is made would be left open.
        return await asyncio.shield(self._asking)

    async def _ask(self) -> Mapping[str, Found]:
        try:
            if self._client is None:
                self._client = AIOKafkaClient(
                    **self._kafka.client_keywords(),
                    request_timeout_ms=KAFKA_REQUEST_TIMEOUT_MS,
                    metadata_max_age_ms=METADATA_MAX_AGE_MS,
                )
                await self._client.bootstrap()
            self._found = await _asked(self._client, self._names, self._kafka.topic_prefix)
            self._answered_at = time.monotonic()
        except TopicsError:
            raise
        except BaseException:
            await self._disconnect()  # the next request begins with a connection of its own
            raise
        finally:
            self._asking = None
        return self._found

    async def check(self) -> None:
        """For readiness. Raises when no broker answers, or the topics differ from the contracts."""
        try:
            async with asyncio.timeout(READINESS_SECONDS):
                await self.look()
        except (KafkaError, OSError, TimeoutError) as error:
            raise ConnectionError("no Kafka broker answers; committed events wait in the outbox") from error

    async def close(self) -> None:
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait({self._asking})
        await self._disconnect()

    async def _disconnect(self) -> None:
        client, self._client = self._client, None
        self._answered_at = float("-inf")
        if client is not None:
            with suppress(KafkaError, OSError):
                await client.close()


async def weaknesses(connection: Mapping[str, Any], *, prefix: str = "") -> list[str]:
    """A line for each of the contracts' topics that may lose acknowledged records with one broker."""
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
