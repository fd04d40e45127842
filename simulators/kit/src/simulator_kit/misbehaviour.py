"""Faults on command. A simulator lists its targets and modes; a fault spoils the next actions of its target.

A mode's name means the same in every simulator: the common modes are defined here once.
"""

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

_MOST: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Mode:
    """One way to misbehave. A mode with `statuses` takes a `status`, one with `seconds` takes `seconds`.

    `words` say what happens; names of fields stand in backticks.
    """

    name: str
    words: str
    statuses: Collection[int | str] = ()
    status: int | str | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """A part that misbehaves on command: a listener, a client, a feed."""

    name: str
    words: str
    modes: Sequence[Mode]

    def mode(self, name: object) -> Mode | None:
        return next((mode for mode in self.modes if mode.name == name), None)


def status(status: int | str, statuses: Collection[int | str], words: str = "") -> Mode:
    """Refuse with `status` and do nothing."""
    return Mode("status", words or "Answers with `status`. Nothing is done.", statuses, status)


def slow(seconds: float) -> Mode:
    return Mode("slow", "Waits `seconds`, then does the work and answers as usual.", seconds=seconds)


CUT: Final = Mode("cut", "Cuts the connection. Nothing is done.")
ACCEPT_THEN_CUT: Final = Mode("accept-then-cut", "Does the work, then cuts the connection without an answer.")
DROP: Final = Mode("drop", "Loses it: it is never sent.")
DUPLICATE: Final = Mode("duplicate", "Sends it twice.")
REORDER: Final = Mode("reorder", "Sends it after the next one.")


class FaultError(ValueError):
    """An invalid fault; `field` names its wrong field."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field} is {problem}.")
        self.field = field


@dataclass(slots=True)
class Fault:
    """One fault. `count` None lasts until it is cleared; each action is hit with `probability`."""

    target: str
    mode: str
    count: int | None = 1
    probability: float = 1.0
    seconds: float = 0.0
    status: int | str | None = None


class Misbehaviour:
    """The faults in force, oldest first. The first fault that applies is used."""

    def __init__(self, targets: Sequence[Target]) -> None:
        self.targets: Final = tuple(targets)
        self._faults: list[Fault] = []
        self._random = random.Random()  # noqa: S311 - chaos, not secrets

    def order(self, mode: str, *, target: str | None = None, **more: object) -> dict[str, Any]:
        """`add`, for programs in this process."""
        return self.add({"mode": mode, **({} if target is None else {"target": target}), **more})

    def add(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Put a fault in force and give it back with its defaults. Raises `FaultError`.

        `given` is `{"target", "mode", "count": 1, "probability": 1.0, "seconds", "status"}`; the target may be left
        out where there is one only.
        """
        fault = self._read(given)
        self._faults.append(fault)
        return asdict(fault)

    def clear(self) -> None:
        self._faults.clear()

    def all(self) -> list[dict[str, Any]]:
        return [asdict(fault) for fault in self._faults]

    def take(self, target: str) -> Fault | None:
        """The fault for this action of `target`, or None. The action counts against the fault's `count`."""
        for fault in self._faults:
            if fault.target == target and self._random.random() < fault.probability:
                if fault.count is not None:
                    fault.count -= 1
                    if fault.count == 0:
                        self._faults.remove(fault)
                return fault
        return None

    def _read(self, given: Mapping[str, Any]) -> Fault:
        only = self.targets[0].name if len(self.targets) == 1 else None
        target = next((one for one in self.targets if one.name == given.get("target", only)), None)
        if target is None:
            raise FaultError("target", f"one of {', '.join(one.name for one in self.targets)}")
        mode = target.mode(given.get("mode"))
        if mode is None:
            raise FaultError("mode", f"one of {', '.join(one.name for one in target.modes)} for {target.name}")
        count = given.get("count", 1)
        if count is not None and not (_is_number(count, int) and 1 <= count <= _MOST):
            raise FaultError("count", "a whole number from 1, or null")
        probability = given.get("probability")
        if probability is not None and not (_is_number(probability, int, float) and 0 <= probability <= 1):
            raise FaultError("probability", "a number from 0 to 1")
        seconds = given.get("seconds")
        if seconds is not None and not (_is_number(seconds, int, float) and seconds >= 0):
            raise FaultError("seconds", "a number from 0")
        chosen = given.get("status")
        if chosen is not None and (isinstance(chosen, bool) or chosen not in (mode.statuses or [chosen])):
            raise FaultError("status", f"one of {listed(mode.statuses)}")
        return Fault(
            target=target.name,
            mode=mode.name,
            count=count,
            probability=1.0 if probability is None else float(probability),
            seconds=(mode.seconds or 0.0) if seconds is None else float(seconds),
            status=mode.status if chosen is None else chosen,
        )


def _is_number(value: object, *kinds: type) -> bool:
    return isinstance(value, kinds) and not isinstance(value, bool)


def listed(statuses: Collection[int | str]) -> str:
    """The allowed statuses in words: a run of numbers as its ends."""
    if isinstance(statuses, range):
        return f"{statuses[0]} to {statuses[-1]}"
    return ", ".join(str(one) for one in statuses)
