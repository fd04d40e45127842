"""No log of the running suite holds a planted patient, although statements are slow and fail."""

import asyncio
import json
import os
import signal
import socket
import time
import urllib.error
import urllib.request

import asyncpg
import pytest

from demo_story.clients import STAFF
from local_stack.settings import Settings, service_databases
from roster import roster

pytestmark = pytest.mark.stack
SERVICES = [service.name for service in roster().services]
PATIENT = {
    "family": "Kanariová",
    "given": "Wilhelmina",
    "birth_date": "1956-11-03",
    "sex": "F",
    "email": "wilhelmina@canary.example",
    "phone": "(416)555-9931",
}
CANARIES = (
    "Kanariov", "Wilhelmina", "wilhelmina@canary", "canary.example", "19561103", "1956-11-03", "555-9931", "5559931",
    "MRN-777123",
)  # fmt: skip
UNKNOWN = (
    "MSH|^~\\&|POWERSERVER|Kanariová^Wilhelmina|SUITE||20261125120000||SIU^S12|Wilhelmina Kanariová|P|2.3.1\r"
    "PID|1||MRN-777123^^^Kanariová Wilhelmina||Kanariová^Wilhelmina||19561103|F|||||(416)555-9931\r"
    "AIL|1||Kanariová Wilhelmina"
)
BROKEN = (
    "MSH|^~\\&|POWERSERVER|FAC01|SUITE||20261125120000||SIU^S12|C2|P|2.3.1\rPID|1||MRN-777123\rSCH|Kanariová^Wilhelmina"
)


def post(url: str, body: object) -> dict[str, object]:
    asked = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json", **STAFF})  # noqa: S310
    with urllib.request.urlopen(asked, timeout=30) as response:  # noqa: S310 (an address of ours)
        return dict(json.load(response))


def hand_over(port: int, message: str) -> bytes:
    """Sends one message over MLLP; returns its acknowledgement."""
    with socket.create_connection(("127.0.0.1", port), 10) as line:
        line.settimeout(60)
        line.sendall(b"\x0b" + message.encode() + b"\x1c\r")
        answer = b""
        while not answer.endswith(b"\x1c\r"):
            piece = line.recv(4096)
            assert piece, "the listener closed the connection"
            answer += piece
    return answer


async def every_statement_is_slow(suite, *, on: bool) -> None:
    """Makes every statement of the services' roles slow: a role's settings override the server's."""
    settings = Settings(suite.base, suite.ports)
    password = (settings.data / "postgres.password").read_text().strip()
    admin = await asyncpg.connect(f"postgresql://postgres:{password}@127.0.0.1:{suite.ports['postgres']}/postgres")
    try:
        for role in service_databases():
            change = "SET log_min_duration_statement = 0" if on else "RESET log_min_duration_statement"
            await admin.execute(f"ALTER ROLE {role} {change}")
    finally:
        await admin.close()


async def break_rules(suite) -> list[str]:
    """Writes the patient against constraints and types of the services' stores.

    Returns the SQL states of the errors.
    """
    states = []
    store = await asyncpg.connect(Settings(suite.base, suite.ports).database_url("scheduler_sync"))
    columns = "id, sender, control_id, digest, type, raw, state"
    add = f"INSERT INTO hl7_journal ({columns}) VALUES ($1, $2, $3, $4, $5, $6, $7)"
    key = "0192f0c1-0000-7000-8000-000000000001"
    text = "Kanariová^Wilhelmina"
    try:
        for identifier in (key, key, None):
            try:
                await store.execute(add, identifier, text, text, b"", text, text.encode(), "rejected")
            except asyncpg.PostgresError as error:
                states.append(error.sqlstate)
        try:
            await store.execute("SELECT $1::text::date", text)
        except asyncpg.PostgresError as error:
            states.append(error.sqlstate)
    finally:
        await store.close()
    return states


def restart_services(suite) -> None:
    """Restarts the services, so that their pools have connections with the roles' present settings."""
    before = suite.pids()
    for name in SERVICES:
        os.kill(before[name], signal.SIGKILL)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        now = suite.pids()
        if all(now[name] not in {before[name], None, 0} for name in SERVICES) and all(
            is_ready(suite, name) for name in ("scheduler-sync", "notifier")
        ):
            return
        time.sleep(0.1)
    pytest.fail("the services did not come back")


def is_ready(suite, name: str) -> bool:
    try:
        suite.get(name, "/readyz")
    except (urllib.error.URLError, OSError):
        return False
    return True


def mails_to(suite, address: str) -> int:
    return sum(address in json.dumps(row) for row in suite.get("mailsink", "/ledger?after=0&limit=5000")["rows"])


@pytest.mark.timeout(400)
def test_no_log_of_the_stack_names_a_patient(suite) -> None:
    if "POSTGRES_ADMIN_URL" in suite.environment:
        pytest.skip("the session's own servers write their logs elsewhere")
    asyncio.run(every_statement_is_slow(suite, on=True))
    try:
        restart_services(suite)
        slot = suite_slot(suite)
        placer = post(
            f"{suite.address('powerserver')}/api/appointments",
            {"patient": PATIENT, "resource": slot["resource"], "start": slot["start"], "facility": slot["facility"],
             "study_types": slot.get("study_types") or [slot["study_type"]]},
        )["placer_number"]  # fmt: skip
        deadline = time.monotonic() + 120
        while mails_to(suite, PATIENT["email"]) == 0:
            assert time.monotonic() < deadline, f"no mail about {placer} came within two minutes"
            time.sleep(0.1)
        answers = [hand_over(suite.ports["scheduler-sync.mllp"], message) for message in (UNKNOWN, BROKEN)]
        assert all(b"MSA|A" in answer and b"MSA|AA" not in answer for answer in answers)
        assert asyncio.run(break_rules(suite)) == ["23505", "23502", "22007"]
    finally:
        asyncio.run(every_statement_is_slow(suite, on=False))
    logs = sorted(path for path in Settings(suite.base, suite.ports).logs.rglob("*") if path.is_file())
    texts = {path.name: path.read_text(errors="replace") for path in logs}
    assert {"postgres.log", "kafka.log", "mailsink.log", *(f"{name}.log" for name in SERVICES)} <= texts.keys()
    assert "execute" in texts["postgres.log"], "no slow statement was logged"
    assert {name: found for name, text in texts.items() if (found := [one for one in CANARIES if one in text])} == {}


def suite_slot(suite) -> dict[str, object]:
    asked = urllib.request.Request(  # noqa: S310 (an address of ours)
        f"{suite.address('powerserver')}/api/free-slots?count=1", headers=dict(STAFF)
    )
    with urllib.request.urlopen(asked, timeout=30) as response:  # noqa: S310
        return dict(json.load(response)["slots"][0])
