"""The known messages and versions, and the conversion of bytes to the newest version.

All kept versions form one discriminated union: pydantic's core decodes a message once and picks its model by ``type``
and ``version`` on the way, as fast as validating against a model known beforehand.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import reduce
from operator import or_
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError
from pydantic_core import CoreConfig, SchemaValidator

from contracts.envelope import Message
from contracts.errors import ContractError, without_values

Upcaster = Callable[[Any], Message]


class Registry:
    """The messages of one release of the contracts, with the upcasters of every older version that is kept."""

    def __init__(
        self, messages: Iterable[type[Message]], upcasters: Mapping[type[Message], Upcaster] | None = None
    ) -> None:
        """``upcasters`` lead from each old version to a message of the next one."""
        by_type: dict[str, dict[int, type[Message]]] = {}
        for message in messages:
            versions = by_type.setdefault(message.MESSAGE_TYPE, {})
            if message.MESSAGE_VERSION in versions:
                raise ValueError(f"{message.MESSAGE_TYPE} has two models of version {message.MESSAGE_VERSION}")
            versions[message.MESSAGE_VERSION] = message
        self._upcasters = dict(upcasters or {})
        self.versions: Mapping[str, Mapping[int, type[Message]]] = {
            name: dict(sorted(versions.items())) for name, versions in by_type.items()
        }
        for name, kept in self.versions.items():
            for version, message in kept.items():
                if version < max(kept) and message not in self._upcasters:
                    raise ValueError(f"{name} version {version} has no upcaster to a newer version")
        self._tags = frozenset[str | int](
            {*self.versions, *(version for kept in self.versions.values() for version in kept)}
        )
        # By default pydantic caches 16,384 strings, patients' data among them, and drops one only for another.
        schema = TypeAdapter[Message](self._union()).core_schema
        self._validate = SchemaValidator(schema, CoreConfig(cache_strings="keys")).validate_json

    def messages(self) -> list[type[Message]]:
        """Every kept version of every message, by type and version."""
        return [message for versions in self.versions.values() for message in versions.values()]

    def newest(self) -> list[type[Message]]:
        """For each message, the version that readers see."""
        return [versions[max(versions)] for versions in self.versions.values()]

    def parse(self, value: bytes) -> Message:
        """The message in ``value`` as its newest version. Unknown fields are ignored.

        Raises ContractError, whose text holds no value of the message.
        """
        try:
            message: Message = self._validate(value, extra="ignore")
        except ValidationError as error:
            broken = self._explained(error)
        else:
            while upcaster := self._upcasters.get(type(message)):
                message = upcaster(message)
            return message
        raise broken  # outside the handler: a chained ValidationError would carry the message's values

    def _explained(self, error: ValidationError) -> ContractError:
        first = error.errors(include_url=False, include_input=False)[0]
        kind, location, context = first["type"], first["loc"], first.get("ctx", {})
        name = location[0] if location else None
        if name in self.versions and (
            (kind == "union_tag_invalid" and len(location) == 1)
            or (kind == "literal_error" and location[1:] == ("version",))
        ):
            known = ", ".join(str(version) for version in self.versions[str(name)])
            return ContractError(f"this release knows {name} in version {known} only", "version")
        if kind == "union_tag_invalid":
            return ContractError("is none of the message types that this release knows", "type")
        if kind == "union_tag_not_found":
            return ContractError("is missing", context["discriminator"].strip("'"))
        return without_values(error, self._tags)

    def _union(self) -> Any:
        by_type = [
            Annotated[reduce(or_, versions.values()), Field(discriminator="version")]
            if len(versions) > 1
            else next(iter(versions.values()))
            for versions in self.versions.values()
        ]
        return Annotated[reduce(or_, by_type), Field(discriminator="type")] if len(by_type) > 1 else by_type[0]
