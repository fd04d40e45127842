"""JSON Schemas of the messages for readers in any language: required fields are listed, and no object is closed."""

from collections.abc import Iterable
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from contracts.envelope import Message

JsonObject = dict[str, Any]


class _Generator(GenerateJsonSchema):
    """Leaves out the titles that pydantic derives from field names: they add nothing."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        del schema
        return False


def json_schema(message: type[Message]) -> JsonObject:
    """The self-contained JSON Schema (2020-12) of one version of a message."""
    body = message.model_json_schema(schema_generator=_Generator)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": message.schema_id(), **body}


def shared_schemas(
    messages: Iterable[type[Message]], ref_template: str
) -> tuple[dict[type[Message], JsonObject], dict[str, JsonObject]]:
    """Each message's schema, and their shared definitions, with references of the form ``ref_template``."""
    references, shared = models_json_schema(
        [(message, "validation") for message in messages], ref_template=ref_template, schema_generator=_Generator
    )
    bodies: dict[type[Message], JsonObject] = {model: body for (model, _), body in references.items()}  # type: ignore[misc]  # only messages went in
    return bodies, shared.get("$defs", {})
