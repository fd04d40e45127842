"""The files made from the models, and the frozen files that they are compared with.

``schemas/``, ``examples/`` and ``asyncapi/`` may be made again at any time. ``released/`` only grows: it holds the
schemas that deployed programs were built with and that topics still hold.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contracts import asyncapi
from contracts.compatibility import breaking_changes
from contracts.envelope import Message
from contracts.registry import Registry
from contracts.schemas import JsonObject, json_schema
from contracts.topics import Topic

_MADE = ("schemas", "examples", "asyncapi")
_RELEASED = "released"
_TOPICS_FILE = "topics.json"


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Everything that the files are made from. Raises ValueError when the parts do not match."""

    registry: Registry
    topics: Mapping[str, Topic]
    examples: Mapping[type[Message], Message]

    def __post_init__(self) -> None:
        for message in self.registry.messages():
            if message not in self.examples:
                raise ValueError(f"{message.__name__} has no example")
        if self.registry.versions.keys() != self.topics.keys():
            odd = ", ".join(sorted(self.registry.versions.keys() ^ self.topics.keys()))
            raise ValueError(f"messages and topics must have the same names; odd ones: {odd}")


@dataclass(frozen=True, slots=True)
class Breach:
    """One line of the check's result: the contract, the place in it, the change, and the alternative."""

    contract: str
    path: str
    what: str
    advice: str

    def __str__(self) -> str:
        return f"{self.contract}  {self.path or '(whole)'}: {self.what}. Instead: {self.advice}."


def made_files(catalogue: Catalogue) -> dict[str, str]:
    """Path below the contracts' folder → text, of every file that is made from the models."""
    files: dict[str, str] = {}
    for message in catalogue.registry.messages():
        place = f"{message.MESSAGE_TYPE}/v{message.MESSAGE_VERSION}.json"
        files[f"schemas/{place}"] = _text(json_schema(message))
        files[f"examples/{place}"] = _text(catalogue.examples[message].model_dump(mode="json"))
    parts = (catalogue.registry, catalogue.topics, catalogue.examples)
    files["asyncapi/suite.json"] = _text(asyncapi.document(*parts, title="Events of the suite"))
    for producer in sorted({topic.producer for topic in catalogue.topics.values()}):
        files[f"asyncapi/{producer}.json"] = _text(
            asyncapi.document(*parts, title=f"Events of {producer}", producer=producer)
        )
    return files


def stale_files(catalogue: Catalogue, root: Path) -> list[str]:
    """Paths below ``root`` whose content differs from the models, or that should not exist."""
    made = made_files(catalogue)
    there = {path.relative_to(root).as_posix() for folder in _MADE for path in (root / folder).rglob("*.json")}
    return sorted(
        path
        for path in made.keys() | there
        if path not in made or path not in there or _read(root / path) != made[path]
    )


def write_files(catalogue: Catalogue, root: Path) -> list[str]:
    """Writes the files below ``root`` from the models; returns the paths that changed."""
    made = made_files(catalogue)
    touched = stale_files(catalogue, root)
    for path in touched:
        if path in made:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(made[path], encoding="utf-8")
        else:
            (root / path).unlink()
    return touched


def breaches(catalogue: Catalogue, root: Path) -> list[Breach]:
    """Every difference from ``released`` that breaks an older reader or writer."""
    return [*_message_breaches(catalogue, root), *_topic_breaches(catalogue, root)]


def unreleased(catalogue: Catalogue, root: Path) -> list[str]:
    """``type vN`` of each version that is not frozen yet."""
    return [
        f"{message.MESSAGE_TYPE} v{message.MESSAGE_VERSION}"
        for message in catalogue.registry.messages()
        if not _released_schema(root, message.MESSAGE_TYPE, message.MESSAGE_VERSION).exists()
    ]


def release(catalogue: Catalogue, root: Path) -> list[str]:
    """Freezes the present versions and returns the paths written. The caller has checked that there is no breach.

    A frozen schema takes compatible changes in. A frozen example stays as it was sent, so that later readers can prove
    that they read it.
    """
    files: dict[str, str] = {_TOPICS_FILE: _text({name: _fixed(topic) for name, topic in catalogue.topics.items()})}
    for message in catalogue.registry.messages():
        place = f"{message.MESSAGE_TYPE}/v{message.MESSAGE_VERSION}"
        files[f"{place}.json"] = _text(json_schema(message))
        if not (root / _RELEASED / f"{place}.example.json").exists():
            files[f"{place}.example.json"] = _text(catalogue.examples[message].model_dump(mode="json"))
    written: list[str] = []
    for path, text in sorted(files.items()):
        target = root / _RELEASED / path
        if not target.exists() or _read(target) != text:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
            written.append(f"{_RELEASED}/{path}")
    return written


def _message_breaches(catalogue: Catalogue, root: Path) -> Iterator[Breach]:
    for path in sorted((root / _RELEASED).glob("*/v*.json")):
        if path.name.endswith(".example.json"):
            continue
        name, version = path.parent.name, int(path.stem.removeprefix("v"))
        kept = catalogue.registry.versions.get(name, {})
        if not kept:
            yield Breach(f"{name} v{version}", "", "message removed", "keep the model; topics still hold it")
        elif version not in kept:
            advice = "keep the model and its upcaster; topics still hold it"
            yield Breach(f"{name} v{version}", "", "version removed", advice)
        else:
            advice = f"leave version {version} as it was and make version {max(kept) + 1} of {name}"
            for change in breaking_changes(json.loads(_read(path)), json_schema(kept[version])):
                yield Breach(f"{name} v{version}", change.path, change.what, advice)


def _topic_breaches(catalogue: Catalogue, root: Path) -> Iterator[Breach]:
    path = root / _RELEASED / _TOPICS_FILE
    frozen: Mapping[str, Mapping[str, Any]] = json.loads(_read(path)) if path.exists() else {}
    for name, old in frozen.items():
        topic = catalogue.topics.get(name)
        if topic is None:
            yield Breach(f"topic {name}", "", "topic removed", "keep it as long as anything reads it")
            continue
        new = _fixed(topic)
        for field in ("partitions", "key", "cleanup_policy"):
            if new[field] != old[field]:
                what = f"{field} changed: {old[field]} to {new[field]}"
                yield Breach(f"topic {name}", field, what, "make a new event with a topic of its own")
        if new["retention_ms"] < old["retention_ms"]:
            what = f"retention shortened: {old['retention_ms']} to {new['retention_ms']} ms"
            yield Breach(f"topic {name}", "retention_ms", what, "keep it: a reader that is away counts on it")


def _fixed(topic: Topic) -> JsonObject:
    return {
        "partitions": topic.partitions,
        "key": topic.key,
        "cleanup_policy": topic.cleanup_policy,
        "retention_ms": topic.retention_ms,
    }


def _released_schema(root: Path, name: str, version: int) -> Path:
    return root / _RELEASED / name / f"v{version}.json"


def _text(body: JsonObject) -> str:
    return json.dumps(body, indent=2, ensure_ascii=False) + "\n"


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")
