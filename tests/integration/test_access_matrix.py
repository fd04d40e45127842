"""Asks each service's real application over HTTP: each route and method, as nobody, in each role, as a service."""

import base64
import importlib
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import httpx
import pytest
from starlette.convertors import IntegerConvertor
from starlette.routing import Mount

from chassis.host import Service
from chassis.store import migrations
from chassis.web.access import Declared, Role
from local_stack.settings import ROOT
from roster import access, roster
from simulator_kit.serving import serving

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS")
TOKEN = "a-token-of-more-than-32-characters"
PEOPLE = {role: f"words of {role}" for role in Role}
REFUSED = {401, 403}
SERVICES = [one.name for one in roster().services]


def headers_of(who: str) -> dict[str, str]:
    """Acts come from a page of the service.

    A service's token is worth nothing on a page for people, and the reverse.
    """
    ours = {"Sec-Fetch-Site": "same-origin"}
    if who in PEOPLE:
        return ours | {"Authorization": f"Basic {base64.b64encode(f'{who}:{PEOPLE[who]}'.encode()).decode()}"}
    return ours | ({"Authorization": f"Bearer {TOKEN}"} if who == "a service" else {})


@asynccontextmanager
async def running(name: str, database_url: str, monkeypatch) -> AsyncIterator[tuple[Service, str, str]]:
    """The service as its composition root builds it, with the addresses of its console and its public port."""
    member = roster().by_name[name]
    definition = importlib.import_module(f"{member.package}.__main__").DEFINITION
    monkeypatch.setenv(f"{member.prefix}_STORE__URL", database_url)
    monkeypatch.setenv(f"{member.prefix}_SITE_FILE", str(ROOT / "deploy" / "site" / "northside.yaml"))
    monkeypatch.setenv(f"{member.prefix}_HTTP__PEOPLE", "\n".join(f"{who}:{who}:{PEOPLE[who]}" for who in PEOPLE))
    monkeypatch.setenv(f"{member.prefix}_HTTP__SERVICE_TOKENS", f"forms:{TOKEN}")
    monkeypatch.setenv(f"{member.prefix}_HTTP__OIDC__ISSUER", "http://127.0.0.1:1")
    monkeypatch.setenv(f"{member.prefix}_HTTP__OIDC__CLIENT_ID", name)
    await migrations.run(definition.migrations, database_url)
    service = await definition.build(definition.settings_type())
    service.checks, service.guard = {}, None  # there is no Kafka here
    service._brake.wrong = lambda _address: None  # it gets a thousand wrong requests from one address
    try:
        async with (
            serving(service.app(), "127.0.0.1", 0, close_streams=lambda: None, grace_seconds=1) as console,
            serving(service.public_app(), "127.0.0.1", 0, close_streams=lambda: None, grace_seconds=1) as public,
        ):
            yield service, f"http://127.0.0.1:{console}", f"http://127.0.0.1:{public}"
    finally:
        for close in service.closers:
            await close()


def example(route: Declared) -> str:
    """An address that the route has; for a folder, an address whose file may be missing."""
    if isinstance(route.route, Mount):
        return route.route.path + "/suite.css"
    kinds = route.route.param_convertors
    values = {name: "0" if isinstance(kind, IntegerConvertor) else str(UUID(int=0)) for name, kind in kinds.items()}
    return route.route.path_format.format(**values)


async def status(client: httpx.AsyncClient, method: str, url: str, headers: dict[str, str]) -> int:
    async with client.stream(method, url, headers=headers) as answer:  # some answers have no end
        return answer.status_code


@pytest.mark.stack
@pytest.mark.parametrize("name", SERVICES)
async def test_every_route_lets_pass_whom_it_declares_and_nobody_else(name, database_url, monkeypatch) -> None:
    wrong, tried = [], 0
    async with running(name, database_url, monkeypatch) as (service, console, public), httpx.AsyncClient() as client:
        routes = service.app().routes
        assert len(routes) > 10
        for route, method, who in itertools.product(routes, METHODS, ("nobody", *PEOPLE, "a service")):
            found = await status(client, method, console + example(route), headers_of(who))
            # Only people who may use the route learn that it does not have a method.
            is_allowed = found not in REFUSED
            tried += 1
            if is_allowed is not (who in access.ALLOWED[route.access]):
                wrong.append((method, route.path, who, found))
        asked = [("admin", public + example(route), 404) for route in routes]  # not on the public port
        paths = ("/nowhere", "/console/nowhere", "/docs", "/openapi.json", "/console/", "/static/x", "//console")
        asked += [("nobody", console + path, 401) for path in paths]
        answers = [(who, url, await status(client, "GET", url, headers_of(who)), wanted) for who, url, wanted in asked]
        wrong += [one for one in answers if one[2] != one[3]]
    assert wrong == []
    assert tried == len(routes) * len(METHODS) * 5


@pytest.mark.stack
@pytest.mark.parametrize("name", SERVICES)
async def test_the_page_tells_of_the_application_that_runs(name, database_url, monkeypatch) -> None:
    async with running(name, database_url, monkeypatch) as (service, _, _):
        told = {
            (method, route.path, str(route.access))
            for app in (service.app(), service.public_app())
            for route in app.routes
            for method in route.methods
        }
    page = (ROOT / access.PAGE).read_text(encoding="utf-8")
    section = page.split(f"## {name}\n")[1].split("\n## ")[0]
    rows = [line.split(" | ") for line in section.splitlines() if line.startswith("| ") and "`" in line]
    listed = {(row[0].strip("| ").split(" ")[0], row[0].split("`")[1], row[1]) for row in rows}
    assert listed == told


def test_each_column_of_the_page_is_what_the_code_lets_pass() -> None:
    """The page has its own hand-written table of who passes, so that a change in the code shows there."""
    people = [role for role in access.COLUMNS if role in set(Role)]
    for kind in Role:
        assert [Role(one).includes(kind) for one in people] == [one in access.ALLOWED[kind] for one in people]
