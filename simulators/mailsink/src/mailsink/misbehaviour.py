"""What the sink can be told to do wrong, so that a sender's patience can be tested."""

import random
from dataclasses import asdict, dataclass
from typing import Any, Literal, cast, get_args

Mode = Literal["status", "accept-then-cut", "slow"]
STATUSES = (421, 451, 530, 550)


class BadOrderError(ValueError):
    """The order names a target, mode or value that the sink does not know."""


@dataclass
class Misbehaviour:
    """``count`` mails are treated so (None: until cleared), each with ``probability``; ``seconds`` is for ``slow``."""

    mode: Mode
    status: int | None = None
    count: int | None = 1
    probability: float = 1.0
    seconds: float = 0.0
    target: str = "smtp"


def read_order(body: Any) -> Misbehaviour:
    if not isinstance(body, dict):
        raise BadOrderError("the body is a JSON object")
    if body.get("target", "smtp") != "smtp":
        raise BadOrderError("target: smtp is the only one")
    mode, status = body.get("mode"), body.get("status")
    if mode not in get_args(Mode):
        raise BadOrderError(f"mode: one of {', '.join(get_args(Mode))}")
    if mode == "status" and status not in STATUSES:
        raise BadOrderError(f"status: one of {', '.join(map(str, STATUSES))}")
    try:
        count = None if body.get("count", 1) is None else int(body.get("count", 1))
        order = Misbehaviour(
            cast("Mode", mode), status, count, float(body.get("probability", 1.0)), float(body.get("seconds") or 0.0)
        )
    except (TypeError, ValueError) as error:
        raise BadOrderError("count, probability and seconds are numbers") from error
    if not (0.0 <= order.probability <= 1.0) or order.seconds < 0 or (count is not None and count < 1):
        raise BadOrderError("probability is 0 to 1, seconds is 0 or more, count is 1 or more or null")
    return order


class Orders:
    """The orders in force, oldest first; the first that applies to a mail is used."""

    def __init__(self) -> None:
        self._orders: list[Misbehaviour] = []

    def add(self, order: Misbehaviour) -> None:
        self._orders.append(order)

    def clear(self) -> None:
        self._orders.clear()

    def listed(self) -> list[dict[str, Any]]:
        return [asdict(order) for order in self._orders]

    def next(self) -> Misbehaviour | None:
        for order in self._orders:
            if random.random() >= order.probability:  # noqa: S311 nothing secret hangs on it
                continue
            if order.count is not None:
                order.count -= 1
                if order.count == 0:
                    self._orders.remove(order)
            return order
        return None
