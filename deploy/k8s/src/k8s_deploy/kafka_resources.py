"""Strimzi's KafkaTopics and KafkaUsers, from the contracts and from what each service hears.

``python -m k8s_deploy kafka`` writes ``deploy/k8s/kafka``; ``make k8s-check`` fails when that is not up to date.
A user may write the topics that its service produces and read those that it hears, with its own group; nothing else.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from chassis.settings import SEGMENT_MS
from contracts.topics import TOPICS
from k8s_deploy.rendering import FOLDER
from notifier import events as notifier_events
from notifier import inbound as notifier_inbound

CLUSTER: Final = "suite"
REPLICAS: Final = 3
TARGET: Final = FOLDER / "kafka"
_HEAD: Final = "# Made by `python -m k8s_deploy kafka` from libs/contracts and the services' subscriptions.\n"


@dataclass(frozen=True)
class Hears:
    """What a service consumes: its group's name, and the topics."""

    group: str
    topics: tuple[str, ...]


SERVICES: Final[Mapping[str, Hears | None]] = {
    "scheduler-sync": None,
    "notifier": Hears(notifier_inbound.CONSUMER, notifier_events.TOPICS),
}
"""Every service, and what it hears of the others. A new service is entered here."""


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


def users() -> Iterator[dict[str, Any]]:
    for service, hears in SERVICES.items():
        rules = [
            _allow("topic", topic.name, "Write", "Describe") for topic in TOPICS.values() if topic.producer == service
        ]
        if hears is not None:
            rules += [_allow("topic", name, "Read", "Describe") for name in hears.topics]
            rules.append(_allow("group", hears.group, "Read", "Describe"))
        yield {
            "apiVersion": "kafka.strimzi.io/v1",
            "kind": "KafkaUser",
            "metadata": {"name": service, "labels": {"strimzi.io/cluster": CLUSTER}},
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


def files() -> dict[Path, str]:
    """Each file of the folder, and what belongs into it."""
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": ["topics.yaml", "users.yaml"],
    }
    contents = {"kustomization.yaml": [kustomization], "topics.yaml": list(topics()), "users.yaml": list(users())}
    return {
        TARGET / name: _HEAD + yaml.safe_dump_all(manifests, sort_keys=False, width=120)
        for name, manifests in contents.items()
    }


def write() -> list[Path]:
    """Writes what differs, and says which files those were."""
    changed = drifted()
    TARGET.mkdir(exist_ok=True)
    for path in changed:
        path.write_text(files()[path])
    return changed


def drifted() -> list[Path]:
    """The files that are not what the contracts say."""
    return [path for path, text in files().items() if not path.exists() or path.read_text() != text]
