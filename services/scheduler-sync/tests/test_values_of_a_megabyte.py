"""A value of a megabyte out of a message stands in no answer, reason, row or page."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from sync_harness import listening
from sync_samples import NOW, PID, SITE_FILE, directory, orm, siu

from chassis.errors import Malformed, Permanent, Transient
from hl7v2 import Message, parse_ack
from hl7v2.mllp import Client, frame
from scheduler_sync import bootstrap
from scheduler_sync.adapters.powerserver import reader
from scheduler_sync.site import load

SITE = load(SITE_FILE)
LENGTHS = [1_500, 60_000, 250_000, 1_000_000]


def status(long: str) -> bytes:
    return siu(status=long)


def status_name(long: str) -> bytes:
    return siu(status=f"^{long}")


def facility(long: str) -> bytes:
    return siu().replace(b"^^FAC01\r", f"^^{long}\r".encode())


def resource(long: str) -> bytes:
    return siu(resource=long)


def issuer(long: str) -> bytes:
    return siu(pid=PID.replace("NORTHSIDE", long))


def study(long: str) -> bytes:
    return siu().replace(b"|A|CT-HEAD^CT Head", f"|A|{long}^{long}".encode())


def duration(long: str) -> bytes:
    return (
        siu(end="")
        .replace(b"||30|min^minutes", f"||{long}|min^minutes".encode())
        .replace(b"^^30^", f"^^{long}^".encode())
    )


def start(long: str) -> bytes:
    return siu(start=long)


def placer(long: str) -> bytes:
    return siu(placer=long)


def order_control(long: str) -> bytes:
    return orm(long)


VALUES = [status, status_name, facility, resource, issuer, study, duration, start, placer, order_control]


def read(raw: bytes) -> object:
    """The command, or the refusal."""
    try:
        return reader.read(Message.parse(raw), SITE, directory(), received_at=NOW)
    except (Permanent, Transient) as error:
        return error


@pytest.mark.parametrize("unit", ["7", "x", "\\X41\\", "é"])
@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("make", VALUES)
def test_a_long_value_is_refused_in_few_words(make, length: int, unit: str) -> None:
    error = read(make(unit * length))
    if not isinstance(error, Permanent | Transient):
        assert make is duration, "what nobody knows was taken"
        assert len(repr(error)) < 5000
        return
    assert len(error.reason) <= 500
    assert unit * 70 not in error.reason
    assert len(getattr(error, "setting", "")) <= 200
    assert len(getattr(error, "location", "")) <= 200


def test_the_beginning_of_a_long_reason_is_kept() -> None:
    raw = siu("S15").replace(b"|||||CT-HEAD^", b"||||^" + b"because " * 1000 + b"|CT-HEAD^")
    command = reader.read(Message.parse(raw), SITE, directory(), received_at=NOW)
    assert command.appointment.reason is not None
    assert command.appointment.reason.startswith("because because")
    assert len(command.appointment.reason) == 1000


def test_an_order_value_of_many_digits_is_one_that_the_site_does_not_know() -> None:
    command = reader.read(Message.parse(siu(status="9" * 900)), SITE, directory(), received_at=NOW)
    assert command.waits_for is not None
    assert command.waits_for.reason == "SCH-25: status [masked] is not in the site file"


@pytest.mark.parametrize("number", [1001, 5000])
def test_more_segments_than_an_appointment_can_have_are_refused(number: int) -> None:
    with pytest.raises(Malformed) as caught:
        reader.read(Message.parse(siu() + b"AIS|1|A|CT\r" * number), SITE, directory(), received_at=NOW)
    assert caught.value.code == "104"


@pytest.fixture
async def served(migrated_url: str) -> AsyncIterator[tuple[bootstrap.Core, Client]]:
    async with listening(migrated_url) as opened:
        yield opened


@pytest.mark.stack
@pytest.mark.parametrize("length", [5_000, 1_000_000])
async def test_no_answer_and_no_row_of_the_journal_repeats_it(served, length: int) -> None:
    core, _ = served
    reading, writer = await asyncio.open_connection("127.0.0.1", core.listener.port, limit=2**22)
    for make in VALUES:
        writer.write(frame(make("7" * length)))
        async with asyncio.timeout(60):
            answer = await reading.readuntil(b"\x1c\r")
        assert len(answer) < 2500, make.__name__
        assert b"7" * 70 not in answer, make.__name__
        assert parse_ack(answer.strip(b"\x0b\x1c\r")).code in ("AA", "AE", "AR")
    writer.close()
    rows = await core.store.pool.fetch("SELECT sender, control_id, type, reason, setting FROM hl7_journal")
    assert rows
    assert all(len(str(value)) <= 500 for row in rows for value in row.values())
