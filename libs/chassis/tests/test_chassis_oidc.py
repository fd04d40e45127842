"""People come in by the development identity provider over real HTTP: what lets them in, and what does not."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import httpx
import pytest
from joserfc.jwk import ECKey
from pydantic import SecretStr, ValidationError
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from chassis.clock import utc_now
from chassis.errors import StoreUnavailable
from chassis.host import Service
from chassis.observe import Metrics
from chassis.settings import HttpSettings, OidcSettings, SessionSettings
from chassis.store import Store, Transaction
from chassis.web import access, sessions
from chassis.web.console import Console
from chassis.web.guard import actor_of
from chassis.web.oidc import WrongProvider
from chassis.web.oidc import provider as provider_module
from chassis.web.oidc.login import own_path
from identity_sim.app import FALSE_CLAIMS, Provider, opened
from identity_sim.settings import Settings
from simulator_kit.serving import serving

pytestmark = pytest.mark.stack
OURS = {"Sec-Fetch-Site": "same-origin"}
BACKGROUND = {"Sec-Fetch-Mode": "cors"}


def nothing() -> None:
    """No streams to close."""


@pytest.fixture
async def identity(tmp_path: Path) -> AsyncIterator[Provider]:
    """The provider, served; its issuer is its address."""
    async with (
        opened(Settings(data_dir=tmp_path)) as one,
        serving(one.app, "127.0.0.1", 0, close_streams=nothing) as port,
    ):
        object.__setattr__(one, "settings", Settings(data_dir=tmp_path, issuer=f"http://127.0.0.1:{port}"))
        yield one


def settings(identity: Provider, environment: str = "development", **more) -> HttpSettings:
    oidc = {
        "issuer": identity.settings.issuer, "client_id": "demo", "client_secret": SecretStr("development-secret"),
        "timeout_seconds": 2.0, **more.pop("oidc", {}),
    }  # fmt: skip
    http = HttpSettings(oidc=OidcSettings(**oidc), **more)
    http._environment = environment
    return http


async def who(request) -> PlainTextResponse:
    return PlainTextResponse(actor_of(request))


def service(store: Store, http: HttpSettings) -> Service:
    routes = [
        *access.viewer(Route("/see", who)), *access.operator(Route("/act", who, methods=["POST"])),
        *access.admin(Route("/set-up", who, methods=["POST"])),
    ]  # fmt: skip
    console = Console(store, "demo", destinations=("partner",))
    return Service("demo", http, Metrics(), {}, {}, routes=routes, console=console)


@dataclass
class Site:
    service: Service
    address: str

    @property
    def door(self):
        return self.service._door

    def browser(self, **more) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.address, trust_env=False, **more)


@asynccontextmanager
async def site(store: Store, http: HttpSettings) -> AsyncIterator[Site]:
    one = service(store, http)
    await one._door.provider.start()
    try:
        async with serving(one.app(), "127.0.0.1", 0, close_streams=nothing) as port:
            yield Site(one, f"http://127.0.0.1:{port}")
    finally:
        await one._door.provider.close()


@pytest.fixture
async def demo(store: Store, identity: Provider) -> AsyncIterator[Site]:
    async with site(store, settings(identity)) as one:
        yield one


def page_of_people(text: str) -> dict[str, str]:
    found = re.search(r'name="handle" value="([^"]+)"', text)
    assert found, text
    return {"handle": found[1]}


async def call_back(browser: httpx.AsyncClient, person: str = "operator", there: str = "/see") -> str:
    """Goes as far as the address by which the browser comes back with a code."""
    asked = await browser.get(there)
    assert asked.status_code == 303
    first = await browser.get(asked.headers["location"])  # the page with the first click
    start = re.search(r'href="(/login/start[^"]*)"', first.text)
    assert start, first.text
    leading = await browser.get(start[1].replace("&amp;", "&"))
    place = leading.headers["location"]
    page = await browser.get(place)
    answer = await browser.post(f"{place.partition('?')[0]}", data=page_of_people(page.text) | {"person": person})
    return answer.headers["location"]


async def log_in(browser: httpx.AsyncClient, person: str = "operator", there: str = "/see") -> httpx.Response:
    return await browser.get(await call_back(browser, person, there))


def session_of(browser: httpx.AsyncClient) -> str | None:
    return browser.cookies.get("session-demo")


# ---- coming in and going ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("person", "allowed"), [("viewer", [200, 403, 403]), ("operator", [200, 200, 403]), ("admin", [200, 200, 200])]
)
async def test_two_clicks_log_a_person_in_with_the_role_of_the_claim(demo: Site, store: Store, person, allowed) -> None:
    async with demo.browser() as browser:
        back = await log_in(browser, person, "/see?state=open&page=2")
        assert (back.status_code, back.headers["location"]) == (303, "/see?state=open&page=2")
        answers = [
            await browser.get("/see"),
            await browser.post("/act", headers=OURS),
            await browser.post("/set-up", headers=OURS),
        ]
        assert [one.status_code for one in answers] == allowed
        name = {"viewer": "vera", "operator": "olga", "admin": "ada"}[person]
        assert re.fullmatch(rf"{name} \([0-9a-f-]+\)", answers[0].text)
        console = await browser.get("/console")
        assert f"{name} · {person}" in console.text
        assert 'action="/logout"' in console.text
    logged = await store.pool.fetchrow("SELECT actor, action, subject FROM operator_audit")
    assert tuple(logged) == (answers[0].text, "person.log-in", person)
    kept = await store.pool.fetchrow("SELECT * FROM web_sessions")
    assert session_of(browser) is not None
    assert session_of(browser).encode() not in bytes(kept["token_hash"])


async def test_every_act_of_the_console_carries_the_persons_name_and_subject(demo: Site, store: Store) -> None:
    async with store.pool.acquire() as connection, connection.transaction():
        transaction = Transaction(connection)
        identifier = transaction.deliver("partner", key=uuid4(), kind="k", payload=b"", idempotency_key="one")
        await transaction.flush()
        await connection.execute("UPDATE deliveries SET state = 'dead', attempts = 2 WHERE id = $1", identifier)
    async with demo.browser() as browser:
        await log_in(browser)
        await browser.post(f"/console/deliveries/{identifier}/retry", headers=OURS)
        actor = (await browser.get("/see")).text
    acts = await store.pool.fetch("SELECT actor FROM operator_audit WHERE action = 'delivery.retry'")
    assert [row["actor"] for row in acts] == [actor]
    assert actor.startswith("olga (")


async def test_log_out_ends_the_session_also_for_a_copy_of_its_cookie(demo: Site, identity: Provider, store) -> None:
    async with demo.browser() as browser, demo.browser() as thief:
        await log_in(browser)
        thief.cookies.set("session-demo", session_of(browser), domain="127.0.0.1")
        assert (await thief.get("/see")).status_code == 200
        assert (await browser.post("/logout")).status_code == 403, "another site's page could log people out"
        gone = await browser.post("/logout", headers=OURS)
        place = urlsplit(gone.headers["location"])
        assert gone.headers["location"].startswith(f"{identity.settings.issuer}/end-session?client_id=demo")
        assert parse_qs(place.query)["post_logout_redirect_uri"] == [f"{demo.address}/logged-out"]
        after = await browser.get(gone.headers["location"], follow_redirects=True)
        assert "You are logged out" in after.text
        assert session_of(browser) is None
        assert (await thief.get("/see")).status_code == 303
    assert await store.pool.fetchval("SELECT count(*) FROM web_sessions") == 0
    assert await store.pool.fetchval("SELECT count(*) FROM operator_audit WHERE action = 'person.log-out'") == 1


async def test_the_console_lets_its_log_out_form_lead_to_the_provider_alone(demo: Site, identity: Provider) -> None:
    async with demo.browser() as browser:
        await log_in(browser)
        policy = (await browser.get("/see")).headers["content-security-policy"]
    assert f"form-action 'self' {identity.settings.issuer};" in policy


async def test_nobody_is_let_in_by_a_session_that_was_planted_and_a_log_in_makes_a_new_one(demo: Site) -> None:
    async with demo.browser() as browser:
        browser.cookies.set("session-demo", "planted", domain="127.0.0.1")
        assert (await browser.get("/see")).status_code == 303
        await log_in(browser)
        first = session_of(browser)
        assert first not in (None, "planted")
        start = await browser.get("/login/start?next=/see")
        page = await browser.get(start.headers["location"])
        form = page_of_people(page.text) | {"person": "admin"}
        answer = await browser.post(start.headers["location"].partition("?")[0], data=form)
        await browser.get(answer.headers["location"])
        assert session_of(browser) not in (None, first)
        browser.cookies.set("session-demo", first, domain="127.0.0.1")
        assert (await browser.get("/see")).status_code == 303, "the session before the log-in goes on"


async def test_what_asks_in_the_background_is_not_led_away(demo: Site) -> None:
    async with demo.browser() as browser:
        for answer in (
            await browser.get("/console/events", headers=BACKGROUND),
            await browser.post("/act", headers=OURS),
        ):
            assert answer.status_code == 401
            assert "location" not in answer.headers


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("/links?state=x", "/links?state=x"), ("//evil.example", "/"), ("https://evil.example", "/"), ("/\\evil", "/"),
        ("/login/start", "/"), ("/a\r\nSet-Cookie: x", "/"), ("", "/"), ("/" + "x" * 3000, "/"), ("/ä", "/"),
    ],
)  # fmt: skip
def test_a_log_in_ends_on_a_page_of_ours(given, wanted) -> None:
    assert own_path(given) == wanted


# ---- cookies and times --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("environment", ["development", "production"])
async def test_cookies_are_out_of_reach_of_scripts_and_outside_development_of_plain_http(
    store: Store, identity: Provider, environment, monkeypatch
) -> None:
    monkeypatch.setattr(provider_module, "DEVELOPMENT_MARK", "as if it were a real one")
    secure = environment == "production"
    where = "https://console.example" if secure else "http://console.example"
    object.__setattr__(identity, "settings", Settings(
        data_dir=identity.settings.data_dir, issuer=identity.settings.issuer, redirects=f"{where}/login/callback",
    ))  # fmt: skip
    async with site(store, settings(identity, environment, allowed_hosts="console.example")) as one:
        host = {"Host": "console.example"}
        async with one.browser(headers=host) as browser, httpx.AsyncClient() as elsewhere:
            start = await browser.get("/login/start?next=/see")
            begun = start.headers["set-cookie"]
            page = await elsewhere.get(start.headers["location"])
            form = page_of_people(page.text) | {"person": "viewer"}
            answer = await elsewhere.post(start.headers["location"].partition("?")[0], data=form)
            assert answer.headers["location"].startswith(f"{where}/login/callback?")
            query = urlsplit(answer.headers["location"]).query
            cookie = begun.partition(";")[0]
            back = await browser.get(f"/login/callback?{query}", headers={"Cookie": cookie})
            given = back.headers.get_list("set-cookie")
    assert back.status_code == 303
    assert len(given) == 2
    for one_cookie in (begun, *given):
        assert "HttpOnly" in one_cookie
        assert "SameSite=lax" in one_cookie
        assert "Path=/" in one_cookie
        assert "Domain" not in one_cookie
        assert ("Secure" in one_cookie) is secure
        assert one_cookie.startswith("__Host-") is secure


async def test_a_session_ends_idle_and_a_page_that_keeps_itself_fresh_is_no_use_of_it(
    store: Store, identity: Provider
) -> None:
    http = settings(identity, session=SessionSettings(idle_minutes=10, longest_hours=1))
    async with site(store, http) as one, one.browser() as browser:
        await log_in(browser)

        async def passes(minutes: float) -> None:
            await store.pool.execute(
                "UPDATE web_sessions SET seen_at = seen_at - $1 * interval '1 minute',"
                " ends_at = ends_at - $1 * interval '1 minute'",
                minutes,
            )

        await passes(6)
        assert (await browser.get("/see", headers=BACKGROUND)).status_code == 200
        await passes(5)
        assert (await browser.get("/see", headers=BACKGROUND)).status_code == 401
        await log_in(browser)
        for _ in range(7):
            assert (await browser.get("/see")).status_code == 200
            await passes(8)
        assert (await browser.get("/see")).status_code == 200, "use kept it"
        await passes(5)
        assert (await browser.get("/see")).status_code == 303, "an hour is its end whatever is used"


async def test_while_the_store_is_away_known_people_go_on_looking_and_nobody_acts(demo: Site, monkeypatch) -> None:
    async with demo.browser() as browser, demo.browser() as stranger:
        await log_in(browser)
        assert (await browser.get("/see")).status_code == 200

        class Away:
            async def fetchrow(self, *_arguments):
                raise StoreUnavailable("the store does not answer")

        monkeypatch.setattr(demo.door.sessions.store, "pool", Away())
        stranger.cookies.set("session-demo", "guess", domain="127.0.0.1")
        assert (await browser.get("/see")).status_code == 200
        assert (await browser.post("/act", headers=OURS)).status_code == 503
        assert (await stranger.get("/see")).status_code == 503
        demo.door.sessions.now = lambda: 1e9 + sessions.WITHOUT_STORE_SECONDS
        assert (await browser.get("/see")).status_code == 503


# ---- what lets nobody in ------------------------------------------------------------------------------------------

WORDS = {
    "wrong-issuer": "another issuer", "wrong-audience": "another client", "two-audiences": "another client",
    "expired": "ended 36", "clock-ahead": "is a clock wrong", "not-yet": "is a clock wrong",
    "other-nonce": "another log-in", "no-role": "nothing in the claim roles", "foreign-role": "is a role here",
    "no-subject": "names nobody", "no-times": "when it was issued", "foreign-key": "does not publish",
    "unsigned": "not trusted", "shared-secret": "not trusted",
}  # fmt: skip


def test_every_false_token_of_the_provider_is_tried() -> None:
    assert set(FALSE_CLAIMS) <= set(WORDS)


@pytest.mark.parametrize("mode", WORDS)
async def test_a_false_token_lets_nobody_in_and_one_clear_line_says_why(demo: Site, identity, mode, caplog) -> None:
    identity.misbehaviour.order(mode, target="id-token")
    async with demo.browser() as browser:
        refused = await log_in(browser)
        assert refused.status_code == 403
        assert "location" not in refused.headers, "a circle"
        (line,) = re.findall(r'<p class="wrong" role="alert">([^<]+)</p>', refused.text)
        assert WORDS[mode] in line.replace("&#39;", "'")
        assert session_of(browser) is None
        assert (await browser.get("/see")).status_code == 303


async def test_a_person_without_a_role_is_told_so(demo: Site) -> None:
    async with demo.browser() as browser:
        refused = await log_in(browser, "none")
    assert refused.status_code == 403
    assert "HTTP__OIDC__ROLE_CLAIM" in refused.text


async def test_a_code_and_an_answer_are_good_for_one_browser_and_once(demo: Site) -> None:
    async with demo.browser() as browser, demo.browser() as other:
        place = await call_back(browser)
        await other.get("/login/start?next=/see")
        stolen = await other.get(place)
        assert (stolen.status_code, session_of(other)) == (403, None)
        async with demo.browser() as bare:
            assert (await bare.get(place)).status_code == 400
        word = browser.cookies.get("login-demo")
        assert (await browser.get(place)).status_code == 303
        browser.cookies.delete("session-demo")
        assert (await browser.get(place)).status_code == 400, "its cookie is spent"
        browser.cookies.set("login-demo", word, domain="127.0.0.1")
        replayed = await browser.get(place)
        assert (replayed.status_code, session_of(browser)) == (403, None)
        assert "did not accept the code" in replayed.text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda q: q | {"state": "x"}, "another log-in"),
        (lambda q: q | {"iss": "http://evil.example"}, "another issuer"),
        (lambda q: {k: v for k, v in q.items() if k != "iss"}, "another issuer"),
        (lambda q: {"state": q["state"], "iss": q["iss"], "error": "access_denied"}, "refused: access_denied"),
        (lambda q: {"state": q["state"], "iss": q["iss"], "error": "<script>"}, "refused: for no reason"),
    ],
)  # fmt: skip
async def test_an_answer_that_is_not_what_was_asked_for_lets_nobody_in(demo: Site, change, words) -> None:
    async with demo.browser() as browser:
        place, _, query = (await call_back(browser)).partition("?")
        given = {name: values[0] for name, values in parse_qs(query).items()}
        refused = await browser.get(place, params=change(given))
        assert (refused.status_code, session_of(browser)) == (403, None)
    assert words in refused.text


async def test_guessed_answers_are_braked(demo: Site) -> None:
    async with demo.browser() as browser:
        statuses = []
        for number in range(8):
            await browser.get("/login/start?next=/see")
            statuses.append((await browser.get(f"/login/callback?code=guess-{number}&state=guess")).status_code)
    assert statuses == [403] * 5 + [429] * 3


async def test_keys_that_the_provider_renews_are_taken_up(demo: Site, identity: Provider) -> None:
    identity.key = ECKey.generate_key("P-256", {"use": "sig", "alg": "ES256"}, auto_kid=True)
    async with demo.browser() as browser:
        assert (await log_in(browser)).status_code == 303


# ---- a provider that is wrong or away -----------------------------------------------------------------------------


async def test_another_issuer_is_refused_at_start_in_one_line(store: Store, identity: Provider) -> None:
    identity.misbehaviour.order("wrong-issuer", target="discovery")
    closed = []

    async def close() -> None:
        closed.append(True)

    one = service(store, settings(identity))
    one.closers = [close]
    with pytest.raises(WrongProvider) as refused:
        await asyncio.wait_for(one.run(), 60)
    assert len(refused.value.problems) == 1
    assert refused.value.problems[0].startswith("http.oidc.issuer: the discovery document there is of another issuer")
    assert closed == [True]


async def test_production_refuses_the_development_provider(store: Store, identity: Provider) -> None:
    one = service(store, settings(identity, "production"))
    with pytest.raises(WrongProvider, match="lets anybody in"):
        await asyncio.wait_for(one.run(), 60)


@pytest.mark.parametrize("with_password", [False, True])
async def test_a_provider_that_is_away_holds_no_start_up_and_passwords_stay(
    store: Store, identity: Provider, with_password, capsys
) -> None:
    identity.misbehaviour.order("status", target="discovery", status=503, count=None)
    more = {"console_password": SecretStr("hard to guess")} if with_password else {}
    async with site(store, settings(identity, **more)) as one, one.browser() as browser:
        seen = await browser.get("/see")
        page = await browser.get("/login?next=/see")
        assert page.status_code == 503
        assert "answered 503" in page.text
        assert one.service.metrics.value("identity_provider_unusable") == 1
        if with_password:
            assert (seen.status_code, seen.headers["www-authenticate"][:5]) == (401, "Basic")
            assert (await browser.get("/see", auth=("operator", "hard to guess"))).text == "operator"
        else:
            assert seen.headers["location"] == "/login?next=/see"
        identity.misbehaviour.clear()
        await one.door.provider.look()
        assert one.service.metrics.value("identity_provider_unusable") == 0
        assert (await log_in(browser)).status_code == 303


async def test_a_clock_that_is_far_off_is_said_at_start(store: Store, identity: Provider, monkeypatch, caplog) -> None:
    said = []
    monkeypatch.setattr(provider_module.log, "error", lambda event, **more: said.append((event, more)), raising=False)
    ahead = utc_now
    monkeypatch.setattr(provider_module, "utc_now", lambda: ahead() - timedelta(hours=1))
    async with site(store, settings(identity)):
        pass
    ((event, more),) = said
    assert event == "oidc.clock-off"
    assert 3590 <= more["provider_ahead_seconds"] <= 3610


async def test_the_provider_is_reached_at_its_internal_address(store: Store, identity: Provider, tmp_path) -> None:
    inside = identity.settings.issuer
    object.__setattr__(identity, "settings", Settings(data_dir=tmp_path, issuer="http://localhost:1"))
    http = settings(identity, oidc={"internal_url": inside})
    async with site(store, http) as one:
        known = one.door.provider.known
        assert known.token == f"{inside}/token"
        assert known.authorization == "http://localhost:1/authorize"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"issuer": "login.example"}, "issuer"), ({"issuer": "https://a:b@login.example", "client_id": "x"}, "issuer"),
        ({"issuer": "https://login.example"}, "client_id"), ({"roles": "admins=boss"}, "value=role"),
        ({"scope": "profile"}, "scope"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_used_are_refused(given, words) -> None:
    with pytest.raises(ValidationError, match=words):
        OidcSettings(**given)
