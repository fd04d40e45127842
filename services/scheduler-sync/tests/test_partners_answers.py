"""The table of what a partner's answer means (docs/architecture/messaging.md), row by row, over real sockets.

An answer that refuses only this message is Permanent. An answer that every message would get, because of our access or
the partner's state, makes the delivery wait: AccessRefused when a person has to correct something, Transient when the
cause passes by itself.
"""

import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import aiohttp
import pytest
from aiohttp import web
from fake_omegaai import FakeOmegaAI, client_of
from partner_samples import KEY, PATIENT, Ids

from chassis.deliveries import Delivery, Receipt
from chassis.errors import AccessRefused, Permanent, Transient, UnusableAnswer
from chassis.testing.certificates import Authority
from hl7v2 import AckError, Message, build_ack
from hl7v2.mllp import Client, client_context, server_context, start_server
from scheduler_sync.adapters.omegaai.sender import PATIENT_UPSERT, OmegaAISender
from scheduler_sync.adapters.powerserver.sender import PowerServerSender

PAGE = b"<!DOCTYPE html><html><body>Jane Roe, we are being maintained</body></html>"
HTML, JSON, TEXT = "text/html", "application/json", "text/plain"


def outcome(*codes: str) -> bytes:
    issues = ",".join(f'{{"code": "{code}", "expression": ["Patient.birthDate"]}}' for code in codes)
    return f'{{"resourceType": "OperationOutcome", "issue": [{issues}], "text": "Jane Roe"}}'.encode()


def a_delivery(kind: str, payload: bytes) -> Delivery:
    return Delivery(
        id=UUID(int=9), destination="partner", key=KEY, kind=kind, payload=payload, idempotency_key="M1", headers={},
        attempt=1, created_at=datetime.now(UTC),
    )  # fmt: skip


async def sent_to_omegaai(server: FakeOmegaAI, method: str, answer: Callable[[web.Request], web.Response]) -> Receipt:
    """One patient's delivery, with ``answer`` to the first request of ``method``; TOKEN is the token endpoint's."""
    is_known = method in ("GET", "PUT")
    if is_known:
        server.put_directly({"resourceType": "Patient", "id": "7", "name": [{"family": "Other"}]})

    def matches(request: web.Request) -> bool:
        if method == "TOKEN":
            return "/oauth2/" in request.path
        return request.method == method and "/fhir/" in request.path

    for _ in range(6):  # also at a second look
        server.answer_once(matches, answer)
    async with aiohttp.ClientSession() as session:
        sender = OmegaAISender(client_of(server.base_url, session), Ids("7" if is_known else None))
        return await sender.send(a_delivery(PATIENT_UPSERT, PATIENT.to_bytes()))


ACCESS, PASSES, FINAL, UNUSABLE = AccessRefused, Transient, Permanent, UnusableAnswer
OMEGAAI = [
    # The token endpoint never speaks of a message.
    ("TOKEN", 400, JSON, b'{"error": "invalid_client"}', ACCESS, "client_secret"),
    ("TOKEN", 400, JSON, b'{"error": "invalid_scope"}', ACCESS, "scope"),
    ("TOKEN", 401, JSON, b'{"error": "invalid_client"}', ACCESS, "client_secret"),
    ("TOKEN", 403, JSON, b"{}", ACCESS, "client_secret"),
    ("TOKEN", 404, TEXT, b"not here", ACCESS, "base_url"),
    ("TOKEN", 405, TEXT, b"", ACCESS, "base_url"),
    ("TOKEN", 302, TEXT, b"", ACCESS, "base_url"),
    ("TOKEN", 200, HTML, PAGE, ACCESS, "base_url"),
    ("TOKEN", 403, HTML, PAGE, ACCESS, "base_url"),
    ("TOKEN", 200, JSON, b"not json", UNUSABLE, ""),
    ("TOKEN", 200, JSON, b"[]", UNUSABLE, ""),
    ("TOKEN", 200, JSON, b'{"access_token": "a\\r\\nX-Other: b"}', UNUSABLE, ""),
    ("TOKEN", 204, JSON, b"", UNUSABLE, ""),
    ("TOKEN", 429, JSON, b"{}", PASSES, ""),
    ("TOKEN", 500, HTML, PAGE, PASSES, ""),
    ("TOKEN", 503, HTML, PAGE, PASSES, ""),
    # Our access, or what stands at the address.
    ("POST", 401, JSON, outcome("login"), ACCESS, "client_id"),
    ("POST", 403, JSON, outcome("forbidden"), ACCESS, "client_id"),
    ("POST", 403, HTML, PAGE, ACCESS, "client_id"),
    ("POST", 404, TEXT, b"404: Not Found", ACCESS, "base_url"),
    ("POST", 404, HTML, PAGE, ACCESS, "base_url"),
    ("POST", 404, JSON, outcome("not-supported"), ACCESS, "base_url"),
    ("GET", 404, HTML, PAGE, ACCESS, "base_url"),
    ("POST", 405, JSON, outcome("not-supported"), ACCESS, "base_url"),
    ("POST", 406, TEXT, b"", ACCESS, "base_url"),
    ("POST", 407, HTML, PAGE, ACCESS, "proxy"),
    ("POST", 415, JSON, outcome("not-supported"), ACCESS, "base_url"),
    ("POST", 301, TEXT, b"", ACCESS, "base_url"),
    ("POST", 307, TEXT, b"", ACCESS, "base_url"),
    ("POST", 400, HTML, PAGE, ACCESS, "base_url"),
    ("POST", 400, TEXT, b"Bad Request", ACCESS, "base_url"),
    ("POST", 422, HTML, PAGE, ACCESS, "base_url"),
    ("POST", 200, HTML, PAGE, ACCESS, "base_url"),
    ("GET", 200, HTML, PAGE, ACCESS, "base_url"),
    ("POST", 400, JSON, outcome("expired"), ACCESS, "client_id"),
    ("POST", 501, JSON, outcome("not-supported"), ACCESS, "base_url"),
    ("POST", 511, HTML, PAGE, ACCESS, "network"),
    # Their state.
    ("POST", 408, TEXT, b"", PASSES, ""),
    ("POST", 409, JSON, outcome("conflict"), PASSES, ""),
    ("PUT", 409, TEXT, b"", PASSES, ""),
    ("POST", 423, JSON, b"{}", PASSES, ""),
    ("POST", 425, TEXT, b"", PASSES, ""),
    ("POST", 429, JSON, outcome("throttled"), PASSES, ""),
    ("POST", 400, JSON, outcome("throttled"), PASSES, ""),
    ("POST", 422, JSON, outcome("lock-error"), PASSES, ""),
    ("PUT", 412, TEXT, b"", PASSES, ""),
    ("POST", 500, JSON, outcome("exception"), PASSES, ""),
    ("POST", 502, HTML, PAGE, PASSES, ""),
    ("POST", 503, HTML, PAGE, PASSES, ""),
    ("POST", 504, HTML, PAGE, PASSES, ""),
    ("POST", 507, TEXT, b"", PASSES, ""),
    ("POST", 599, TEXT, b"", PASSES, ""),
    ("POST", 202, TEXT, b"", UNUSABLE, ""),
    ("POST", 200, JSON, b"{", UNUSABLE, ""),
    ("POST", 201, JSON, b"", UNUSABLE, ""),
    ("POST", 200, JSON, outcome("informational"), UNUSABLE, ""),
    ("GET", 200, JSON, b'{"status": "maintenance"}', UNUSABLE, ""),
    # This message.
    ("POST", 400, JSON, outcome("invalid"), FINAL, ""),
    ("POST", 400, JSON, outcome("invalid", "throttled"), FINAL, ""),
    ("POST", 400, JSON, b'{"error": "no"}', FINAL, ""),
    ("POST", 400, TEXT, b"", FINAL, ""),
    ("POST", 409, JSON, outcome("duplicate"), FINAL, ""),
    ("POST", 409, JSON, outcome("business-rule"), FINAL, ""),
    ("POST", 412, JSON, outcome("multiple-matches"), FINAL, ""),
    ("POST", 413, JSON, outcome("too-long"), FINAL, ""),
    ("POST", 414, TEXT, b"", FINAL, ""),
    ("POST", 422, JSON, outcome("value"), FINAL, ""),
    ("PUT", 422, JSON, outcome("value"), FINAL, ""),
]


@pytest.mark.parametrize("row", OMEGAAI, ids=lambda row: f"{row[0]} {row[1]} {row[2]} {row[4].__name__}")
async def test_what_an_answer_of_omegaai_means(row: tuple[str, int, str, bytes, type[Exception], str]) -> None:
    method, status, media, body, expected, where = row
    headers = {"Location": "/there"} if 300 <= status < 400 else {}
    async with FakeOmegaAI().serving() as server:
        with pytest.raises((Transient, Permanent)) as raised:
            await sent_to_omegaai(
                server,
                method,
                lambda _: web.Response(status=status, body=body, content_type=media, headers=headers),
            )
    assert type(raised.value) is expected, raised.value
    assert "Roe" not in str(raised.value)
    if expected is ACCESS:
        assert where in raised.value.setting
        assert raised.value.setting in raised.value.reason, "the list of deliveries shows the reason"


@pytest.mark.parametrize("status", [404, 410])
async def test_a_patient_who_is_gone_there_is_made_again(status: int) -> None:
    async with FakeOmegaAI().serving() as server:
        receipt = await sent_to_omegaai(server, "GET", lambda _: web.Response(status=status, body=outcome("not-found")))
        assert receipt.detail["resource"] == "Patient"
        assert ("POST", "/fhir/Patient") in server.requests


@pytest.mark.parametrize("days", [30, -1])
async def test_a_certificate_that_is_not_to_be_trusted_waits(tmp_path: Path, days: int) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*Authority(tmp_path, "nobody").issue("omegaai", days=days))
    runner = web.AppRunner(web.Application())
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]
    async with aiohttp.ClientSession() as session:
        with pytest.raises(AccessRefused, match="certificate"):
            await client_of(f"https://127.0.0.1:{port}", session).read("Patient", "7")
    await runner.cleanup()


async def test_no_tls_where_tls_is_set_and_no_such_host_wait() -> None:
    async with FakeOmegaAI().serving() as server, aiohttp.ClientSession() as session:
        with pytest.raises(AccessRefused, match="TLS"):
            await client_of(server.base_url.replace("http:", "https:"), session).read("Patient", "7")
        with pytest.raises(Transient, match=r"name is not known \(omegaai\.base_url\)"):
            await client_of("http://omegaai.invalid", session).read("Patient", "7")


POWERSERVER = [
    ("AA", [], None, ""),
    ("CA", [], None, ""),
    ("AE", [], PASSES, "no ERR"),
    ("AE", [("204", "PID-3")], PASSES, "PID-3 code 204"),
    ("CE", [("207", "")], PASSES, "message code 207"),
    ("AR", [("200", "MSH-9.1")], ACCESS, "MSH-9.1 code 200"),
    ("AR", [("201", "MSH-9.2")], ACCESS, "201"),
    ("AR", [("202", "MSH-11")], ACCESS, "202"),
    ("CR", [("203", "MSH-12")], ACCESS, "203"),
    ("AR", [("101", "PID-3"), ("203", "MSH-12")], ACCESS, "203"),
    ("AR", [("103", "MSH-4")], ACCESS, "MSH-4 code 103"),
    ("AR", [("103", "MSH-6.1")], ACCESS, "MSH-6.1 code 103"),
    ("AR", [("206", "ORC-2")], PASSES, "206"),
    ("AR", [("101", "PID-3")], FINAL, "PID-3 code 101"),
    ("AR", [("101", "MSH-10")], FINAL, "MSH-10"),
    ("AR", [("205", "ORC-2")], FINAL, "205"),
    ("AR", [("207", "")], FINAL, "207"),
    ("AR", [], FINAL, "no ERR"),
    ("CR", [], FINAL, "no ERR"),
    ("AR", [("Jane Roe", "PID-5")], FINAL, "PID-5 code [masked]"),
]
SIU = b"MSH|^~\\&|SUITE|N|PS|N|20261130||SIU^S14|M1|P|2.5.1\rSCH|1\r"


class NoSteps:
    async def of_link(self, _: UUID) -> None:
        return None


async def sent_to_powerserver(port: int, context: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> Receipt:
    client = Client(host, port, ssl=context, ack_timeout_seconds=60)
    sender = PowerServerSender([client], NoSteps())
    try:
        return await sender.send(a_delivery("status.confirmed", SIU))
    finally:
        await sender.close()


@pytest.mark.parametrize(("code", "errors", "expected", "words"), POWERSERVER)
async def test_what_an_acknowledgement_of_powerserver_means(
    code: str, errors: list[tuple[str, str]], expected: type[Exception] | None, words: str
) -> None:
    async def handle(content: bytes, _: object) -> bytes:
        found = [AckError(code=number, location=place, text="Jane Roe") for number, place in errors]
        return build_ack(Message.parse(content), code, control_id="A1", text="Jane Roe", errors=found).to_bytes()

    server = await start_server(handle, "127.0.0.1", 0)
    try:
        if expected is None:
            assert (await sent_to_powerserver(server.port)).detail["ack"] == code
            return
        with pytest.raises((Transient, Permanent)) as raised:
            await sent_to_powerserver(server.port)
    finally:
        await server.close()
    assert type(raised.value) is expected, raised.value
    assert words in str(raised.value)
    assert "Roe" not in str(raised.value)


async def test_an_acknowledgement_of_nothing_but_errors_costs_no_time() -> None:
    errors = b"ERR||PID^1^5|101\r" * 60_000

    async def handle(content: bytes, _: object) -> bytes:
        return build_ack(Message.parse(content), "AR", control_id="A1").to_bytes() + errors

    server = await start_server(handle, "127.0.0.1", 0)
    try:
        with pytest.raises(Permanent) as raised:
            await sent_to_powerserver(server.port)
    finally:
        await server.close()
    assert raised.value.reason.count("PID-5") == 5


LINES = ("a foreign certificate", "an expired certificate", "no TLS", "no such host", "nobody")


@pytest.mark.parametrize("line", LINES)
async def test_a_line_to_powerserver_that_cannot_be_made_waits(tmp_path: Path, line: str) -> None:
    known, foreign = Authority(tmp_path, "known"), Authority(tmp_path, "foreign")
    issuer = foreign if line == "a foreign certificate" else known
    files = issuer.issue("powerserver", days=-1 if line == "an expired certificate" else 30)

    async def handle(_: bytes, __: object) -> None:
        return None

    server = await start_server(handle, "127.0.0.1", 0, ssl=None if line == "no TLS" else server_context(*files))
    port = 1 if line == "nobody" else server.port
    host = "powerserver.invalid" if line == "no such host" else "127.0.0.1"
    try:
        with pytest.raises(Transient) as raised:
            await sent_to_powerserver(port, client_context(authorities=known.path), host)
    finally:
        await server.close()
    waits_for_a_person = line.endswith("certificate")
    assert isinstance(raised.value, AccessRefused) is waits_for_a_person
    assert "PowerServer" in raised.value.reason
