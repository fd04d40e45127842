"""Tasks that no service handles: they are counted and shown, and stay as they are."""

from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from omegaai import elements
from omegaai.client import FhirClient, Found
from omegaai.elements import child, reference
from omegaai.tasks import listing
from omegaai.tasks.claims import CLAIMS, claimant
from omegaai.tasks.model import updated_at

NOBODY: Final = "nobody"
_PAGE_SIZE: Final = 200


@dataclass(frozen=True, slots=True)
class UnclaimedTask:
    """An open Task about a resource of a type that no service handles; ``focus`` is Type/id, or empty."""

    task_id: str
    focus: str
    since: datetime | None


def unclaimed(
    tasks: Iterable[Found], claims: Mapping[str, str], *, now: datetime, after: timedelta
) -> list[UnclaimedTask]:
    """Those among ``tasks`` that were changed longer than ``after`` ago, or that do not say when."""
    found = []
    for one in tasks:
        focus = reference(child(one.resource, "focus"))
        if focus is not None and claimant(focus[0], claims) is not None:
            continue
        since = updated_at(one)
        if since is None or now - since >= after:
            found.append(UnclaimedTask(elements.shown(one.id), elements.shown("/".join(focus or ())), since))
    return found


class Census:
    """Counts the open Tasks of one whole listing by the service that handles them."""

    def __init__(self, claims: Mapping[str, str], *, now: datetime, after: timedelta) -> None:
        self._claims, self._now, self._after = claims, now, after
        self._counts = Counter(dict.fromkeys((*claims.values(), NOBODY), 0))

    @property
    def counts(self) -> Mapping[str, int]:
        """By service, and under ``nobody`` those that have been unclaimed for long enough."""
        return self._counts

    def add(self, tasks: Iterable[Found]) -> None:
        for one in tasks:
            focus = reference(child(one.resource, "focus"))
            service = None if focus is None else claimant(focus[0], self._claims)
            if service is not None:
                self._counts[service] += 1
            elif unclaimed([one], self._claims, now=self._now, after=self._after):
                self._counts[NOBODY] += 1


async def unclaimed_tasks(
    client: FhirClient, *, now: datetime, after: timedelta, most: int, claims: Mapping[str, str] = CLAIMS
) -> list[UnclaimedTask]:
    """As OmegaAI has them now, at most ``most``. Transient, Permanent."""
    found: list[UnclaimedTask] = []
    async with aclosing(listing.as_it_comes(client, page_size=_PAGE_SIZE)) as pages:
        async for page in pages:
            found += unclaimed(page.news, claims, now=now, after=after)
            if len(found) >= most:
                break
    return found[:most]
