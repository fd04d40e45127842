"""A small FHIR server on a real socket, written from docs/architecture/wire.md.

It has tokens, conditional writes, Tasks and the feed. It is a fake of OmegaAI for tests that control each answer; the
simulator has its own code and tests.
"""

import asyncio
import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from urllib.parse import parse_qsl

import aiohttp
from aiohttp import WSMsgType, web

from omegaai.client import FhirClient
from omegaai.token import TokenSource

FHIR = "application/fhir+json"
Json = dict


def service(service_id: str, name: str, organization: str, modality: str, minutes: int = 30) -> Json:
    root = "http://www.ramsoft.com/fhir/StructureDefinition/"
    return {
        "resourceType": "HealthcareService", "id": service_id, "active": True, "name": name,
        "providedBy": {"reference": f"Organization/{organization}"},
        "extension": [
            {"url": f"{root}modality", "valueCode": modality}, {"url": f"{root}Duration", "valueInteger": minutes},
            {"url": f"{root}overBooking", "valueBoolean": False},
        ],
        "availableTime": [{"daysOfWeek": ["mon"], "availableStartTime": "08:00:00", "availableEndTime": "23:00:00"}],
    }  # fmt: skip


class FakeOmegaAI:
    """The resources by (type, id), every request in ``requests``, and prepared answers in ``instead``."""

    def __init__(self) -> None:
        self.resources: dict[tuple[str, str], Json] = {}
        self.requests: list[tuple[str, str]] = []
        self.instead: list[tuple[Callable[[web.Request], bool], Callable[[web.Request], web.Response]]] = []
        self.tokens_given = 0
        self.token_lifetime_seconds = 3600
        self.client_secret = "development-secret"
        self.valid_tokens: set[str] = set()
        self.sockets: set[web.WebSocketResponse] = set()
        self.makes_tasks = True
        self.page_size = 100
        self.tells_changes = False
        """Whether it knows ``_lastUpdated``, says so, and gives each resource its time."""
        self.searched: list[dict[str, str]] = []
        """The queries about Appointments."""
        self._counter = Counter[str]()
        self.base_url = ""
        self.closed_with: int | None = None
        """A status with which a web page answers everything, as before a login or while it is maintained."""
        self.put_directly(Json(resourceType="Organization", id="1", name="Northside Health"))
        for number, name in (("2", "Northside Imaging"), ("3", "Lakeshore Imaging")):
            self.put_directly(
                Json(resourceType="Organization", id=number, name=name, partOf={"reference": "Organization/1"})
            )
        self.put_directly(service("hs-1", "BLUME CT", "2", "CT"))
        self.put_directly(service("hs-2", "BLUME MR", "2", "MR", 45))
        self.put_directly(service("hs-3", "LAKE CT", "3", "CT"))

    # Called by tests.

    def put_directly(self, resource: Json) -> Json:
        """Store a resource without a request: a new version, and a Task as for any update."""
        key = resource["resourceType"], resource["id"]
        version = int(self.resources.get(key, {}).get("meta", {}).get("versionId", 0)) + 1
        meta = {"versionId": str(version)}
        if self.tells_changes:
            meta["lastUpdated"] = datetime.now(UTC).isoformat(timespec="milliseconds")
        stored = json.loads(json.dumps({**resource, "meta": meta}))
        self.resources[key] = stored
        if key[0] in ("Patient", "Appointment") and self.makes_tasks:
            self._make_task(*key)
        return stored

    def all(self, resource_type: str) -> list[Json]:
        return [one for (kind, _), one in self.resources.items() if kind == resource_type]

    def patient_sets(self, appointment_id: str, status: str, **more: object) -> Json:
        """The change that Blume makes when the patient presses a button."""
        current = self.resources["Appointment", appointment_id]
        return self.put_directly({**current, "status": status, **more})

    def answer_once(
        self, matches: Callable[[web.Request], bool], answer: Callable[[web.Request], web.Response]
    ) -> None:
        self.instead.append((matches, answer))

    def open_tasks(self) -> list[Json]:
        return [one for one in self.all("Task") if one["status"] == "ready"]

    async def announce(self) -> None:
        record = json.dumps({"type": 1, "target": "resourceChanged", "arguments": [{"resourceType": "Appointment"}]})
        for socket in self.sockets:
            await socket.send_str(record + "\x1e")

    # The server.

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["FakeOmegaAI"]:
        app = web.Application(middlewares=[self._middleware])
        app.router.add_post("/auth/oauth2/v2.0/token", self._token)
        app.router.add_get("/auth/Token/SignalRConnectionInfo", self._negotiate)
        app.router.add_get("/hub", self._hub)
        app.router.add_get("/fhir/metadata", self._metadata)
        app.router.add_post("/fhir/patient/merge/", self._merge)
        app.router.add_route("*", "/fhir/{type}", self._type)
        app.router.add_route("*", "/fhir/{type}/{id}", self._instance)
        runner = web.AppRunner(app, shutdown_timeout=1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = site._server.sockets[0].getsockname()[1]
        self.base_url = f"http://127.0.0.1:{port}"
        try:
            yield self
        finally:
            for socket in list(self.sockets):
                await socket.close()
            await runner.cleanup()

    @web.middleware
    async def _middleware(self, request: web.Request, handler: Callable) -> web.StreamResponse:
        self.requests.append((request.method, request.path))
        for position, (matches, answer) in enumerate(self.instead):
            if matches(request):
                del self.instead[position]
                return answer(request)
        if self.closed_with is not None:
            page = "<html>to the login</html>"
            return web.Response(status=self.closed_with, text=page, headers={"Location": "/login"})
        if request.path.startswith("/fhir"):
            token = request.headers.get("Authorization", "").removeprefix("Bearer ")
            if token not in self.valid_tokens:
                return web.Response(status=401)
        return await handler(request)

    async def _token(self, request: web.Request) -> web.Response:
        form = await request.post()
        if (form.get("client_id"), form.get("client_secret")) != ("suite", self.client_secret):
            return web.json_response({"error": "invalid_client"}, status=401)
        self.tokens_given += 1
        token = f"token-{self.tokens_given}"
        self.valid_tokens.add(token)
        return web.json_response(
            {"token_type": "Bearer", "access_token": token, "expires_in": self.token_lifetime_seconds}
        )

    async def _negotiate(self, _: web.Request) -> web.Response:
        return web.json_response({"url": f"{self.base_url}/hub", "accessToken": "hub-token", "expired": False})

    async def _hub(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sockets.add(socket)
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT and "protocol" in message.data:
                    await socket.send_str("{}\x1e")
        finally:
            self.sockets.discard(socket)
        return socket

    async def _metadata(self, _: web.Request) -> web.Response:
        known = [{"name": "_lastUpdated", "type": "date"}] if self.tells_changes else []
        resource = {"type": "Appointment", "searchParam": [{"name": "date", "type": "date"}, *known]}
        statement = {"resourceType": "CapabilityStatement", "rest": [{"mode": "server", "resource": [resource]}]}
        return web.json_response(statement, content_type=FHIR)

    async def _type(self, request: web.Request) -> web.Response:
        kind = self._kind(request)
        if request.method == "POST":
            return self._create(kind, await request.json(), request.headers.get("If-None-Exist"))
        found = [one for one in self.all(kind) if self._matches(one, request.query)]
        if kind == "Appointment":
            self.searched.append(dict(request.query))
        count = min(int(request.query.get("_count", "50")), self.page_size)
        page = int(request.query.get("page", "1"))
        shown = found[(page - 1) * count : page * count]
        links = []
        if page * count < len(found):
            url = request.url.update_query(page=str(page + 1))
            links.append({"relation": "next", "url": str(url)})
        bundle = {"resourceType": "Bundle", "type": "searchset", "total": len(found), "link": links,
                  "entry": [{"resource": one} for one in shown]}  # fmt: skip
        return web.json_response(bundle, content_type=FHIR)

    async def _instance(self, request: web.Request) -> web.Response:
        key = self._kind(request), request.match_info["id"]
        current = self.resources.get(key)
        if current is None:
            return web.Response(status=404)
        if request.method == "PUT":
            wanted = request.headers.get("If-Match")
            if wanted is None:
                return web.Response(status=428)
            if wanted != f'W/"{current["meta"]["versionId"]}"':
                return web.Response(status=412)
            current = self.put_directly({**(await request.json()), "resourceType": key[0], "id": key[1]})
        return self._found(current)

    async def _merge(self, request: web.Request) -> web.Response:
        keep, replace = request.query["keepPatientId"], request.query["replacePatientId"]
        kept, ended = self.resources.get(("Patient", keep)), self.resources.get(("Patient", replace))
        if kept is None or ended is None or "link" in ended:
            return web.Response(status=404)
        link = [{"type": "replaced-by", "other": {"reference": f"Patient/{keep}"}}]
        self.put_directly({**ended, "identifier": [], "active": False, "link": link})
        for one in self.all("Appointment"):
            if f'"Patient/{replace}"' in json.dumps(one):
                moved = json.dumps(one).replace(f'"Patient/{replace}"', f'"Patient/{keep}"')
                self.put_directly(json.loads(moved))
        return self._found(kept)

    def _create(self, kind: str, body: Json, condition: str | None) -> web.Response:
        if condition is not None:
            wanted = dict(parse_qsl(condition))
            matches = [one for one in self.all(kind) if self._is_asked_for(one, wanted)]
            if len(matches) > 1:
                return web.Response(status=412)
            if matches:
                return self._found(matches[0])
        self._counter[kind] += 1
        return self._found(self.put_directly({**body, "id": f"{kind.lower()}-{self._counter[kind]}"}), status=201)

    @staticmethod
    def _is_asked_for(resource: Json, wanted: dict[str, str]) -> bool:
        """Whether If-None-Exist's conditions all hold: an identifier with its system, and the taking-part patient."""
        names = {f"{one.get('system', '')}|{one['value']}" for one in resource.get("identifier", [])}
        actors = {one["actor"]["reference"] for one in resource.get("participant", [])}
        return wanted["identifier"] in names and wanted.get("patient") in {None, *actors}

    def _found(self, resource: Json, status: int = 200) -> web.Response:
        version = resource["meta"]["versionId"]
        return web.json_response(resource, status=status, headers={"ETag": f'W/"{version}"'}, content_type=FHIR)

    def _make_task(self, kind: str, resource_id: str) -> None:
        self._counter["Task"] += 1
        number = f"task-{self._counter['Task']}"
        self.resources["Task", number] = {
            "resourceType": "Task", "id": number, "meta": {"versionId": "1"}, "status": "ready", "intent": "order",
            "reasonCode": {"coding": [{"code": "mirthoutbound"}]}, "focus": {"reference": f"{kind}/{resource_id}"},
            "authoredOn": f"2026-11-25T14:30:{self._counter['Task'] % 60:02}Z",
        }  # fmt: skip

    def _matches(self, resource: Json, query: object) -> bool:
        wanted = dict(query)
        if "status" in wanted and resource.get("status") != wanted["status"]:
            return False
        day, asked = resource.get("start", "")[:10], wanted.get("date")
        if asked is not None and (day < asked[2:] if asked.startswith("ge") else day != asked):
            return False
        if "identifier" in wanted:
            names = {f"{one.get('system', '')}|{one.get('value')}" for one in resource.get("identifier", [])}
            if wanted["identifier"] not in names:
                return False
        if self.tells_changes and "_lastUpdated" in wanted:
            since = datetime.fromisoformat(wanted["_lastUpdated"].removeprefix("ge"))
            if datetime.fromisoformat(resource["meta"]["lastUpdated"]) < since:
                return False
        owner = re.sub(r".*/", "", resource.get("providedBy", {}).get("reference", ""))
        return "organization" not in wanted or owner == wanted["organization"]

    def _kind(self, request: web.Request) -> str:
        known = ("Patient", "Appointment", "Practitioner", "HealthcareService", "Organization", "Task",
                 "AssigningAuthority", "StudyType", "ProcedureCode")  # fmt: skip
        return next(kind for kind in known if kind.lower() == request.match_info["type"].lower())


async def until(condition: Callable[[], object], timeout_seconds: float = 60) -> None:
    """Wait for a condition, with a deadline."""
    async with asyncio.timeout(timeout_seconds):
        while not condition():
            await asyncio.sleep(0.01)


def client_of(base_url: str, session: aiohttp.ClientSession) -> FhirClient:
    values = {"client_id": "suite", "client_secret": "development-secret", "scope": "api"}
    return FhirClient(session, base_url, TokenSource(session, f"{base_url}/auth/oauth2/v2.0/token", **values))
