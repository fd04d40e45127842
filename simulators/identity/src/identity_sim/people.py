"""The made-up staff of the development provider."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Person:
    """A person. `subject` never changes; `roles` is the content of the claim `roles`."""

    subject: str
    username: str
    name: str
    roles: tuple[str, ...]


PEOPLE: Final[Mapping[str, Person]] = {
    "viewer": Person("9b1d0c52-5d0b-4a0e-8a53-000000000001", "vera", "Vera Viewer", ("viewer",)),
    "operator": Person("9b1d0c52-5d0b-4a0e-8a53-000000000002", "olga", "Olga Operator", ("operator",)),
    "admin": Person("9b1d0c52-5d0b-4a0e-8a53-000000000003", "ada", "Ada Admin", ("admin",)),
    "none": Person("9b1d0c52-5d0b-4a0e-8a53-000000000004", "nora", "Nora Without a Role", ()),
}
