"""AsyncAPI 3.0 documents, made from the models and the table of topics without a broker.

A payload stands in ``components/schemas``, because references in an AsyncAPI document are relative to the document's
root.
"""

from collections.abc import Mapping

from contracts.envelope import Message, headers
from contracts.registry import Registry
from contracts.schemas import JsonObject, shared_schemas
from contracts.topics import Topic

_KAFKA_BINDING = "0.5.0"
_HEADER_MEANINGS = {
    "ce_id": "message_id of the body.",
    "ce_type": "type of the body.",
    "ce_source": "producer of the body.",
    "ce_specversion": "Version of CloudEvents.",
    "ce_time": "occurred_at of the body.",
    "ce_subject": "aggregate_id of the body.",
    "ce_dataschema": "Name of the JSON Schema of the body.",
    "content-type": "Media type of the body.",
}


def document(
    registry: Registry,
    topics: Mapping[str, Topic],
    examples: Mapping[type[Message], Message],
    *,
    title: str,
    producer: str | None = None,
) -> JsonObject:
    """The messages that ``producer`` sends; without a producer, those of all services."""
    chosen = {name: topic for name, topic in topics.items() if producer in {None, topic.producer}}
    messages = [message for message in registry.messages() if message.MESSAGE_TYPE in chosen]
    bodies, shared = shared_schemas(messages, "#/components/schemas/{model}")
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": title,
            "version": "1.0.0",
            "description": "Events on Kafka, one topic per event, keyed by the aggregate's opaque UUID. "
            "Readers ignore fields that they do not know.",
        },
        "defaultContentType": "application/json",
        "channels": {
            name: _channel(topic, list(registry.versions[name].values())) for name, topic in sorted(chosen.items())
        },
        "operations": {
            f"{topic.producer}.send.{name}": {
                "action": "send",
                "channel": {"$ref": f"#/channels/{name}"},
                "messages": [
                    {"$ref": f"#/channels/{name}/messages/{_name(message)}"}
                    for message in registry.versions[name].values()
                ],
            }
            for name, topic in sorted(chosen.items())
        },
        "components": {
            "messages": {_name(message): _message(message, bodies[message], examples[message]) for message in messages},
            "schemas": shared,
        },
    }


def _name(message: type[Message]) -> str:
    return f"{message.MESSAGE_TYPE}.v{message.MESSAGE_VERSION}"


def _channel(topic: Topic, messages: list[type[Message]]) -> JsonObject:
    return {
        "address": topic.name,
        "description": "An installation may set a prefix before the address.",
        "messages": {_name(message): {"$ref": f"#/components/messages/{_name(message)}"} for message in messages},
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "partitions": topic.partitions,
                "topicConfiguration": {"cleanup.policy": [topic.cleanup_policy], "retention.ms": topic.retention_ms},
                "bindingVersion": _KAFKA_BINDING,
            }
        },
    }


def _message(message: type[Message], payload: JsonObject, example: Message) -> JsonObject:
    sample = headers(example)
    return {
        "name": message.MESSAGE_TYPE,
        "title": f"{message.MESSAGE_TYPE} version {message.MESSAGE_VERSION}",
        "summary": (message.__doc__ or "").strip(),
        "contentType": "application/json",
        "correlationId": {"location": "$message.payload#/correlation_id"},
        "headers": {
            "type": "object",
            "required": list(sample),
            "properties": {
                name: {"type": "string", "description": meaning} for name, meaning in _HEADER_MEANINGS.items()
            },
        },
        "payload": payload,
        "bindings": {"kafka": {"key": {"type": "string", "format": "uuid"}, "bindingVersion": _KAFKA_BINDING}},
        "examples": [{"name": "example", "headers": sample, "payload": example.model_dump(mode="json")}],
    }
