"""The second factor of a login, the portal with its launcher, and the launch by an address."""

import base64
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from powerserver_pages import logged_in, text_of

from powerserver_sim.users import second_factor
from powerserver_sim.users.second_factor import STEP_SECONDS, code_at

LAUNCH = "/powerreader/login.aspx"
PASSWORD = {"name": "supervisor", "password": "development"}


@pytest.mark.parametrize(
    ("seconds", "code"),
    [(59, "287082"), (1111111109, "081804"), (1234567890, "005924"), (2000000000, "279037"), (20000000000, "353130")],
)
def test_codes_are_those_of_rfc_6238(seconds: int, code: str) -> None:
    secret = base64.b32encode(b"12345678901234567890").decode()
    assert code_at(secret, seconds // STEP_SECONDS) == code


async def code_of(bench, name: str, *, steps: int = 0) -> str:
    def question(work) -> str:
        work.now += timedelta(seconds=steps * STEP_SECONDS)
        return second_factor.code_now(work, name)

    return await bench.simulator.services.store.read(question)


async def test_a_login_with_a_second_factor_asks_for_a_code(bench) -> None:
    async with bench.browser() as client:
        answer = await client.post("/login?next=/patients", data=PASSWORD)
        assert answer.headers["location"] == "/login/code?next=/patients"
        assert (await client.get("/patients")).status_code == 303  # not logged in yet
        wrong = await client.post("/login/code?next=/patients", data={"code": "000000"})
        assert (wrong.status_code, "The code is wrong" in wrong.text) == (401, True)
        code = await code_of(bench, "supervisor")
        right = await client.post("/login/code?next=/patients", data={"code": code})
        assert right.headers["location"] == "/patients"
        assert "Sam Supervisor" in await text_of(client, "/patients")
    async with bench.browser() as other:
        await other.post("/login", data=PASSWORD)
        again = await other.post("/login/code", data={"code": code})
        assert again.status_code == 401  # a code counts once
        assert (await other.get("/patients")).status_code == 303


async def test_no_code_without_the_password(bench) -> None:
    async with bench.browser() as client:
        answer = await client.post("/login/code", data={"code": await code_of(bench, "supervisor")})
        assert answer.headers["location"].startswith("/login")
        await client.post("/login", data={**PASSWORD, "password": "wrong"})
        assert (await client.get("/login/code")).status_code == 303


async def test_five_wrong_codes_block_even_the_right_one(bench) -> None:
    async with bench.browser() as client:
        await client.post("/login", data=PASSWORD)
        for code in ("1", "22", "", "abcdef", "99999999"):
            assert (await client.post("/login/code", data={"code": code})).status_code == 401
        await client.post("/login", data=PASSWORD)  # the password does not end it
        answer = await client.post("/login/code", data={"code": await code_of(bench, "supervisor")})
        assert (answer.status_code, "Wait five minutes" in answer.text) == (401, True)


async def test_a_clock_that_is_a_step_off_is_taken_two_are_not(bench) -> None:
    def take(work, code: str) -> str:
        work.now = datetime(2026, 12, 1, 12, 0, 15, tzinfo=UTC)
        return second_factor.take(work, "supervisor", code)

    store = bench.simulator.services.store
    row = await store.read(lambda work: work.one("SELECT secret FROM second_factor WHERE user = 'supervisor'"))
    step = int(datetime(2026, 12, 1, 12, tzinfo=UTC).timestamp()) // STEP_SECONDS
    for off, outcome in ((-2, "wrong"), (2, "wrong"), (-1, "right"), (1, "right"), (0, "wrong")):
        code = code_at(row["secret"], step + off)
        assert await store.write(lambda work, code=code: take(work, code)) == outcome, off


async def test_programs_use_a_user_without_a_second_factor(bench) -> None:
    answer = await bench.api.get("/api/free-slots?count=1", auth=("supervisor", "development"))
    assert answer.status_code == 401
    assert "second factor" in answer.json()["error"]["message"]


async def test_an_administrator_sets_groups_privileges_and_second_factors(bench) -> None:
    async with logged_in(bench, "frontdesk") as client:
        answer = await client.post("/settings/users", data={"group": "TECHNOLOGISTS", "privilege": "Schedule Studies"})
        assert answer.status_code == 403
    booking = {"patient": {"id": "4711"}, "study_types": ["CT-HEAD"], "resource": "BLUME CT"}
    as_technologist = ("technologist", "development")
    first = {**booking, "start": "2026-12-01T09:00:00-05:00"}
    answer = await bench.api.post("/api/appointments", json=first, auth=as_technologist)
    assert (answer.status_code, answer.json()["error"]["reason"]) == (403, "privilege")
    async with logged_in(bench, "admin") as client:
        for bad in ({"group": "NOBODY"}, {"group": "TECHNOLOGISTS", "privilege": "Fly"}, {"user": "x", "group": "?"}):
            assert (await client.post("/settings/users", data=bad)).status_code == 404
        given = {"group": "TECHNOLOGISTS", "privilege": "Schedule Studies"}
        assert (await client.post("/settings/users", data=given)).status_code == 303
        answer = await bench.api.post("/api/appointments", json=first, auth=as_technologist)
        assert answer.status_code == 201
        user = {"user": "frontdesk", "group": "TECHNOLOGISTS", "second_factor": "on"}
        assert (await client.post("/settings/users", data=user)).status_code == 303
        answer = await client.post("/login", data={"name": "frontdesk", "password": "development"})
        assert answer.headers["location"].startswith("/login/code")
        user.pop("second_factor")
        assert (await client.post("/settings/users", data=user)).status_code == 303
        answer = await client.post("/login", data={"name": "frontdesk", "password": "development"})
        assert answer.headers["location"] == "/"


async def test_the_tile_installs_the_launcher_once(bench) -> None:
    async with logged_in(bench, "frontdesk") as client:
        assert 'href="/portal/launcher" data-testid="tile-powerreader"' in await text_of(client, "/portal")
        assert (await client.post("/portal/launcher")).headers["location"] == "/portal"
        assert 'href="/" data-testid="tile-powerreader"' in await text_of(client, "/portal")
        assert "is installed" in await text_of(client, "/portal/launcher")
    async with logged_in(bench, "admin") as client:
        assert 'href="/portal/launcher"' in await text_of(client, "/portal")


@pytest.mark.parametrize(
    ("query", "place"),
    [
        ("accessionnumber=ACC100001", "/appointments/P100001"),
        ("AccessionNumber=ACC100005-2&app=PowerReader", "/appointments/P100005"),
        ("studyuid=1.2.826.0.1.3680043.10.1.100005.2", "/appointments/P100005"),
        ("patientid=4711", "/patients/1"),
        ("patientid=4711&issuer=NORTHSIDE&accessionnumber=ACC100001", "/appointments/P100001"),
        ("", "/"),
    ],
)
async def test_an_address_opens_the_study_or_the_patient(bench, query: str, place: str) -> None:
    async with logged_in(bench, "frontdesk") as client:
        assert (await client.get(f"{LAUNCH}?{query}")).headers["location"] == place
        posted = await client.post(LAUNCH, data=dict(pair.split("=") for pair in query.split("&") if pair))
        assert (await client.get(posted.headers["location"])).headers["location"] == place


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        ("username=frontdesk&password=development&patientid=4711", 422, "A launch takes no password"),
        ("PASSWORD=x", 422, "A launch takes no password"),
        ("accessionnumber=ACC1", 404, "no study with this accession number"),
        ("studyuid=1.2.3", 404, "no study with this Study Instance UID"),
        ("studyuid=1.2.826.0.1.3680043.10.1.100005.9", 404, "no study with this Study Instance UID"),
        ("patientid=1", 404, "no patient with this Patient ID"),
        ("patientid=4712&accessionnumber=ACC100001", 422, "a study of another patient"),
        ("accessionnumber=ACC100001&studyuid=1.2.826.0.1.3680043.10.1.100005", 422, "different studies"),
        ("accessionnumber=ACC100006", 403, "restricted to facility FAC01"),
        ("app=gateway", 404, "no such app"),
    ],
)
async def test_a_launch_that_is_refused_says_why(bench, query: str, status: int, words: str) -> None:
    async with logged_in(bench, "frontdesk") as client:
        answer = await client.get(f"{LAUNCH}?{query}")
        assert (answer.status_code, words in answer.text) == (status, True), answer.text
        assert "development" not in answer.text.replace("for development", "")


async def test_a_launch_without_a_login_asks_for_it_and_then_opens(bench) -> None:
    async with bench.browser() as client:
        asked = await client.get(f"{LAUNCH}?username=frontdesk&accessionnumber=ACC100001&app=powerreader")
        address = asked.headers["location"]
        assert 'value="frontdesk"' in await text_of(client, address)
        logged = await client.post(address, data={"name": "frontdesk", "password": "development"})
        target = logged.headers["location"]
        assert parse_qs(urlsplit(target).query) == {"accessionnumber": ["ACC100001"]}
        assert (await client.get(target)).headers["location"] == "/appointments/P100001"
