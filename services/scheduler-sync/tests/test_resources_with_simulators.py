"""A drift over the real wires: PowerServer saves a resource, a person decides, OmegaAI shows it, whatever dies."""

import json
from functools import partial
from pathlib import Path

import asyncpg
import pytest
from flow_processes import Flow, flow

from chassis.testing import eventually
from chassis.testing.depth import DEPTH

pytestmark = pytest.mark.stack
FORM = {
    "name": "BLUME CT", "modality": "CT", "department": "RADIOLOGY", "room": "CT1", "class": "SCANNER",
    "opens": "08:00", "closes": "22:59", "default_minutes": "45", "overbooking": "on",
}  # fmt: skip
POINTS = ("delivery.after-send-before-mark", "delivery.after-claim-before-send")
"""Of these the first is tried at each change: the other leaves nothing that could be done twice."""


async def state_of(migrated_url: str) -> tuple[str, list[str]]:
    """The state of BLUME CT, and the fields in which it differs."""
    connection = await asyncpg.connect(migrated_url)
    try:
        row = await connection.fetchrow("SELECT state, drift FROM resource_pairs WHERE name = 'BLUME CT'")
    finally:
        await connection.close()
    return ("", []) if row is None else (row["state"], [one[0] for one in json.loads(row["drift"])])


async def in_omegaai(running: Flow) -> dict:
    client = {"client_id": "suite", "client_secret": "development-secret", "grant_type": "client_credentials"}
    base = f"http://127.0.0.1:{running.omegaai}"
    async with running.session.post(f"{base}/auth/oauth2/v2.0/token", data={**client, "scope": "fhir"}) as answer:
        headers = {"Authorization": f"Bearer {(await answer.json())['access_token']}"}
    async with running.session.get(f"{base}/fhir/HealthcareService/11", headers=headers) as answer:
        return json.loads(await answer.text())


@pytest.mark.parametrize("point", POINTS if DEPTH.name == "full" else POINTS[:1])
async def test_a_drift_is_found_decided_and_gone_once_though_the_service_dies(
    tmp_path: Path, migrated_url: str, kafka_bootstrap: str, topic_prefix: str, point: str
):
    start = partial(flow, tmp_path, migrated_url, kafka_bootstrap, topic_prefix)
    async with start(profile="siu", dialect="vendor", send="siu") as running:
        await running.powerserver_settings("facilities/FAC01/resources/1", **FORM)

        async def is_drifted() -> bool:
            return (await state_of(migrated_url))[0] == "drifted"

        await eventually(is_drifted, what="the drift")
        assert (await state_of(migrated_url))[1] == ["hours", "duration", "overbooking"]

        await running.stop("scheduler-sync")
        running.set(FAILPOINTS=f"{point}=kill@1")
        await running.start("scheduler-sync")
        code, output = await running.command("resources", "apply", "BLUME CT", "--wait", "0")
        assert (code, "queued" in output) == (1, True), output
        await eventually(partial(running.has_died, "scheduler-sync"), what="the death")
        running.set(FAILPOINTS="")
        await running.start("scheduler-sync")

        async def is_linked() -> bool:
            return (await state_of(migrated_url))[0] == "linked"

        await eventually(is_linked, what="the fix in OmegaAI, as the import saw it")
        service = await in_omegaai(running)
        assert service["meta"]["versionId"] == "2", "written once"
        minutes = next(one for one in service["extension"] if one["url"].endswith("Duration"))
        assert minutes["valueInteger"] == 45
        _, told = await running.command("resources", "history", "BLUME CT")
        assert "fix.decided" in told
