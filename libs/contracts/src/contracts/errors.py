"""Contract errors name places, never values: values belong to patients."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails, ValidationError


class ContractError(Exception):
    """A message breaks its contract.

    ``reason`` says what is wrong, ``path`` where (``data.name.family``, ``data.identifiers[0].value``; empty for the
    whole message). Neither holds a value of the message.
    """

    def __init__(self, reason: str, path: str = "") -> None:
        self.reason = reason
        self.path = path
        super().__init__(f"{path}: {reason}" if path else reason)


# These pydantic texts quote the input, so each is replaced by a text without it.
_WITHOUT_INPUT = {
    "uuid_parsing": "is not a UUID",
    "union_tag_invalid": "is none of the known message types",
    "extra_forbidden": "is not a field of this message",
}


def without_values(error: "ValidationError", tags: frozenset[str | int] = frozenset()) -> ContractError:
    """The first finding of a validation; ``tags`` are the union's steps, which the path leaves out."""
    details = error.errors(include_url=False, include_context=False, include_input=False)
    first: ErrorDetails = details[0]
    location = list(first["loc"])
    while location and location[0] in tags:
        del location[0]
    reason = _WITHOUT_INPUT.get(first["type"], first["msg"])
    more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
    return ContractError(reason + more, dotted(location))


def dotted(location: Iterable[str | int]) -> str:
    """``("data", "studies", 0, "code")`` as ``data.studies[0].code``."""
    text = ""
    for step in location:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text
