"""The provider is strict with its clients, and does not run where somebody could take it for a real one."""

import base64
import hashlib
import re
import secrets
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from identity_sim.app import Provider, opened
from identity_sim.settings import Refused, Settings, allows, load

REDIRECT = "http://127.0.0.1:8101/login/callback"
VERIFIER = secrets.token_urlsafe(48)
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).decode().rstrip("=")
ASKED = {
    "response_type": "code", "client_id": "notifier", "redirect_uri": REDIRECT, "scope": "openid profile",
    "state": "s" * 20, "nonce": "n" * 20, "code_challenge": CHALLENGE, "code_challenge_method": "S256",
}  # fmt: skip
SECRET = httpx.BasicAuth("notifier", "development-secret")


@pytest.fixture
async def provider(tmp_path: Path) -> AsyncIterator[Provider]:
    async with opened(Settings(data_dir=tmp_path, issuer="http://127.0.0.1:8204")) as one:
        yield one


@pytest.fixture
async def http(provider: Provider) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=provider.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8204", trust_env=False) as client:
        yield client


async def code_for(http: httpx.AsyncClient, person: str = "operator", **asked: str) -> dict[str, str]:
    page = await http.get("/authorize", params=ASKED | asked)
    assert page.status_code == 200
    found = re.search(r'name="handle" value="([^"]+)"', page.text)
    assert found
    answer = await http.post("/authorize", data={"handle": found[1], "person": person})
    assert answer.status_code == 303
    return {name: values[0] for name, values in parse_qs(urlsplit(answer.headers["location"]).query).items()}


async def exchange(
    http: httpx.AsyncClient, code: str, auth: httpx.Auth | None = SECRET, **given: str
) -> httpx.Response:
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": REDIRECT, "code_verifier": VERIFIER}
    return await http.post("/token", data=form | given, auth=auth)


async def test_a_click_gives_a_code_and_the_code_a_token(http: httpx.AsyncClient) -> None:
    said = (await http.get("/.well-known/openid-configuration")).json()
    back = await code_for(http)
    assert (back["state"], back["iss"]) == (ASKED["state"], said["issuer"])
    answer = await exchange(http, back["code"])
    assert answer.headers["cache-control"] == "no-store"
    keys = KeySet.import_key_set((await http.get(urlsplit(said["jwks_uri"]).path)).json())
    claims = jwt.decode(answer.json()["id_token"], keys, algorithms=["ES256"]).claims
    assert (claims["iss"], claims["aud"], claims["nonce"]) == (said["issuer"], "notifier", ASKED["nonce"])
    assert (claims["preferred_username"], claims["roles"]) == ("olga", ["operator"])
    ledger = (await http.get("/ledger")).json()["rows"]
    assert [(row["kind"], row["subject"]) for row in ledger] == [("person.logged-in", claims["sub"])]


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"), ({"scope": "profile"}, "invalid_scope"),
        ({"code_challenge": ""}, "invalid_request"), ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"state": ""}, "invalid_request"), ({"nonce": "short"}, "invalid_request"),
    ],
)  # fmt: skip
async def test_what_a_client_asks_wrongly_is_answered_to_it(http: httpx.AsyncClient, asked, error) -> None:
    answer = await http.get("/authorize", params=ASKED | asked)
    assert answer.status_code == 303
    assert parse_qs(urlsplit(answer.headers["location"]).query)["error"] == [error]


@pytest.mark.parametrize(
    "redirect",
    [
        "http://127.0.0.1:8101/elsewhere", "http://127.0.0.1:8101/login/callback?x=1", "http://evil.example/login/callback",
        "http://127.0.0.1.evil.example:80/login/callback", "http://a@127.0.0.1:8101/login/callback", "",
        "https://127.0.0.1:8101/login/callback", "http://127.0.0.1:8101/login/callback/", "http://[::1",
    ],
)  # fmt: skip
async def test_nothing_goes_to_an_address_that_is_not_known(http: httpx.AsyncClient, redirect) -> None:
    answer = await http.get("/authorize", params=ASKED | {"redirect_uri": redirect})
    assert answer.status_code == 400
    assert "location" not in answer.headers


def test_addresses_elsewhere_are_compared_sign_by_sign() -> None:
    assert allows("https://a.example/login/callback", "https://a.example/login/callback")
    assert not allows("https://a.example/login/callback", "https://a.example:8443/login/callback")


async def test_a_code_is_good_once_for_its_client_and_a_minute(http: httpx.AsyncClient, provider: Provider) -> None:
    used = (await code_for(http))["code"]
    assert (await exchange(http, used)).status_code == 200
    assert (await exchange(http, used)).json()["error"] == "invalid_grant"
    for given in ({"redirect_uri": REDIRECT + "/"}, {"code_verifier": "v" * 43}, {"code_verifier": ""}):
        code = (await code_for(http))["code"]
        assert (await exchange(http, code, **given)).json()["error"] == "invalid_grant"
        assert (await exchange(http, code)).json()["error"] == "invalid_grant", "a wrong try left the code good"
    code = (await code_for(http))["code"]
    assert (await exchange(http, code, auth=httpx.BasicAuth("other", "development-secret"))).status_code == 400
    for auth in (None, httpx.BasicAuth("notifier", "guess")):
        assert (await exchange(http, (await code_for(http))["code"], auth=auth)).status_code == 401
    old = (await code_for(http))["code"]
    real = provider.now
    provider.now = lambda: real() + 61
    assert (await exchange(http, old)).json()["error"] == "invalid_grant"


async def test_a_page_is_good_once(http: httpx.AsyncClient) -> None:
    page = await http.get("/authorize", params=ASKED)
    form = {"handle": page.text.split('name="handle" value="')[1].split('"')[0], "person": "admin"}
    elsewhere = await http.post("/authorize", data=form, headers={"Sec-Fetch-Site": "cross-site"})
    assert elsewhere.status_code == 400
    assert (await http.post("/authorize", data=form)).status_code == 400


async def test_a_browser_goes_back_after_log_out_to_a_known_address_alone(http: httpx.AsyncClient) -> None:
    known = {"client_id": "notifier", "post_logout_redirect_uri": "http://127.0.0.1:8101/logged-out"}
    assert (await http.get("/end-session", params=known)).headers["location"] == known["post_logout_redirect_uri"]
    unknown = known | {"post_logout_redirect_uri": "http://evil.example/logged-out"}
    assert (await http.get("/end-session", params=unknown)).status_code == 400


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"IDENTITY_SIM_ENVIRONMENT": "production"}, "says production"),
        ({"NOTIFIER_ENVIRONMENT": "production"}, "says production"),
        ({"IDENTITY_SIM_ISSUER": "https://login.hospital.example"}, "not on this machine"),
        ({"IDENTITY_SIM_ISSUER": "http://10.0.0.1:8204"}, "not on this machine"),
    ],
)
def test_it_does_not_run_where_it_could_be_taken_for_a_real_one(environment, words) -> None:
    with pytest.raises(Refused, match=words) as refused:
        load([], environment)
    assert "\n" not in str(refused.value)
    assert load([], {}) == replace(Settings(), issuer="")
