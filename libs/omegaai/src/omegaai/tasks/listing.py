"""Listing the open Tasks of the queue: by the time of their last change, or as they come.

OmegaAI's documents name neither ``_sort`` nor ``_lastUpdated``. So ``by_time`` is quick where OmegaAI knows both, and
proves nothing; ``as_it_comes`` needs only the search by reason code and status, and pages.
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


class NotByTimeError(Exception):
    """OmegaAI does not search by the time of the last change."""


async def as_it_comes(client: FhirClient, *, page_size: int) -> AsyncGenerator[Page, None]:
    """All open Tasks, page by page. Transient, Permanent."""
    async with aclosing(client.pages("Task", {**OPEN, "_count": str(page_size)}, most_found=_MOST_FOUND)) as pages:
        async for page in pages:
            yield page


async def by_time(client: FhirClient, since: datetime | None, *, page_size: int) -> AsyncGenerator[Page, None]:
    """The open Tasks changed at ``since`` or later, oldest change first. NotByTimeError, Transient, Permanent.

    Each request asks anew from the latest time that was seen: a next page by number would pass over Tasks, because
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
    """The latest time on the page, or ``last``. A Task without a readable time counts for nothing, unless all are."""
    times = [at for one in news if (at := updated_at(one)) is not None]
    if news and not times:
        raise NotByTimeError("no Task says when it was changed")
    if start is not None and times and min(times) < start - _COARSENESS:
        raise NotByTimeError("a Task is older than what was asked for")
    return max(times if last is None else [last, *times], default=None)
