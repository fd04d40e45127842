"""The worklist and the waiting room."""

from datetime import date
from typing import Any, Final
from zoneinfo import ZoneInfo

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from powerserver_sim.accounts import User
from powerserver_sim.context import services
from powerserver_sim.rules import Refused
from powerserver_sim.settings.catalogue import ACTIONS, MODALITIES, facilities_of
from powerserver_sim.studies import groups, waiting_room
from powerserver_sim.users.session import for_user, render
from simulator_kit.store import Work

_LONGEST_STATUS: Final = 4


@for_user
async def worklist(request: Request, user: User) -> Response:
    """`?facility=&modality=&status=`: without them all that the user sees; with a status that group in full."""
    query = request.query_params
    wanted, modality, status = (query.get(name, "") for name in ("facility", "modality", "status"))
    if status and not (status.isascii() and status.isdecimal() and len(status) <= _LONGEST_STATUS):
        raise Refused("invalid", "The status is an order value.", field="status")

    def question(work: Work) -> dict[str, Any]:
        facilities = facilities_of(work, user)
        if wanted:
            user.require(wanted)
        codes = [row["code"] for row in facilities if wanted in ("", row["code"])]
        return {
            "facilities": facilities,
            "groups": groups.groups(work, codes, modality, int(status) if status else None),
        }

    return render(
        request, user, "studies/worklist.html", wanted=wanted, modality=modality, only=status, modalities=MODALITIES,
        **await services(request).store.read(question),
    )  # fmt: skip


@for_user
async def waiting(request: Request, user: User) -> Response:
    """`?facility=&day=YYYY-MM-DD`: without them the user's first facility, today."""
    wanted, day = request.query_params.get("facility", ""), request.query_params.get("day", "")

    def question(work: Work) -> dict[str, Any]:
        facilities = facilities_of(work, user)
        if wanted:
            user.require(wanted)
        facility = next((row for row in facilities if wanted in ("", row["code"])), None)
        if facility is None:
            raise Refused("unknown", "There is no such facility.", field="facility")
        zone = ZoneInfo(facility["time_zone"])
        shown = _day(day) if day else work.now.astimezone(zone).date()
        return {
            "facilities": facilities,
            "facility": facility,
            "day": shown,
            "stages": waiting_room.waiting_room(work, facility["code"], zone, shown),
        }

    shown = await services(request).store.read(question)
    return render(request, user, "studies/waiting_room.html", words=dict(ACTIONS), **shown)


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise Refused("invalid", "The day is written YYYY-MM-DD.", field="day") from None


ROUTES = [Route("/worklist", worklist), Route("/waiting-room", waiting)]
