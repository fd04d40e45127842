"""FHIR R4 over HTTP: conditional create and update, reading, paging; each answer becomes a value or one of our errors.

401 fetches a new token, once. 412 is left to the caller, who reads the resource again. ``answers`` says what every
other answer means.
"""

import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import quote

import aiohttp
from yarl import URL

from chassis.errors import Malformed, NeedsSetup, Permanent, UnusableAnswer
from chassis.http import LARGE_ANSWER_BYTES, TIMEOUT_SECONDS, HttpPartner
from omegaai import elements
from omegaai.answers import (
    NotFoundError,
    Resource,
    TooDeep,
    VersionMovedError,
    dicts,
    resource_of,
    same_type,
)
from omegaai.token import TokenSource

__all__ = ["FhirClient", "Found", "NotFoundError", "Page", "Resource", "TooDeep", "VersionMovedError"]

FHIR_JSON: Final = "application/fhir+json"
MOST_PAGES: Final = 1_000
MOST_FOUND: Final = 50_000
_PAGES_WITHOUT_NEWS: Final = 3
_REQUESTS_OF_ONE: Final = 4
"""Requests per call at most; each fetches a token first."""
_VERSION: Final = re.compile(r"[!#-~]{1,64}")
"""Characters that may stand in If-Match between quotes."""


@dataclass(frozen=True, slots=True)
class Found:
    """A resource as the server has it; ``version`` is from its ETag, or meta.versionId."""

    resource: Resource
    version: str
    was_created: bool = False
    said_at: datetime | None = field(default=None, compare=False)
    """The server's own time of the answer (its Date header)."""

    @property
    def id(self) -> str:
        return str(self.resource.get("id") or "")


@dataclass(frozen=True, slots=True)
class Page:
    """What one page of a search holds that no earlier page held.

    ``total``: the number of matches of the whole search; None where the server does not say it.
    """

    news: list[Found]
    is_last: bool
    total: int | None = None


class FhirClient:
    """OmegaAI's FHIR endpoint."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        base_url: str,
        tokens: TokenSource,
        *,
        allowed_hosts: Iterable[str] = (),
        timeout_seconds: float = TIMEOUT_SECONDS,
        largest_answer_bytes: int = LARGE_ANSWER_BYTES,
    ) -> None:
        self._base = base_url.rstrip("/") + "/fhir/"
        self._partner = HttpPartner(
            session,
            "OmegaAI",
            self._base,
            setting="omegaai.base_url",
            allowed_hosts=allowed_hosts,
            timeout_seconds=timeout_seconds,
        )
        self._tokens = tokens
        self._largest_answer_bytes = largest_answer_bytes

    @property
    def longest_call_seconds(self) -> float:
        """A call ends within this time, with success or error; for a search, each page."""
        return _REQUESTS_OF_ONE * self._partner.timeout_seconds

    async def read(self, resource_type: str, resource_id: str) -> Found:
        """The resource's present state. Raises NotFoundError, Transient, Permanent."""
        return await self._request("GET", resource_type, resource_id)

    async def metadata(self) -> Found:
        """The server's CapabilityStatement, and its time. Raises Transient, Permanent; NotFoundError without one."""
        return await self._request("GET", "metadata", of_type="CapabilityStatement", is_named=True)

    async def create(self, resource_type: str, resource: Resource, *, if_none_exist: str) -> Found:
        """Create the resource, or return the one that matches the query. Permanent when several match."""
        headers = {"If-None-Exist": if_none_exist}
        try:
            return await self._request("POST", resource_type, body=resource, headers=headers)
        except VersionMovedError:
            raise Permanent(f"OmegaAI has several {resource_type} resources that match {_key(if_none_exist)}") from None

    async def update(self, resource_type: str, resource_id: str, resource: Resource, *, version: str) -> Found:
        """Replace the resource if it still has ``version``; otherwise raises VersionMovedError."""
        if _VERSION.fullmatch(version) is None:
            raise Malformed(
                f"{resource_type}.meta.versionId: is no version", location=f"{resource_type}.meta.versionId"
            )
        headers = {"If-Match": f'W/"{version}"'}
        return await self._request("PUT", resource_type, resource_id, body=resource, headers=headers)

    async def capabilities(self) -> Resource:
        """The server's CapabilityStatement. Raises Transient, Permanent; NotFoundError where it shows none."""
        return (await self.metadata()).resource

    async def merge_patients(self, *, keep: str, replace: str) -> None:
        """OmegaAI's own operation: everything of the Patient ``replace`` is moved to ``keep``.

        Raises NotFoundError, Transient, Permanent.
        """
        query = {"keepPatientId": keep, "replacePatientId": replace}
        await self._request("POST", "patient/merge/", query=query, of_type="Patient", is_named=True, is_operation=True)

    async def search(self, resource_type: str, query: Mapping[str, str]) -> AsyncIterator[Found]:
        """All matches over all pages, each once. UnusableAnswer when the pages repeat themselves or have no end."""
        async with aclosing(self.pages(resource_type, query)) as pages:
            async for page in pages:
                for found in page.news:
                    yield found

    async def pages(
        self, resource_type: str, query: Mapping[str, str], *, most_found: int = MOST_FOUND
    ) -> AsyncGenerator[Page, None]:
        """All pages of a search. UnusableAnswer when they repeat themselves or have no end."""
        bundle = await self._search(resource_type, query)
        asked: set[URL] = set()
        known: set[str] = set()
        without_news = 0
        for _ in range(MOST_PAGES):
            news = []
            for found in _matches(bundle, resource_type):
                if found.id in known:
                    continue
                if found.id:
                    known.add(found.id)
                news.append(found)
            following = next(
                (one.get("url") for one in dicts(bundle.get("link")) if one.get("relation") == "next"), None
            )
            if not isinstance(following, str) or not following:
                yield Page(news, is_last=True, total=elements.integer(bundle.get("total")))
                return
            yield Page(news, is_last=False, total=elements.integer(bundle.get("total")))
            without_news = 0 if news else without_news + 1
            address = self._next(following)
            if address in asked or without_news >= _PAGES_WITHOUT_NEWS or len(known) > most_found:
                raise UnusableAnswer(f"OmegaAI: the pages of {resource_type} repeat themselves or have no end")
            asked.add(address)
            bundle = (await self._request("GET", resource_type, address=address, of_type="Bundle")).resource
        raise UnusableAnswer(f"OmegaAI: {resource_type} has more than {MOST_PAGES} pages")

    async def _search(self, resource_type: str, query: Mapping[str, str]) -> Resource:
        return (await self._request("GET", resource_type, query=query, of_type="Bundle")).resource

    def _next(self, url: str) -> URL:
        """The server's link to the next page. Its host must be an allowed one: the token goes with the request."""
        try:
            return self._partner.address(url)
        except NeedsSetup as error:
            raise NeedsSetup(f"Bundle.link: {error.reason}", setting=error.setting) from None

    async def _request(
        self,
        method: str,
        resource_type: str,
        resource_id: str | None = None,
        *,
        address: URL | None = None,
        body: Resource | None = None,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        of_type: str | None = None,
        is_named: bool = False,
        is_operation: bool = False,
    ) -> Found:
        """Sends one request. ``of_type``: the answer's resource type, when it is not ``resource_type``.

        ``is_named``: an answer 404 means that there is no such resource, and not that the interface is missing.
        ``is_operation``: a success may have no content.
        """
        url = address or self._partner.address(self._base + _path(resource_type, resource_id))
        what = f"{method} {resource_type}"
        data = None if body is None else json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
        for is_last in (False, True):
            token = await self._tokens.token()
            sent = {"Authorization": f"Bearer {token}", "Accept": FHIR_JSON, **(headers or {})}
            if data is not None:
                sent["Content-Type"] = FHIR_JSON
            answer = await self._partner.ask(
                method, url, what=what, largest_bytes=self._largest_answer_bytes, headers=sent, data=data, query=query
            )
            if answer.status == 401 and not is_last:
                self._tokens.reject(token)
                continue
            if is_operation and 200 <= answer.status < 300:
                return Found({}, "")
            resource = await resource_of(
                answer, what, of_type=of_type or resource_type, names_one=is_named or resource_id is not None,
                is_read=method == "GET",
            )  # fmt: skip
            return Found(
                resource,
                _version(resource, answer.headers.get("ETag")),
                was_created=answer.status == 201,
                said_at=_date(answer.headers.get("Date")),
            )
        raise AssertionError("unreachable")


def _path(resource_type: str, resource_id: str | None) -> str:
    """A path below the base. An id stays one step of the path, whatever it holds."""
    if resource_id is None:
        return resource_type
    if resource_id in ("", ".", ".."):
        raise Malformed(f"{resource_type}.id: is none", location=f"{resource_type}.id")
    try:
        return f"{resource_type}/{quote(resource_id, safe='')}"
    except UnicodeEncodeError:
        where = f"{resource_type}.id"
        raise Malformed(f"{where}: holds a character that cannot be written", location=where) from None


def _matches(bundle: Resource, resource_type: str) -> list[Found]:
    found = (entry.get("resource") for entry in dicts(bundle.get("entry")))
    return [
        Found(one, _version(one, None))
        for one in found
        if isinstance(one, dict) and same_type(one.get("resourceType"), resource_type)
    ]


def _version(resource: Resource, etag: str | None) -> str:
    if etag:
        return etag.removeprefix("W/").strip('"')
    meta = resource.get("meta")
    return str(meta.get("versionId") or "") if isinstance(meta, dict) else ""


def _date(header: str | None) -> datetime | None:
    try:
        return None if header is None else parsedate_to_datetime(header)
    except ValueError:
        return None


def _key(query: str) -> str:
    return query.partition("=")[0]
