"""Topics that one lost broker takes acknowledged records from are named; production makes none."""

from argparse import Namespace
from typing import Any

import pytest

from chassis.messaging import topics
from chassis.operate import cli
from chassis.settings import KafkaSettings, ServiceSettings, SettingsError
from contracts.topics import TOPICS


class Pretended(ServiceSettings):
    """Production's word with development's Kafka: what the command does is looked at, not what settings demand."""

    def production_problems(self) -> list[str]:
        return []


class Definition:
    name = "demo"


async def make_topics(settings: ServiceSettings) -> int:
    definition: Any = Definition()
    return await cli._topics(definition, settings, Namespace())


async def test_production_makes_no_topic_of_one_copy() -> None:
    with pytest.raises(SettingsError, match=r"kafka\.replication_factor: production needs 2 or more"):
        await make_topics(Pretended(environment="production"))


@pytest.mark.stack
async def test_topics_of_one_copy_are_named(kafka_bootstrap, topic_prefix, capsys) -> None:
    kafka = KafkaSettings(bootstrap_servers=kafka_bootstrap, topic_prefix=topic_prefix)
    assert await make_topics(Pretended(kafka=kafka)) == 0
    assert "warning" not in capsys.readouterr().err
    found = await topics.weaknesses(kafka.client_keywords(), prefix=topic_prefix)
    assert {line.split(":")[0].removeprefix(f"topic {topic_prefix}") for line in found} == set(TOPICS)
    assert sum("min.insync.replicas" in line for line in found) == len(TOPICS)
    assert sum("1 copy of a partition" in line for line in found) == len(TOPICS)
    strict = kafka.model_copy(update={"replication_factor": 2})
    assert await make_topics(Pretended(environment="production", kafka=strict)) == 0  # all are there already
    assert capsys.readouterr().err.count("warning: topic") == len(found)
