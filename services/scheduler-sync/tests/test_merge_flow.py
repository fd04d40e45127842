"""A patient without an appointment, and a merge of two records, over the real wires between both simulators."""

from pathlib import Path
from typing import Any

import asyncpg
import pytest
from flow_processes import flow, next_week_at

from chassis.testing import eventually

pytestmark = pytest.mark.stack
SAM = {"id": "MRN7001", "family": "Doe", "given": "Sam", "birth_date": "1990-01-02", "sex": "M"}
SAM_AGAIN = {**SAM, "id": "MRN7002", "email": "sam.again@example.org"}


async def test_a_patient_without_an_appointment_and_a_merge(
    tmp_path: Path, migrated_url: str, kafka_bootstrap: str, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POWERSERVER_SIM_ADT_OUT", "persons")
    async with flow(tmp_path, migrated_url, kafka_bootstrap, topic_prefix) as running:
        store = await asyncpg.connect(migrated_url)
        try:
            await running.powerserver_api("patients", SAM)

            async def in_omegaai(number: int) -> bool:
                rows = await store.fetch("SELECT fhir_id FROM patients WHERE fhir_id IS NOT NULL")
                return len(rows) == number

            await eventually(lambda: in_omegaai(1), what="the patient without an appointment in OmegaAI")
            placer = await running.book(SAM_AGAIN, start=next_week_at(9))
            await eventually(lambda: in_omegaai(2), what="the second record in OmegaAI")

            async def card() -> dict[str, Any] | None:
                return (await running.cards(SAM_AGAIN["email"])).get(placer)

            await eventually(card, what="the appointment in Blume")
            await running.powerserver_api("patients/merge", {"id": SAM["id"], "ended_id": SAM_AGAIN["id"]})

            async def is_one() -> bool:
                ids = await store.fetch("SELECT DISTINCT fhir_id FROM patients")
                waiting = await store.fetchval("SELECT count(*) FROM deliveries WHERE state <> 'done'")
                return len(ids) == 1 and waiting == 0

            await eventually(is_one, what="one patient at both ends")
            numbers = await store.fetch("SELECT value FROM patient_identifiers ORDER BY position")
            assert {row["value"] for row in numbers} == {SAM["id"], SAM_AGAIN["id"]}
            assert len(await store.fetch("SELECT DISTINCT patient_id FROM patient_identifiers")) == 1
            shown = await eventually(card, what="the appointment in Blume after the merge")
            await running.press(SAM_AGAIN["email"], shown, "confirm")

            async def confirmed() -> bool:
                return await running.status_in_powerserver(placer) == "CONFIRMED"

            await eventually(confirmed, what="the patient's confirmation in PowerServer")
        finally:
            await store.close()
