"""The page that explains a pasted message: for operators; nothing is kept; whatever is pasted gets a sentence."""

import logging
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from urllib.parse import urlencode

import httpx
import pytest
from mutations import samples_of_hl7, spoiled_hl7
from pydantic import SecretStr
from sync_harness import Harness
from sync_samples import orm, siu

from chassis.settings import HttpSettings
from chassis.testing.depth import DEPTH
from chassis.web.guard import Guard
from scheduler_sync.web.explain_page import LONGEST_MESSAGE, ExplainPage

pytestmark = pytest.mark.stack


@asynccontextmanager
async def browser(harness: Harness, **http: object) -> AsyncIterator[httpx.AsyncClient]:
    page = ExplainPage(harness.store, harness.site, lambda: harness.resources)
    transport = httpx.ASGITransport(Guard(page.routes(), HttpSettings(**http)))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        client.headers["Origin"] = "http://127.0.0.1"
        yield client


async def test_a_pasted_message_is_explained_with_its_segments_marked_and_the_line_of_the_mapping(harness: Harness):
    async with browser(harness) as client:
        asked = await client.get("/explain")
        assert (asked.status_code, "<textarea" in asked.text) == (200, True)
        pasted = siu().decode().replace("\r", "\r\n")
        page = await client.post("/explain", data={"message": pasted})
    assert page.status_code == 200
    assert "SIU^S12: a booking" in page.text
    assert '<mark title="resource">BLUME CT^BLUME CT</mark>' in page.text
    assert "siu.resource (northside.hl7.yaml:" in page.text
    assert "becomes staff-booked; publishes appointment.scheduled; tells omegaai" in page.text
    assert page.headers["cache-control"] == "no-store"


async def test_a_known_appointment_gets_its_own_decision_and_stays_as_it_is(harness: Harness):
    await harness.hear(siu())
    before = await harness.rows("SELECT * FROM appointment_links")
    async with browser(harness) as client:
        page = await client.post("/explain", data={"message": siu("S15", made="20261125093100-0500").decode()})
    assert "The appointment is known" in page.text
    assert "it becomes cancelled" in page.text
    assert await harness.rows("SELECT * FROM appointment_links") == before


async def test_nothing_of_the_message_is_kept_but_that_somebody_looked(harness: Harness, caplog):
    with caplog.at_level(logging.DEBUG):
        async with browser(harness) as client:
            await client.post("/explain", data={"message": siu().decode()})
    rows = await harness.rows("SELECT * FROM operator_audit")
    assert [(row["action"], row["subject"]) for row in rows] == [("hl7.explain", "a pasted message")]
    tables = await harness.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    for name in (row["tablename"] for row in tables):
        assert "4711" not in str([dict(row) for row in await harness.rows(f'SELECT * FROM "{name}"')]), name
    assert "4711" not in caplog.text
    assert "Roe" not in caplog.text


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"", 422, "There is no message"),
        (b"message=", 422, "There is no message"),
        (b"message=%20%0D%0A", 422, "There is no message"),
        (b"message=hello", 422, "would be answered AR"),
        (b"message=MSH", 422, "would be answered AR"),
        (b"message=%FF%FE%00", 422, "would be answered AR"),
        (b"other=MSH", 422, "There is no message"),
        (b"&".join([b"a=1"] * 50), 422, "There is no message"),
        (b"\x00\xff" * 100, 422, "There is no message"),
        (b"message=" + b"x" * (LONGEST_MESSAGE + 1), 413, "is longer than"),
        (b"message=" + b"%00" * (LONGEST_MESSAGE + 600), 413, "is longer than"),
    ],
)
async def test_bad_input_gets_a_sentence(harness: Harness, body: bytes, status: int, words: str):
    async with browser(harness) as client:
        page = await client.post(
            "/explain", content=body, headers={"Content-Type": "application/x-www-form-urlencoded"}
        )
    assert page.status_code == status
    assert words in page.text
    assert 'role="alert"' in page.text


async def test_spoiled_messages_get_a_sentence_and_never_a_server_error(harness: Harness):
    random, samples = Random(12), [siu(), orm(), *samples_of_hl7()]
    async with browser(harness) as client:
        for _ in range(DEPTH.examples(50)):
            raw = spoiled_hl7(random, samples)
            page = await client.post("/explain", content=urlencode({"message": raw}).encode())
            assert page.status_code in {200, 413, 422}
            assert "would be answered" in page.text or "There is no message" in page.text


async def test_a_viewer_sees_no_form_and_gets_no_answer(harness: Harness):
    async with browser(harness, people=SecretStr("vera:viewer:a-long-secret")) as client:
        client.headers["Authorization"] = "Basic " + b64encode(b"vera:a-long-secret").decode()
        assert (await client.get("/explain")).status_code == 403
        assert (await client.post("/explain", data={"message": siu().decode()})).status_code == 403
