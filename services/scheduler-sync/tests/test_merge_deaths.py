"""R3: deaths before and after OmegaAI's merge of two Patients: each merge has one effect there."""

import asyncio

import aiohttp
import pytest
from fake_omegaai import FakeOmegaAI, client_of
from merge_samples import merge, pid
from sync_harness import Harness
from sync_samples import siu

from chassis import failpoints
from chassis.deliveries import DeliveryWorker
from chassis.settings import RetrySettings
from chassis.testing import DEATHS_AT_EACH_POINT, Deaths, eventually
from scheduler_sync.adapters.omegaai.sender import OmegaAISender
from scheduler_sync.store.queries import StoredIds

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]
ENOUGH = 6
"""Deliveries that wait: no more merges are told until these have gone, or the last of them would go after minutes."""


async def test_deaths_around_omegaais_merge(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    points = ("merge.after-commit-before-call", "merge.after-call-before-answer")
    deaths = Deaths(*points)
    monkeypatch.setattr(failpoints, "hit", deaths.hit)
    merges = 0
    async with FakeOmegaAI().serving() as omegaai, aiohttp.ClientSession() as session:
        client = client_of(omegaai.base_url, session)

        async def waiting() -> int:
            open_ones = "SELECT count(*) FROM deliveries WHERE destination = 'omegaai' AND state <> 'done'"
            return int(await harness.store.pool.fetchval(open_ones))

        async def all_done() -> bool:
            return await waiting() == 0

        async def two_records_are_merged() -> None:
            nonlocal merges
            if await waiting() >= ENOUGH:
                return
            merges += 1
            kept, ended = f"{merges}1", f"{merges}2"
            said = [siu(placer=f"P{number}", control_id=f"C{number}", pid=pid(number)) for number in (kept, ended)]
            assert await harness.hear(*said, merge(kept, f"{ended}^^^NORTHSIDE", control_id=f"M{merges}")) == [None] * 3

        def worker() -> DeliveryWorker:
            sender = OmegaAISender(client, StoredIds(harness.store.pool))
            return DeliveryWorker(
                harness.store, "omegaai", sender.send, settled=harness.settlement.omegaai, lease_seconds=0.2,
                poll_seconds=0.05, retry=RetrySettings(first_seconds=0.02, longest_seconds=0.1),
            )  # fmt: skip

        await deaths.lives(worker, two_records_are_merged)
        assert deaths.at == dict.fromkeys(points, DEATHS_AT_EACH_POINT)
        last = worker()
        running = asyncio.create_task(last.run())
        await eventually(all_done, what="every delivery done")
        await last.stop()
        await asyncio.wait_for(running, 60)
        patients = omegaai.all("Patient")
    ended = [one for one in patients if one.get("link")]
    assert (len(patients), len(ended)) == (2 * merges, merges)
    ids = await harness.rows("SELECT fhir_id, count(*) AS number FROM patients GROUP BY fhir_id")
    assert {row["number"] for row in ids} == {2}, "both records of a person have one Patient"
    assert {row["fhir_id"] for row in ids}.isdisjoint(one["id"] for one in ended)
