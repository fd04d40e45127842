"""R3: deaths before and after the sending of patients' requests: PowerServer books each once, under one control id."""

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sync_harness import Harness
from sync_samples import siu
from test_patients_requests import asked, at

from chassis import failpoints
from chassis.deliveries import DeliveryWorker
from chassis.settings import RetrySettings
from chassis.testing import DEATHS_AT_EACH_POINT, Deaths, eventually
from hl7v2 import Message, build_ack
from hl7v2.mllp import Client, Peer, start_server
from omegaai.client import Found
from scheduler_sync.adapters.omegaai import reader
from scheduler_sync.adapters.omegaai.tasks import TaskItem
from scheduler_sync.adapters.powerserver.sender import PowerServerSender
from scheduler_sync.commands import Asked
from scheduler_sync.domain.patient import PatientIdentifier
from scheduler_sync.store.queries import StoredSteps

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]
POINTS = ("delivery.after-claim-before-send", "delivery.after-send-before-mark")


async def test_deaths_around_the_sending_of_a_request(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every second request is given up again: the cancellation comes after its booking, whatever dies."""
    deaths = Deaths(*POINTS)
    monkeypatch.setattr(failpoints, "hit", deaths.hit)
    assert await harness.hear(siu(control_id="known", placer="P1")) == [None]
    heard: list[tuple[str, str]] = []
    effects: dict[str, list[str]] = {}

    async def powerserver(frame: bytes, _: Peer) -> bytes:
        message = Message.parse(frame)
        control_id, placer = message.control_id or "", message.get("SCH-1.1") or ""
        if control_id not in {number for number, _ in heard}:
            effects.setdefault(placer, []).append(message.trigger)
        heard.append((control_id, placer))
        return build_ack(message, "AA", control_id=f"A{len(heard)}").to_bytes()

    asks: list[str] = []

    async def a_patient_asks() -> None:
        identifier = f"a{len(asks)}"
        asks.append(identifier)
        start = 30 * len(asks)
        body = asked(identifier, start=at(start), end=at(start + 30))
        await apply(harness, body, "1")
        if len(asks) % 2:
            await apply(harness, {**body, "status": "cancelled"}, "2")

    server = await start_server(powerserver, "127.0.0.1", 0)
    clients = [Client("127.0.0.1", server.port, ack_timeout_seconds=10) for _ in range(2)]

    def worker() -> DeliveryWorker:
        return DeliveryWorker(
            harness.store, "powerserver", PowerServerSender(clients, StoredSteps(harness.store.pool)).send,
            settled=harness.settlement.powerserver, lease_seconds=0.2, poll_seconds=0.05,
            retry=RetrySettings(first_seconds=0.02, longest_seconds=0.1),
        )  # fmt: skip

    async def all_done() -> bool:
        waiting = "SELECT count(*) FROM deliveries WHERE destination = 'powerserver' AND state <> 'done'"
        return await harness.store.pool.fetchval(waiting) == 0

    try:
        await deaths.lives(worker, a_patient_asks)
        assert all(deaths.at[point] == DEATHS_AT_EACH_POINT for point in POINTS)
        last = worker()
        running = asyncio.create_task(last.run())
        await eventually(all_done, what="every delivery done")
        await last.stop()
        await asyncio.wait_for(running, 60)
    finally:
        for client in clients:
            await client.close()
        await server.close(drain_seconds=1)
    links = await harness.rows("SELECT * FROM appointment_links WHERE placer_number <> 'P1'")
    assert len(links) == len(asks)
    for link in links:
        done = effects.get(link["placer_number"], [])
        assert done == (["S12", "S15"] if link["state"] == "cancelled" else ["S12"]), (link["state"], done)
    repeats = sum(count - 1 for count in Counter(number for number, _ in heard).values())
    assert repeats > 0, "what was sent before a death was sent again"


async def apply(harness: Harness, body: dict, version: str) -> None:
    command = reader.appointment(Found(body, version), "t")
    about = Asked((PatientIdentifier("NORTHSIDE", "4711"),), "2")
    task = f"{body['id']}-{version}"
    now = datetime.now(UTC) + timedelta()
    item = TaskItem(task, now, command=replace(command, about=about))
    assert await harness.tasks.apply([item]) == [None]
