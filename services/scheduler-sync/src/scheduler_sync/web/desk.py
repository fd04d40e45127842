"""The service's numbers on the start page: what waits for a person, each with the page that lists it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from starlette.routing import BaseRoute

from chassis.store import Store
from chassis.web.desks import Act, Look, Tile
from scheduler_sync.store.waiting_numbers import waiting_numbers


class NumbersDesk:
    """``unclaimed``: the open Tasks that no service handles, as the Task reader last counted them."""

    template = "numbers_desk.html"

    def __init__(self, store: Store, unclaimed: Callable[[], int]) -> None:
        self._store = store
        self._unclaimed = unclaimed

    async def look(self) -> Look:
        found = await waiting_numbers(self._store)
        tiles = [
            Tile("parked Tasks", found.parked_tasks, link="/parked-tasks"),
            Tile("unclaimed Tasks", self._unclaimed(), level="warn", link="/unclaimed-tasks"),
            Tile("reconciliation asks", found.asking_runs, level="warn", link="/reconciliation"),
            Tile("drift for a person", found.drift, level="warn", link="/reconciliation?settled=listed"),
            Tile("patients to review", found.reviews, level="warn", link="/reviews"),
            Tile("resources that differ", found.resources, level="warn", link="/resources?state=drifted"),
            Tile("conflicts of the last day", found.conflicts, level="warn", link="/conflicts"),
        ]
        return Look(tiles, {})

    def acts(self) -> Mapping[str, Act]:
        return {}

    def routes(self, templates: Any) -> Sequence[BaseRoute]:
        del templates
        return []
