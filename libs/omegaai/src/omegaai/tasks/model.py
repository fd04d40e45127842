"""A Task of the queue, and what becomes of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from chassis.errors import Malformed, Transient
from omegaai import elements
from omegaai.client import Found
from omegaai.elements import Json, child, code, malformed, reference, text

C = TypeVar("C")


@dataclass(frozen=True, slots=True)
class Task:
    """A Task of the outbound queue: the resource that it asks to be looked at."""

    id: str
    version: str
    focus_type: str
    focus_id: str
    resource: Json
    updated_at: datetime | None = None
    """meta.lastUpdated; None where it is missing or unreadable."""

    @property
    def focus(self) -> str:
        """As Type/id, fit to be kept and shown."""
        return elements.shown(f"{self.focus_type}/{self.focus_id}")


@dataclass(frozen=True, slots=True)
class ParkedTask:
    """A Task whose resource could not be processed; ``expression`` is the FHIR path of the wrong element."""

    task_id: str
    focus: str
    expression: str | None
    reason: str
    at: datetime


@dataclass(frozen=True)  # Python cannot call TaskItem[C] of a frozen class with slots
class TaskItem(Generic[C]):
    """A Task with what became of its focus: a command, a reason to park it, or neither (there is nothing to do)."""

    task_id: str
    received_at: datetime
    command: C | None = None
    parked: ParkedTask | None = None
    authored_on: str | None = None
    put_off: Transient | None = None
    """Why the focus cannot be read now. Such an item is not committed."""
    focus: str = ""
    """As Type/id."""


def task_of(found: Found) -> Task | None:
    """The Task; None where its focus is missing. Malformed where the Task has no id that can be kept."""
    focus = reference(child(found.resource, "focus"))
    if not found.id or focus is None:
        return None
    if elements.shown(found.id) != found.id:
        raise malformed("Task.id", "is too long, or holds a character that cannot be kept")
    return Task(found.id, found.version, *focus, found.resource, updated_at(found))


def updated_at(found: Found) -> datetime | None:
    """meta.lastUpdated; None where it is missing or unreadable."""
    try:
        return elements.instant(child(found.resource, "meta"), "lastUpdated", "meta")
    except Malformed:
        return None


def completed(task: Mapping[str, Any]) -> Json:
    """The Task as done: its focus, and nothing of a dialect that strict R4 would refuse."""
    resource = dict(task)
    focus = reference(child(resource, "focus"))
    return elements.without_empty(
        {
            "resourceType": "Task",
            "id": text(resource, "id"),
            "status": "completed",
            "intent": code(resource, "intent") or "order",
            "reasonCode": elements.clean(resource.get("reasonCode")),
            "focus": None if focus is None else {"reference": "/".join(focus)},
            "authoredOn": text(resource, "authoredOn"),
        }
    )
