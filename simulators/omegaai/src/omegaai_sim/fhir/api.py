"""FHIR R4's RESTful interactions: read, search, create, update (http://hl7.org/fhir/R4/http.html)."""

import asyncio
import json
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from omegaai_sim.fhir import dialect, merging, records, strangers
from omegaai_sim.fhir.auth import Tokens
from omegaai_sim.fhir.definitions import CUSTOM_TYPES
from omegaai_sim.fhir.dialect import DialectSwitch
from omegaai_sim.fhir.outcome import Refused
from simulator_kit.misbehaviour import Misbehaviour
from simulator_kit.store import Store, Work

FHIR_JSON: Final = "application/fhir+json"
_LONGEST_PAGE: Final = 500
_NO_ANSWER: Final = 0
"""The ledger's status of a request whose connection was cut."""
_ETAG: Final = re.compile(r'(?:W/)?"?(\d+)"?')


class Api:
    """The interactions, over one store."""

    def __init__(self, store: Store, tokens: Tokens, misbehaviour: Misbehaviour, dialect: DialectSwitch) -> None:
        self._store = store
        self._tokens = tokens
        self._misbehaviour = misbehaviour
        self._dialect = dialect

    def routes(self) -> list[Route]:
        return [
            Route("/fhir/metadata", self.metadata, methods=["GET"]),
            Route("/fhir/{kind}/merge/", self.entry, methods=["POST"]),
            Route("/fhir/{kind}", self.entry, methods=["GET", "POST"]),
            Route("/fhir/{kind}/{identifier}", self.entry, methods=["GET", "PUT"]),
        ]

    async def entry(self, request: Request) -> Response:
        """Every interaction: the fault in force, the interaction itself, its ledger row.

        The row of a successful write is part of the write: one commit, not two.
        """
        try:
            response = await self._answered(request)
        except Refused as refused:
            response = _answer(refused.outcome(), refused.status)
            if refused.status in {429, 503}:
                response.headers["Retry-After"] = "1"
            if refused.status == 401:
                response.headers["WWW-Authenticate"] = "Bearer"
            await self._log(request, refused.status)
        return response

    async def _log(self, request: Request, status: int) -> None:
        """The ledger row of a request that should have changed a resource and did not."""
        if request.method != "GET":
            await self._store.write(lambda work: _note(work, request, status))

    async def _answered(self, request: Request) -> Response:
        client = self._tokens.client_of(request)
        fault = self._misbehaviour.take("fhir")
        mode = fault.mode if fault else ""
        if fault is not None and mode == "status":
            status = int(fault.status or 503)
            raise Refused(status, "throttled" if status == 429 else "transient", "told to refuse")
        if fault is not None and mode == "slow":
            await asyncio.sleep(fault.seconds)
        if mode in strangers.MODES:
            await self._log(request, _NO_ANSWER)
            return strangers.answer(mode)
        if mode == "cut":
            await self._log(request, _NO_ANSWER)
            return _Hangup(status_code=_NO_ANSWER)
        response = await self._interaction(request, client, is_answered=mode != "accept-then-timeout")
        if fault is not None and mode == "accept-then-timeout":
            await asyncio.sleep(fault.seconds)
            return _Hangup(status_code=_NO_ANSWER)
        return response

    async def _interaction(self, request: Request, client: str, *, is_answered: bool) -> Response:
        kind = records.BY_LOWER.get(request.path_params["kind"].lower())
        if kind is None:
            raise Refused(404, "not-supported", "this resource type is not kept here")
        identifier = request.path_params.get("identifier")
        if request.url.path.endswith("/merge/"):
            return await self._merge(request, kind, client, is_answered=is_answered)
        if request.method == "GET":
            return await (self._search(request, kind) if identifier is None else self._read(kind, identifier))
        if kind == "Task" and identifier is None:
            raise Refused(405, "not-supported", f"{kind} cannot be written here")
        body = await _body(request)
        if self._dialect.current == "vendor":
            body = dialect.to_strict(body, kind)
        if identifier is None:
            query = request.headers.get("If-None-Exist")
            condition = None if query is None else dict(parse_qsl(query.lstrip("?"), keep_blank_values=True))

            def create(work: Work) -> records.Stored:
                stored = records.create(work, kind, body, client, condition)
                _note(work, request, (201 if stored.was_created else 200) if is_answered else _NO_ANSWER)
                return stored

            stored = await self._store.write(create)
            response = self._resource(stored, 201 if stored.was_created else 200)
            response.headers["Location"] = f"{_base(request)}/{kind}/{stored.body['id']}/_history/{stored.version}"
            return response
        expected = _version(request.headers.get("If-Match"))

        def update(work: Work) -> records.Stored:
            stored = records.update(work, kind, identifier, body, by=client, expected=expected)
            _note(work, request, 200 if is_answered else _NO_ANSWER)
            return stored

        return self._resource(await self._store.write(update), 200)

    async def _merge(self, request: Request, kind: str, client: str, *, is_answered: bool) -> Response:
        if kind != "Patient":
            raise Refused(404, "not-supported", f"{kind} has no operation merge")
        keep, replace = (request.query_params.get(name, "") for name in ("keepPatientId", "replacePatientId"))

        def merge(work: Work) -> records.Stored:
            stored = merging.merge(work, keep, replace, client)
            _note(work, request, 200 if is_answered else _NO_ANSWER)
            return stored

        return self._resource(await self._store.write(merge), 200)

    async def _read(self, kind: str, identifier: str) -> Response:
        return self._resource(await self._store.read(lambda work: records.read(work, kind, identifier)), 200)

    async def _search(self, request: Request, kind: str) -> Response:
        given = dict(request.query_params)
        count = min(_whole(given.pop("_count", "20"), "_count"), _LONGEST_PAGE)
        page = _whole(given.pop("page", "1"), "page")
        matches, total = await self._store.read(lambda work: records.search(work, kind, given, count=count, page=page))
        address = f"{_base(request)}/{kind}"

        def link(relation: str, number: int) -> dict[str, str]:
            return {"relation": relation, "url": f"{address}?{urlencode({**given, '_count': count, 'page': number})}"}

        links = [link("self", page)]
        if page * count < total:
            links.append(link("next", page + 1))
        bundle: dict[str, Any] = {"resourceType": "Bundle", "type": "searchset", "total": total, "link": links}
        if matches:
            bundle["entry"] = [
                {
                    "fullUrl": f"{address}/{match.body['id']}",
                    "resource": self._shown(match.body),
                    "search": {"mode": "match"},
                }
                for match in matches
            ]
        return _answer(bundle, 200)

    async def metadata(self, request: Request) -> Response:
        """The CapabilityStatement."""
        interactions = ("read", "search-type", "create", "update")
        resources = [
            {
                "type": kind,
                "interaction": [{"code": code} for code in interactions],
            }
            for kind in records.KINDS
            if kind not in CUSTOM_TYPES  # a CapabilityStatement names R4's types alone
        ]
        statement = {
            "resourceType": "CapabilityStatement",
            "status": "active",
            "date": "2026-11-01",
            "kind": "instance",
            "implementation": {"description": "OmegaAI simulator for development", "url": _base(request)},
            "fhirVersion": "4.0.1",
            "format": ["application/fhir+json"],
            "rest": [{"mode": "server", "resource": resources}],
        }
        return _answer(statement, 200)

    def _shown(self, body: dict[str, Any]) -> dict[str, Any]:
        return dialect.to_vendor(body) if self._dialect.current == "vendor" else body

    def _resource(self, stored: records.Stored, status: int) -> Response:
        response = _answer(self._shown(stored.body), status)
        response.headers["ETag"] = f'W/"{stored.version}"'
        response.headers["Last-Modified"] = stored.body["meta"]["lastUpdated"]
        return response


class _Hangup(Response):
    """Closes the connection instead of answering. ASGI cannot do this, so the class uses the server's transport."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        cycle = getattr(receive, "__self__", None)
        cycle.transport.abort()  # type: ignore[union-attr]  # uvicorn's request cycle


def _note(work: Work, request: Request, status: int) -> None:
    work.record("in", "http", request.url.path, {"method": request.method, "status": status})


def _answer(body: Mapping[str, Any], status: int) -> Response:
    return Response(json.dumps(body, ensure_ascii=False), status, media_type=FHIR_JSON)


def _base(request: Request) -> str:
    return f"{request.url.scheme}://{request.url.netloc}/fhir"


async def _body(request: Request) -> dict[str, Any]:
    media = request.headers.get("Content-Type", "").partition(";")[0].strip()
    if media not in {FHIR_JSON, "application/json"}:
        raise Refused(415, "not-supported", f"send {FHIR_JSON}")
    try:
        body = json.loads(await request.body())
    except (ValueError, RecursionError, ClientDisconnect):
        raise Refused(400, "structure", "the body is not JSON") from None
    if not isinstance(body, dict):
        raise Refused(400, "structure", "the body is not a resource")
    return body


def _version(etag: str | None) -> int | None:
    if etag is None:
        return None
    match = _ETAG.fullmatch(etag.strip())
    if match is None:
        raise Refused(400, "invalid", "If-Match is not an ETag of ours")
    return int(match[1])


def _whole(text: str, name: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise Refused(400, "invalid", f"{name} is a whole number from 1")
    return int(text)
