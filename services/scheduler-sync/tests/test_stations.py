"""Stations of the mapping: messages that one may not send, and one that sends no acknowledgement."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import pytest
from sync_harness import RECEIVED_AT, Harness
from sync_samples import directory, orm, site_file, siu

from chassis.deliveries import Delivery
from chassis.errors import Malformed, NeedsSetup, Transient
from hl7v2 import Message
from hl7v2.mllp import Client
from scheduler_sync import explain
from scheduler_sync.adapters.powerserver import stations
from scheduler_sync.adapters.powerserver.sender import PowerServerSender
from scheduler_sync.mapping import Hl7Mapping
from scheduler_sync.receipts import NOT_ACKNOWLEDGED, StatusAnswered


def mapping(**stations_by_name: object) -> Hl7Mapping:
    return Hl7Mapping.model_validate({"stations": stations_by_name})


@pytest.mark.parametrize(
    ("raw", "lists", "name"),
    [
        (siu("S12"), {"*": {}}, None),
        (siu("S12"), {"RAMSOFT": {"may_send": ["SIU^S12"]}}, None),
        (siu("S13"), {"RAMSOFT": {"may_send": ["SIU^S12"]}}, "RAMSOFT"),
        (siu("S13"), {"RAMSOFT@FAC01": {"may_send": ["SIU^S12"]}, "RAMSOFT": {}}, "RAMSOFT@FAC01"),
        (siu("S13"), {"RAMSOFT@FAC02": {"may_send": ["SIU^S12"]}, "RAMSOFT": {}}, None),
        (siu("S13"), {"RAMSOFT": {}, "*": {"may_send": []}}, None),
        (siu("S13"), {"OTHER": {}, "*": {"may_send": []}}, "*"),
        (orm("CA"), {"RAMSOFT": {"may_send": ["SIU^S12"]}}, "RAMSOFT"),
        (orm("CA").replace(b"ORM^O01", b"ORM"), {"RAMSOFT": {"may_send": ["ORM^O01"]}}, None),
        (siu().replace(b"SIU^S12", b"ADT^A08"), {"RAMSOFT": {"may_send": ["SIU^S12"]}}, "RAMSOFT"),
    ],
)
def test_a_station_may_send_what_its_list_has(raw, lists, name):
    found = stations.refused(Message.parse(raw), Hl7Mapping.model_validate({"stations": lists}))
    assert (found and found[0]) == name
    if found is not None:
        assert isinstance(found[1], Malformed)
        assert f"stations.{name}.may_send" in str(found[1])


def test_a_refusal_by_ae_is_kept_and_names_the_list():
    found = stations.refused(Message.parse(siu("S13")), mapping(RAMSOFT={"may_send": ["SIU^S12"], "refusal": "AE"}))
    assert found is not None
    assert isinstance(found[1], NeedsSetup)
    assert found[1].setting == "stations.RAMSOFT.may_send in the mapping file"


def test_explain_says_that_the_station_may_not_send_it():
    site = site_file().model_copy(update={"mapping": mapping(RAMSOFT={"may_send": ["SIU^S12"]})})
    told = explain.explain(siu("S13"), site, directory(site), received_at=RECEIVED_AT)
    assert told.code == "AR"
    assert "is not among the messages that this station may send" in told.text


@pytest.mark.stack
async def test_a_message_that_is_not_on_the_list_has_no_effect_and_is_counted(harness: Harness, monkeypatch):
    site = harness.site.file.model_copy(update={"mapping": mapping(RAMSOFT={"may_send": ["ORM^O01"]})})
    monkeypatch.setattr(harness.site, "file", site)
    counted: list[str] = []
    monkeypatch.setattr(type(harness.effects.meters), "not_permitted", lambda _, station: counted.append(station))
    (error,) = await harness.hear(siu())
    assert isinstance(error, Malformed)
    assert (counted, await harness.rows("SELECT * FROM patients")) == (["RAMSOFT"], [])


class Deaf:
    """A station that takes messages, and answers none or nonsense."""

    def __init__(self, answer: bytes = b"") -> None:
        self.got = bytearray()
        self.connections = 0
        self._answer = answer

    async def serve(self) -> asyncio.Server:
        return await asyncio.start_server(self._take, "127.0.0.1", 0)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while data := await reader.read(65536):
            self.got += data
            if self._answer:
                writer.write(self._answer)
        writer.close()


class NoSteps:
    async def of_link(self, link_id: UUID) -> None:
        del link_id


@pytest.fixture(params=[b"", b"\x0bMSH|junk\x1c\r"], ids=["silent", "answers all the same"])
async def deaf(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Deaf, int]]:
    station = Deaf(request.param)
    server = await station.serve()
    async with server:
        yield station, server.sockets[0].getsockname()[1]
        server.close_clients() if hasattr(server, "close_clients") else None


def delivery(number: int, payload: bytes) -> Delivery:
    return Delivery(
        id=UUID(int=number), destination="powerserver", key=UUID(int=1), kind="status.confirmed", payload=payload,
        idempotency_key=f"C{number}", headers={}, attempt=1, created_at=RECEIVED_AT,
    )  # fmt: skip


async def test_a_delivery_to_a_station_that_sends_no_acknowledgement_is_done_when_it_is_written(deaf):
    station, port = deaf
    client = Client("127.0.0.1", port, ack_timeout_seconds=30)
    sender = PowerServerSender([client], NoSteps(), expects_ack=lambda: False)
    payloads = [b"MSH|first", b"MSH|second" + b"x" * 3_000_000]
    for number, payload in enumerate(payloads):
        receipt = await sender.send(delivery(number, payload))
        answered = StatusAnswered.of(receipt)
        assert (answered.code, answered.was_sent) == (NOT_ACKNOWLEDGED, True)
    await sender.close()
    async with asyncio.timeout(60):
        while len(station.got) < sum(map(len, payloads)) + 6:
            await asyncio.sleep(0.01)
    assert bytes(station.got) == b"".join(b"\x0b" + one + b"\x1c\r" for one in payloads)
    assert station.connections == 1


async def test_a_station_that_is_away_is_tried_again():
    sender = PowerServerSender([Client("127.0.0.1", 9)], NoSteps(), expects_ack=lambda: False)
    with pytest.raises(Transient):
        await sender.send(delivery(1, b"MSH|x"))
