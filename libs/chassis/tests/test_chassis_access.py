"""Routes declare who may see them: nothing is served that does not, and roles, surfaces and tokens are kept apart."""

import asyncio
import base64
import itertools
import os
import signal

import httpx
import pytest
from pydantic import SecretStr, ValidationError
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from chassis.host import Service
from chassis.observe import Metrics
from chassis.settings import HttpSettings
from chassis.testing import eventually
from chassis.web import access
from chassis.web.access import Access, Role, UndeclaredRoute
from chassis.web.guard import Guard, header_names
from local_stack.ports import free_port

OURS = {"Sec-Fetch-Site": "same-origin"}
TOKEN = "a-token-of-more-than-32-characters"
PEOPLE = "vera:viewer:vera's words\nolga:operator:olga's: words\nada:admin:ada's words"
PASSWORDS = {"vera": "vera's words", "olga": "olga's: words", "ada": "ada's words"}
DECLARING = {
    Access.PUBLIC: access.public, Access.PATIENT_SESSION: access.patient_session, Access.SERVICE: access.service,
    Access.VIEWER: access.viewer, Access.OPERATOR: access.operator, Access.ADMIN: access.admin,
    Access.LOGIN: access.login, Access.PROBE: access.probe,
}  # fmt: skip


def page(_request) -> PlainTextResponse:
    return PlainTextResponse("shown")


def each_kind() -> list[access.Declared]:
    return [
        route
        for kind, declare in DECLARING.items()
        for route in declare(Route(path_of(kind), page), Route(path_of(kind) + "/act", page, methods=["POST"]))
    ]


def path_of(kind: Access) -> str:
    return f"/{kind.replace(' ', '-')}"


async def session_of(request) -> object | None:
    return "a session" if request.cookies.get("patient") == "known" else None


def http(**more) -> HttpSettings:
    return HttpSettings(people=SecretStr(PEOPLE), service_tokens=SecretStr(f"forms:{TOKEN}"), **more)


def guard(surface, **more) -> Guard:
    return Guard(each_kind(), http(), surface=surface, patient_session=session_of, **more)


def asker(app: Guard, **headers: str) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=headers)


def basic(name: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{PASSWORDS[name]}".encode()).decode()


WHO = {
    "nobody": {},
    "vera": {"Authorization": basic("vera")},
    "olga": {"Authorization": basic("olga")},
    "ada": {"Authorization": basic("ada")},
    "a patient": {"Cookie": "patient=known"},
    "a service": {"Authorization": f"Bearer {TOKEN}"},
}
ALLOWED = {
    ("console", Access.SERVICE): {"a service"},
    ("console", Access.VIEWER): {"vera", "olga", "ada"},
    ("console", Access.OPERATOR): {"olga", "ada"},
    ("console", Access.ADMIN): {"ada"},
    ("console", Access.LOGIN): set(WHO),
    ("console", Access.PROBE): set(WHO),
    ("public", Access.PUBLIC): set(WHO),
    ("public", Access.PATIENT_SESSION): {"a patient"},
}


@pytest.mark.parametrize(("surface", "kind"), list(itertools.product(("console", "public"), Access)))
async def test_each_declaration_lets_pass_whom_it_names_and_nobody_else(surface, kind) -> None:
    allowed = ALLOWED.get((surface, kind), set())
    for who, headers in WHO.items():
        async with asker(guard(surface), **headers) as client:
            seen = await client.get(path_of(kind))
            acted = await client.post(path_of(kind) + "/act", headers=OURS)
        assert ((seen.status_code == 200), (acted.status_code == 200)) == (who in allowed, who in allowed), who
        assert {seen.status_code, acted.status_code} <= {200, 401, 403, 404}


@pytest.mark.parametrize("surface", ["console", "public"])
async def test_an_act_comes_from_an_own_page_on_either_surface(surface) -> None:
    kind = Access.OPERATOR if surface == "console" else Access.PUBLIC
    async with asker(guard(surface), Authorization=basic("olga")) as client:
        for headers in ({}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "http://elsewhere.example"}):
            assert (await client.post(path_of(kind) + "/act", headers=headers)).status_code == 403


async def test_a_route_that_no_one_has_is_not_told_to_somebody_unknown() -> None:
    async with asker(guard("console")) as nobody, asker(guard("console"), Authorization=basic("vera")) as vera:
        assert (await nobody.get("/nowhere")).status_code == 401
        assert (await vera.get("/nowhere")).status_code == 404
        assert (await nobody.get("/viewer/")).status_code == 401
        assert (await nobody.delete("/viewer")).status_code == 401


@pytest.mark.parametrize("route", [Route("/forgotten", page), Mount("/forgotten", Starlette())])
def test_a_route_that_declares_nothing_is_refused_at_start_by_name(route) -> None:
    for build in (
        lambda: Guard([*each_kind(), route], http()),
        lambda: Service("demo", http(), Metrics(), {}, {}, routes=[*access.viewer(Route("/links", page)), route]),
    ):
        with pytest.raises(UndeclaredRoute) as refused:
            build()
        assert len(refused.value.problems) == 1
        assert "/forgotten" in refused.value.problems[0]
        assert "\n" not in refused.value.problems[0]


async def test_a_declared_route_outside_a_guard_serves_nothing() -> None:
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(Starlette(routes=each_kind())), base_url="http://localhost"
    ) as client:
        assert [(await client.get(path_of(kind))).status_code for kind in Access] == [403] * len(Access)


def test_patients_routes_need_something_that_knows_patients() -> None:
    routes = access.patient_session(Route("/share", page))
    with pytest.raises(UndeclaredRoute, match="/share"):
        Service("demo", http(), Metrics(), {}, {}, routes=routes)
    Service("demo", http(), Metrics(), {}, {}, routes=routes, patient_session=session_of)


def test_roles_are_ordered() -> None:
    order = [Role.VIEWER, Role.OPERATOR, Role.ADMIN]
    assert [[one.includes(other) for other in order] for one in order] == [
        [True, False, False], [True, True, False], [True, True, True],
    ]  # fmt: skip


async def test_each_surface_has_its_policy() -> None:
    policies = {}
    for surface, kind in (("console", Access.LOGIN), ("console", Access.PROBE), ("public", Access.PUBLIC)):
        async with asker(guard(surface)) as client:
            answer = await client.get(path_of(kind))
            policies[kind] = answer.headers["content-security-policy"]
            assert {name.lower() for name in header_names()} <= set(answer.headers)
    assert len(set(policies.values())) == 3
    assert all("default-src 'none'" in one and "frame-ancestors 'none'" in one for one in policies.values())
    assert not any("unsafe" in one for one in policies.values())
    assert "script-src" not in policies[Access.PROBE]


async def test_guessed_tokens_are_braked() -> None:
    async with asker(guard("console")) as client:
        guesses = [
            await client.get(path_of(Access.SERVICE), headers={"Authorization": f"Bearer guess-{number}"})
            for number in range(8)
        ]
    assert [one.status_code for one in guesses] == [401] * 5 + [429] * 3


@pytest.mark.parametrize(
    ("people", "words"),
    [
        ("vera", "line 1 is not"), ("vera:viewer:", "line 1 is not"), (":viewer:words", "line 1 is not"),
        ("vera:viewer:words\nolga:boss:words", "line 2 names no role"),
        ("vera:viewer:words\nvera:admin:words", "line 2 names somebody a second time"),
    ],
)  # fmt: skip
def test_people_that_cannot_be_read_are_named_by_line(people, words) -> None:
    with pytest.raises(ValidationError, match=words) as refused:
        HttpSettings(people=SecretStr(people))
    assert "words" not in str(refused.value.errors(include_input=False)[0]["msg"])


async def test_the_public_port_serves_what_is_for_the_internet_and_nothing_of_the_console() -> None:
    console, public = free_port(), free_port()
    service = Service(
        "demo", http(port=console, public_port=public), Metrics(), {}, {}, routes=each_kind(),
        patient_session=session_of,
    )  # fmt: skip
    running = asyncio.create_task(service.run())
    try:
        async with httpx.AsyncClient(headers={"Authorization": basic("ada"), "Cookie": "patient=known"}) as client:
            await _until_served(client, f"http://127.0.0.1:{console}/livez")
            statuses = {
                (port, kind): (await client.get(f"http://127.0.0.1:{port}{path_of(kind)}")).status_code
                for port, kind in itertools.product((console, public), Access)
            }
            for path in ("/livez", "/readyz", "/metrics", "/console", "/console/static/suite.css", "/"):
                assert (await client.get(f"http://127.0.0.1:{public}{path}")).status_code == 404
    finally:
        os.kill(os.getpid(), signal.SIGTERM)
        await running
    public_kinds = {Access.PUBLIC, Access.PATIENT_SESSION}
    assert {kind for kind in Access if statuses[public, kind] == 200} == public_kinds
    assert {kind for kind in Access if statuses[console, kind] == 404} == public_kinds


async def _until_served(client: httpx.AsyncClient, url: str) -> None:
    async def served() -> bool:
        try:
            return (await client.get(url)).status_code < 500
        except httpx.TransportError:
            return False

    await eventually(served)
