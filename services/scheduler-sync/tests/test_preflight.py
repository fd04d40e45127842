"""The preflight: what is found, missing, not visible and not looked at, each as it was seen and where to set it."""

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import aiohttp
import httpx
import pytest
from fake_omegaai import FakeOmegaAI, client_of
from pydantic import SecretStr
from sync_harness import Harness
from sync_samples import orm
from test_resource_messages import mfn

from chassis.host import Certificate
from chassis.settings import HttpSettings, KafkaSettings
from chassis.testing.certificates import Authority
from chassis.web.guard import Guard
from scheduler_sync.preflight import Line, MllpOut, Preflight, State, UnknownCheckError
from scheduler_sync.preflight.lines import exit_code
from scheduler_sync.settings import PowerServerSettings
from scheduler_sync.web.preflight_pages import PreflightPages

pytestmark = pytest.mark.stack
SYSTEM = "http://northside.example/patient-id"


def set_up(omegaai: FakeOmegaAI) -> None:
    """All that the guide asks of OmegaAI."""
    master = {"reference": "Organization/1"}
    for one in (
        {
            "resourceType": "AssigningAuthority",
            "id": "1",
            "name": "N",
            "system": SYSTEM,
            "managingOrganization": master,
        },
        {"resourceType": "StudyType", "id": "1", "code": "CT-HEAD", "modality": "CT"},
        {"resourceType": "ProcedureCode", "id": "1", "code": "70450"},
    ):
        omegaai.put_directly(one)


class Bench:
    """A preflight on real sockets."""

    def __init__(self, harness: Harness, omegaai: FakeOmegaAI, preflight: Preflight) -> None:
        self.harness = harness
        self.omegaai = omegaai
        self.preflight = preflight

    async def lines(self) -> dict[str, Line]:
        return {line.id: line for line in await self.preflight.look()}

    async def journal(self, raw: bytes, *, ago: timedelta = timedelta()) -> None:
        await self.harness.store.pool.execute(
            "INSERT INTO hl7_journal (id, sender, control_id, digest, type, raw, state, received_at) "
            "VALUES (gen_random_uuid(), 'RAMSOFT|FAC01', gen_random_uuid()::text, '', 'SIU^S12', $1, 'accepted', $2)",
            raw, await self.harness.store.now() - ago,
        )  # fmt: skip


@pytest.fixture
async def bench(harness: Harness, kafka_bootstrap: str) -> AsyncIterator[Bench]:
    powerserver = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port = powerserver.sockets[0].getsockname()[1]
    async with FakeOmegaAI().serving() as omegaai, aiohttp.ClientSession() as session:
        set_up(omegaai)
        out = MllpOut(PowerServerSettings(port=port), None)
        kafka = KafkaSettings(bootstrap_servers=kafka_bootstrap)
        client = client_of(omegaai.base_url, session)
        yield Bench(harness, omegaai, Preflight(harness.store, client, harness.site, out, kafka, [], []))
    powerserver.close()


async def test_everything_of_omegaai_is_found_with_what_was_seen(bench: Bench):
    lines = await bench.lines()
    found = {line_id for line_id, line in lines.items() if line.state is State.FOUND}
    assert found >= {
        "organization.master", "organization.FAC01", "organization.FAC02", "issuer.NORTHSIDE", "study-types",
        "procedure-codes", "services.FAC01", "modalities.FAC01", "omegaai.fhir", "clock.omegaai", "postgres", "kafka",
        "mllp.out", "site-file", "certificate",
    }  # fmt: skip
    assert lines["services.FAC01"].seen == "2 active of organisation 2"
    assert lines["modalities.FAC01"].seen == "CT, MR"
    assert "nothing was sent" in lines["mllp.out"].seen
    assert all(line.where for line in lines.values() if line.state is not State.FOUND and "clock" not in line.id)


@pytest.mark.parametrize(
    ("key", "change", "line_id", "words"),
    [
        (("Organization", "1"), None, "organization.master", "no organisation of this id"),
        (("Organization", "3"), None, "organization.FAC02", "no organisation of this id"),
        (("Organization", "2"), {"active": False}, "organization.FAC01", "switched off"),
        (
            ("Organization", "2"),
            {"extension": [{"url": "x/timezoneIANA", "valueString": "America/Vancouver"}]},
            "organization.FAC01", "its zone is America/Vancouver",
        ),
        (("AssigningAuthority", "1"), None, "issuer.NORTHSIDE", "no assigning authority"),
        (("AssigningAuthority", "1"), {"active": False}, "issuer.NORTHSIDE", "no assigning authority"),
        (
            ("AssigningAuthority", "1"), {"managingOrganization": {"reference": "Organization/2"}}, "issuer.NORTHSIDE",
            "under organisation 2, not under the master",
        ),
        (("StudyType", "1"), None, "study-types", "has none"),
        (("ProcedureCode", "1"), None, "procedure-codes", "has none"),
        (("HealthcareService", "hs-3"), None, "services.FAC02", "0 active"),
        (("HealthcareService", "hs-3"), {"active": False}, "services.FAC02", "0 active"),
        (("HealthcareService", "hs-3"), {"extension": []}, "modalities.FAC02", "1 services have none"),
    ],
)  # fmt: skip
async def test_each_thing_that_is_missing_is_named(
    bench: Bench, key: tuple[str, str], change: dict | None, line_id: str, words: str
):
    if change is None:
        del bench.omegaai.resources[key]
    else:
        bench.omegaai.put_directly({**bench.omegaai.resources[key], **change})
    line = (await bench.lines())[line_id]
    assert line.state is State.MISSING
    assert words in line.seen
    assert line.where


async def test_the_priority_is_seen_in_a_message_or_confirmed_by_a_person_and_never_claimed(bench: Bench):
    line = (await bench.lines())["priority"]
    assert (line.state, line.can_confirm) == (State.NOT_VISIBLE, True)
    assert "not visible by protocol" in line.seen
    await bench.preflight.confirm("priority", actor="kim")
    line = (await bench.lines())["priority"]
    assert (line.state, line.seen.startswith("confirmed by kim on")) == (State.FOUND, True)
    await bench.preflight.confirm("priority", actor="kim", takes_back=True)
    assert (await bench.lines())["priority"].state is State.NOT_VISIBLE
    await bench.journal(orm().replace(b"^ROUTINE", b"^SCHEDULED STATUS"))
    line = (await bench.lines())["priority"]
    assert (line.state, line.seen.startswith("seen in a message of")) == (State.FOUND, True)
    audited = await bench.harness.rows("SELECT action, actor FROM operator_audit ORDER BY id")
    assert [tuple(row) for row in audited] == [("preflight.confirm", "kim"), ("preflight.take-back", "kim")]


@pytest.mark.parametrize(("state", "expected"), [("done", State.FOUND), ("dead", State.NOT_VISIBLE)])
async def test_powerservers_answer_to_a_request_tells_of_the_priority(bench: Bench, state: str, expected: State):
    await bench.harness.store.pool.execute(
        "INSERT INTO deliveries (id, destination, key, kind, payload, idempotency_key, state, done_at) "
        "VALUES (gen_random_uuid(), 'powerserver', gen_random_uuid(), 'request.new', '', 'k', $1, now())",
        state,
    )
    assert (await bench.lines())["priority"].state is expected


async def test_only_what_no_protocol_shows_can_be_confirmed(bench: Bench):
    for line_id in ("study-types", "no-such-line"):
        with pytest.raises(UnknownCheckError):
            await bench.preflight.confirm(line_id, actor="kim")


async def test_messages_show_who_sends_and_how_far_its_clock_is_off(bench: Bench):
    assert (await bench.lines())["mllp.in"].state is State.MISSING
    now = await bench.harness.store.now()
    made = f"{now + timedelta(minutes=10):%Y%m%d%H%M%S}+0000"
    await bench.journal(orm(made=made))
    lines = await bench.lines()
    assert "from RAMSOFT|FAC01" in lines["mllp.in"].seen
    assert lines["clock.powerserver"].state is State.MISSING
    await bench.journal(orm(made=f"{now:%Y%m%d%H%M%S}+0000"))
    assert (await bench.lines())["clock.powerserver"].state is State.FOUND


async def test_resources_and_facilities_are_judged_by_what_powerserver_has_said(bench: Bench):
    lines = await bench.lines()
    assert (lines["resources.FAC01"].state, lines["facility.FAC01"].state) == (State.NOT_VISIBLE, State.NOT_VISIBLE)
    await bench.harness.hear(mfn())
    lines = await bench.lines()
    assert (lines["resources.FAC01"].state, lines["facility.FAC01"].state) == (State.MISSING, State.FOUND)
    assert "Roe" not in "".join(line.seen for line in lines.values())


async def test_what_cannot_be_looked_at_says_so_and_hides_nothing_else(bench: Bench):
    bench.omegaai.closed_with = 503
    bench.preflight.out = MllpOut(PowerServerSettings(port=1), None)
    bench.preflight.kafka = KafkaSettings(bootstrap_servers="127.0.0.1:1")
    lines = await bench.lines()
    assert {line_id for line_id, line in lines.items() if line.state is State.NOT_LOOKED_AT} == {
        "omegaai.fhir", "organization", "issuer", "catalogues", "services", "kafka",
    }  # fmt: skip
    assert lines["mllp.out"].state is State.MISSING
    assert lines["postgres"].state is State.FOUND


async def test_certificates_are_counted_in_days(bench: Bench, tmp_path: Path):
    authority = Authority(tmp_path, "authority")
    names = {}
    for name, days in (("soon", 10), ("later", 300)):
        names[name] = authority.issue(name, days=days)
    bench.preflight.certificates = [
        Certificate(name, f"{name.upper()}__CERTIFICATE_FILE", *files) for name, files in names.items()
    ] + [Certificate("none", "NONE__CERTIFICATE_FILE", tmp_path / "none.pem", tmp_path / "none.key")]
    lines = await bench.lines()
    states = {name: lines[f"certificate.{name}"].state for name in ("soon", "later", "none")}
    assert states == {"soon": State.MISSING, "later": State.FOUND, "none": State.MISSING}


def test_the_exit_code_is_for_scripts():
    def line(state: State) -> Line:
        return Line("x", "Site", "x", state, "", None)

    assert exit_code([line(State.FOUND)]) == 0
    assert exit_code([line(State.FOUND), line(State.MISSING)]) == 1
    assert exit_code([line(State.FOUND), line(State.NOT_VISIBLE)]) == 1
    assert exit_code([line(State.MISSING), line(State.NOT_LOOKED_AT)]) == 2


@asynccontextmanager
async def browser(bench: Bench, **http: object) -> AsyncIterator[httpx.AsyncClient]:
    app = Guard(PreflightPages(bench.preflight).routes(), HttpSettings(**http))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
        client.headers["Origin"] = "http://127.0.0.1"
        yield client


async def test_the_page_shows_all_and_an_operator_confirms(bench: Bench):
    async with browser(bench) as client:
        page = (await client.get("/preflight")).text
        for words in (
            "the priority SCHEDULED STATUS",
            "not visible",
            "I have seen it",
            "Settings &gt; Server Settings",
        ):
            assert words in page
        assert (await client.post("/preflight/priority/confirm")).status_code == 303
        assert "confirmed by" in (await client.get("/preflight")).text
        assert (await client.post("/preflight/priority/take-back")).status_code == 303
        assert (await client.post("/preflight/nothing/confirm")).status_code == 404


async def test_a_viewer_only_looks(bench: Bench):
    async with browser(bench, people=SecretStr("vera:viewer:a-long-secret")) as client:
        client.headers["Authorization"] = f"Basic {b64encode(b'vera:a-long-secret').decode()}"
        page = await client.get("/preflight")
        assert (page.status_code, "I have seen it" in page.text) == (200, False)
        assert (await client.post("/preflight/priority/confirm")).status_code == 403
