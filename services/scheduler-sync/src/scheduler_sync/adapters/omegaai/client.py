"""FHIR R4 over HTTP: conditional create and update, reading, paging; each answer becomes a value or one of our errors.

401 fetches a new token, once. 412 is the caller's (another version, re-read). 429, 5xx and time-outs are Transient with
the server's Retry-After. What is left is Permanent, with the OperationOutcome's expressions and nothing of its text:
a server's words may quote a patient.
"""

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

import aiohttp

from chassis.clock import utc_now
from chassis.errors import Permanent, Transient
from chassis.masking import place, shown
from scheduler_sync.adapters.omegaai.token import TokenSource

FHIR_JSON: Final = "application/fhir+json"
_LONGEST_RETRY_AFTER_SECONDS: Final = 600.0
_MOST_PAGES: Final = 10_000

Resource = dict[str, Any]


class VersionMovedError(Exception):
    """The resource has another version than the write was based on (412): read it again."""


class NotFoundError(Exception):
    """There is no such resource (404), or no longer (410)."""


@dataclass(frozen=True, slots=True)
class Found:
    """A resource as the server has it; ``version`` is its ETag's, or meta.versionId."""

    resource: Resource
    version: str
    was_created: bool = False

    @property
    def id(self) -> str:
        return str(self.resource.get("id") or "")


class FhirClient:
    """OmegaAI's FHIR endpoint."""

    def __init__(self, session: aiohttp.ClientSession, base_url: str, tokens: TokenSource) -> None:
        self._session = session
        self._base = base_url.rstrip("/") + "/fhir/"
        self._tokens = tokens

    async def read(self, resource_type: str, resource_id: str) -> Found:
        """The resource as it is now. NotFoundError, Transient, Permanent."""
        return await self._request("GET", f"{resource_type}/{resource_id}")

    async def create(self, resource_type: str, resource: Resource, *, if_none_exist: str) -> Found:
        """Create unless one matches the query; then that one as it is. Permanent where several match."""
        try:
            return await self._request("POST", resource_type, resource, {"If-None-Exist": if_none_exist})
        except VersionMovedError:
            raise Permanent(f"OmegaAI has several {resource_type} resources that match {_key(if_none_exist)}") from None

    async def update(self, resource_type: str, resource_id: str, resource: Resource, *, version: str) -> Found:
        """Replace the resource if it still has ``version``; VersionMovedError otherwise."""
        return await self._request("PUT", f"{resource_type}/{resource_id}", resource, {"If-Match": f'W/"{version}"'})

    async def search(self, resource_type: str, query: Mapping[str, str]) -> AsyncIterator[Found]:
        """All matches over all pages, as they come."""
        bundle = (await self._request("GET", resource_type, query=query)).resource
        for _ in range(_MOST_PAGES):
            for entry in _dicts(bundle.get("entry")):
                resource = entry.get("resource")
                if isinstance(resource, dict) and _same(resource.get("resourceType"), resource_type):
                    yield Found(resource, _version(resource, None))
            following = next(
                (one.get("url") for one in _dicts(bundle.get("link")) if one.get("relation") == "next"), None
            )
            if not isinstance(following, str) or not following:
                return
            bundle = (await self._request("GET", self._own(following))).resource

    async def page(self, resource_type: str, query: Mapping[str, str]) -> list[Found]:
        """The first page of a search."""
        bundle = (await self._request("GET", resource_type, query=query)).resource
        found = (entry.get("resource") for entry in _dicts(bundle.get("entry")))
        return [
            Found(one, _version(one, None))
            for one in found
            if isinstance(one, dict) and _same(one.get("resourceType"), resource_type)
        ]

    def _own(self, url: str) -> str:
        """A link of the server's, which must lead to itself: the token goes with it."""
        full = urljoin(self._base, url)
        if urlsplit(full).netloc != urlsplit(self._base).netloc:
            raise Permanent("Bundle.link: the next page is on another host")
        return full

    async def _request(
        self,
        method: str,
        path: str,
        body: Resource | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        query: Mapping[str, str] | None = None,
    ) -> Found:
        data = None if body is None else json.dumps(body, ensure_ascii=False).encode()
        for is_last in (False, True):
            token = await self._tokens.token()
            sent = {"Authorization": f"Bearer {token}", "Accept": FHIR_JSON, **(headers or {})}
            if data is not None:
                sent["Content-Type"] = FHIR_JSON
            try:
                async with self._session.request(
                    method, urljoin(self._base, path), data=data, headers=sent, params=query
                ) as response:
                    if response.status == 401 and not is_last:
                        self._tokens.reject(token)
                        continue
                    return await _answer(method, path, response)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                raise Transient(f"OmegaAI: {method} {_type(path)}: {type(error).__name__}") from error
        raise AssertionError("unreachable")


async def _answer(method: str, path: str, response: aiohttp.ClientResponse) -> Found:
    what, status = f"OmegaAI: {method} {_type(path)} answered {response.status}", response.status
    if status in (429, 500, 502, 503, 504, 408, 425):
        raise Transient(what, retry_after_seconds=_retry_after(response.headers))
    if status == 401:
        raise Transient(f"{what} to a token that was just given")
    if status in (404, 410):
        raise NotFoundError(what)
    if status == 412:
        raise VersionMovedError(what)
    raw = await response.read()
    try:
        resource = json.loads(raw) if raw else {}
    except ValueError:
        resource = {}
    if not isinstance(resource, dict):
        resource = {}
    if status >= 400:
        raise Permanent(f"{what}{_expressions(resource)}")
    if status not in (200, 201):
        raise Transient(what)
    if not resource:
        raise Transient(f"{what} without a resource")
    return Found(resource, _version(resource, response.headers.get("ETag")), was_created=status == 201)


def _expressions(outcome: Resource) -> str:
    """Where an OperationOutcome points, and its codes."""
    found = []
    for issue in _dicts(outcome.get("issue")):
        places = issue.get("expression") or issue.get("location") or []
        code = issue.get("code")
        where = ", ".join(place(str(one)) for one in places) if isinstance(places, list) else ""
        found.append(" ".join(part for part in (where, f"({shown(code)})" if isinstance(code, str) else "") if part))
    return f": {'; '.join(found)}" if found else ""


def _version(resource: Resource, etag: str | None) -> str:
    if etag:
        return etag.removeprefix("W/").strip('"')
    meta = resource.get("meta")
    return str(meta.get("versionId") or "") if isinstance(meta, dict) else ""


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """A time in it is the server's, so it is compared with the server's own: our clock may differ."""
    value = headers.get("Retry-After")
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(value) - _server_time(headers.get("Date"))).total_seconds()
        except (TypeError, ValueError):
            return None
    return min(max(seconds, 0.0), _LONGEST_RETRY_AFTER_SECONDS)


def _server_time(date: str | None) -> datetime:
    try:
        at = parsedate_to_datetime(date or "")
    except (TypeError, ValueError):
        return utc_now()
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


def _type(path: str) -> str:
    """The resource type alone: ids and queries of patients stay out of texts."""
    return urlsplit(path).path.removeprefix("/fhir/").strip("/").split("/")[0]


def _key(query: str) -> str:
    return query.partition("=")[0]


def _same(found: object, wanted: str) -> bool:
    return isinstance(found, str) and found.lower() == wanted.lower()


def _dicts(value: object) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
