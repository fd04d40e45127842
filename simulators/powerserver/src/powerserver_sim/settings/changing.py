"""A change of a settings page: done, or refused with a sentence beside the form."""

from collections.abc import Callable

from starlette.requests import Request

from powerserver_sim.context import services
from powerserver_sim.rules import HTTP_STATUS, Refused
from simulator_kit.store import Work


async def tried(request: Request, change: Callable[[Work], None]) -> Refused | None:
    """The refusal of a change; None when it is done."""
    try:
        await services(request).store.write(change)
    except Refused as problem:
        return problem
    return None


def status_of(problem: Refused | None) -> int:
    return 200 if problem is None else HTTP_STATUS[problem.reason]
