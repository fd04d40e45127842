"""Listing the open Tasks of the queue, in order of their last change where OmegaAI sorts.

OmegaAI's documents name neither ``_sort`` nor ``_lastUpdated``. ``in_order`` therefore checks what it is given, and
``as_it_comes`` needs only what is known: the search by reason code and status, and pages.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Final

from omegaai.client import FhirClient, Found, Page
from omegaai.tasks.model import updated_at

OPEN: Final = {"reasoncode": "mirthoutbound", "status": "ready"}
_MOST_FOUND: Final = 200_000
_MOST_REQUESTS: Final = 1_000
_COARSENESS: Final = timedelta(seconds=1)
"""A server that keeps whole seconds answers a search by time so much more widely."""


class OutOfOrderError(Exception):
    """The answer is not sorted by the last change, or holds Tasks from before the time that was asked for."""


async def as_it_comes(client: FhirClient, *, page_size: int) -> AsyncGenerator[Page, None]:
    """All open Tasks, page by page. Transient, Permanent."""
    async with aclosing(client.pages("Task", {**OPEN, "_count": str(page_size)}, most_found=_MOST_FOUND)) as pages:
        async for page in pages:
            yield page


async def in_order(client: FhirClient, since: datetime | None, *, page_size: int) -> AsyncGenerator[Page, None]:
    """The open Tasks that were changed at ``since`` or later, oldest change first. OutOfOrderError.

    Each request asks anew from the last time that was seen: a next page by number would pass over Tasks, because
    Tasks before it are completed meanwhile. Next pages are followed only within one time.
    """
    known: set[str] = set()
    start, requests = since, 0
    while True:
        last, is_last = start, True
        async with aclosing(client.pages("Task", _query(start, page_size), most_found=_MOST_FOUND)) as pages:
            async for page in pages:
                requests += 1
                last = _last_time(page.news, start, last)
                news = [one for one in page.news if one.id not in known]
                known.update(one.id for one in news if one.id)
                is_last = page.is_last or requests >= _MOST_REQUESTS
                yield Page(news, is_last=is_last)
                if is_last or (last is not None and (start is None or last > start)):
                    break
        if is_last:
            return
        start = last


def _query(since: datetime | None, page_size: int) -> dict[str, str]:
    query = {**OPEN, "_sort": "_lastUpdated", "_count": str(page_size)}
    if since is not None:
        query["_lastUpdated"] = f"ge{since.astimezone(UTC).isoformat().replace('+00:00', 'Z')}"
    return query


def _last_time(news: list[Found], start: datetime | None, last: datetime | None) -> datetime | None:
    """The time of the page's last Task. A Task without a readable time counts for nothing, unless all are so."""
    times = [at for one in news if (at := updated_at(one)) is not None]
    if news and not times:
        raise OutOfOrderError("no Task says when it was changed")
    for at in times:
        if start is not None and at < start - _COARSENESS:
            raise OutOfOrderError("a Task is older than what was asked for")
        if last is not None and last != start and at < last:
            raise OutOfOrderError("the Tasks are not sorted by their last change")
        last = at if last is None or last == start else max(last, at)
    return last
