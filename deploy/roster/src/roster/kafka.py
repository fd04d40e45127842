"""Strimzi's KafkaTopics and KafkaUsers: ``deploy/k8s/kafka``, from the contracts and the services' ``hears``.

A user may only write the topics that its service produces and read the topics that it hears, with its own group.
"""

from collections.abc import Iterator
from typing import Any, Final

import yaml

from chassis.settings import SEGMENT_MS
from contracts.topics import TOPICS
from roster.members import Roster

CLUSTER: Final = "suite"
REPLICAS: Final = 3


def topics() -> Iterator[dict[str, Any]]:
    for topic in TOPICS.values():
        yield {
            "apiVersion": "kafka.strimzi.io/v1",
            "kind": "KafkaTopic",
            "metadata": {"name": topic.name, "labels": {"strimzi.io/cluster": CLUSTER}},
            "spec": {
                "partitions": topic.partitions,
                "replicas": REPLICAS,
                "config": {
                    "retention.ms": topic.retention_ms,
                    "cleanup.policy": topic.cleanup_policy,
                    "segment.ms": SEGMENT_MS,
                    "min.insync.replicas": REPLICAS - 1,
                },
            },
        }


def users(roster: Roster) -> Iterator[dict[str, Any]]:
    for service in roster.services:
        rules = [_allow("topic", topic.name, "Write", "Describe") for topic in service.produces]
        if service.hears:
            rules += [_allow("topic", name, "Read", "Describe") for name in service.hears]
            rules.append(_allow("group", service.name, "Read", "Describe"))
        yield {
            "apiVersion": "kafka.strimzi.io/v1",
            "kind": "KafkaUser",
            "metadata": {"name": service.name, "labels": {"strimzi.io/cluster": CLUSTER}},
            "spec": {
                "authentication": {"type": "scram-sha-512"},
                "authorization": {"type": "simple", "acls": rules},
            },
        }


def _allow(kind: str, name: str, *operations: str) -> dict[str, Any]:
    return {
        "resource": {"type": kind, "name": name, "patternType": "literal"},
        "operations": list(operations),
        "host": "*",
    }


def files(roster: Roster) -> dict[str, str]:
    """Each file below the folder, and its text."""
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": ["topics.yaml", "users.yaml"],
    }
    contents = {"kustomization.yaml": [kustomization], "topics.yaml": list(topics()), "users.yaml": list(users(roster))}
    return {name: yaml.safe_dump_all(manifests, sort_keys=False, width=120) for name, manifests in contents.items()}
