"""The templates of the service's own pages, and the words that they show for the names in the store."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment

from chassis.web.layout import Page, templates

SERVICE: Final = "scheduler-sync"
PAGES: Final = (
    Page("Appointments", "/links"),
    Page("Conflicts", "/conflicts"),
    Page("Reconciliation", "/reconciliation"),
    Page("Messages", "/messages"),
    Page("Review list", "/reviews"),
    Page("Needs set-up", "/needs-setup"),
    Page("Resources", "/resources"),
    Page("Preflight", "/preflight"),
    Page("Explain HL7", "/explain", "operator"),
)
SOURCES: Final[Mapping[str, str]] = {
    "powerserver": "PowerServer",
    "omegaai": "OmegaAI",
    "worklist": "the worklist",
    "delivery": "Answer to our delivery:",
    "reconciliation": "Reconciliation",
    "scheduling": "Scheduling API",
    "recovery": "Recovery",
    "mfn": "an MFN message",
    "csv": "an exported CSV file",
}
"""The products and parts of the suite, as pages name them."""
OUTCOMES: Final[Mapping[str, str]] = {
    "echo": "our own write, seen again",
    "stale": "older than what is known",
    "unchanged": "nothing new",
    "detail": "details taken over",
}
"""What became of an input; the other outcomes are shown as they are."""
FIELDS: Final[Mapping[str, str]] = {
    "slot": "time",
    "requested_slot": "wanted time",
    "filler_id": "appointment id",
    "step": "status",
    "patient_id": "patient",
    "duration_minutes": "duration",
    "kind": "type",
    "category": "class",
}
"""Fields of appointments and resources."""


def service_templates(consoles: Mapping[str, str] | None = None) -> Environment:
    """The templates with the service's menu. ``consoles``: the addresses of the suite's other consoles, by service."""
    environment = templates(SERVICE, PAGES, Path(__file__).parent / "templates", consoles=consoles)
    environment.filters.update(source=source, outcome=outcome, field=field, fact=fact)
    return environment


def source(name: str) -> str:
    return SOURCES.get(name, name)


def outcome(name: str) -> str:
    return OUTCOMES.get(name, name.replace("_", " "))


def field(name: str) -> str:
    return FIELDS.get(name, name.replace("_", " "))


def fact(value: Any) -> Any:
    """A value as JSON keeps it, for a page: a time as a time, a switch in words, nothing as a dash."""
    if value is None or value == "":
        return "–"
    if str(value) in {"True", "False"}:
        return "on" if str(value) == "True" else "off"
    if isinstance(value, str) and "T" in value:
        try:
            at = datetime.fromisoformat(value)
        except ValueError:
            return value
        return value if at.tzinfo is None else at
    return value
