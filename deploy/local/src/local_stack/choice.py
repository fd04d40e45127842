"""Chooses between the two stacks, containers or embedded, for a command, with the reason."""

import os
from dataclasses import dataclass
from typing import Literal

from rich.console import Console

from local_stack.containers import ContainerStack
from local_stack.engine import Engine, EngineError
from local_stack.settings import Settings, SettingsError

Stack = Literal["embedded", "docker"]
ASKED = ("auto", "embedded", "docker")


@dataclass(frozen=True)
class Choice:
    """The stack, the reason for it, and its containers when it runs in containers."""

    stack: Stack
    why: str
    containers: ContainerStack | None = None


def asked(value: str | None = None) -> str:
    """The stack that ``STACK`` or the option asks for. Raises ``SettingsError``."""
    chosen = value or os.environ.get("STACK") or "auto"
    if chosen not in ASKED:
        raise SettingsError(f"STACK={chosen!r} is none of {', '.join(ASKED)}")
    return chosen


def to_start(value: str, settings: Settings, console: Console) -> Choice:
    """The stack for `make up`: the one that is up, else the one asked for, else containers where available.

    Raises ``EngineError`` when containers were asked for and cannot be used.
    """
    if value == "embedded":
        return Choice("embedded", "asked for")
    running = recorded(settings)
    if value == "auto" and running == "embedded":
        return Choice("embedded", "started last")
    try:
        stack = ContainerStack(Engine.find(), settings, console)
        stack.containers()
        stack.obtain_images()
    except EngineError as error:
        if value == "docker":
            raise
        return Choice("embedded", str(error))
    return Choice("docker", f"engine {stack.engine.version} has the images", stack)


def to_look_at(value: str, settings: Settings, console: Console) -> Choice:
    """The stack for `make down`, `status` and `logs`: the one asked for, else the one that `make up` started last."""
    stack = recorded(settings) if value == "auto" else value
    if stack != "docker":
        return Choice("embedded", "asked for" if value == "embedded" else "started last")
    return Choice("docker", "started last", ContainerStack(Engine.find(), settings, console))


def recorded(settings: Settings) -> str | None:
    """The stack that `make up` started last and `make down` has not stopped."""
    path = settings.stack_file
    return path.read_text().strip() if path.exists() else None


def record(settings: Settings, stack: Stack | None) -> None:
    if stack is None:
        settings.stack_file.unlink(missing_ok=True)
        return
    settings.stack_file.parent.mkdir(parents=True, exist_ok=True)
    settings.stack_file.write_text(stack)
