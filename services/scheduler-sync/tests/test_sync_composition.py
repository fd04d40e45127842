"""The running service as the composition root puts it together."""

import pytest
from sync_harness import SITE_FILE

from scheduler_sync import bootstrap
from scheduler_sync.settings import SchedulerSyncSettings


@pytest.mark.stack
async def test_what_brings_work_in_stops_first_and_the_deliveries_last(migrated_url: str) -> None:
    settings = SchedulerSyncSettings(site_file=SITE_FILE, store={"url": migrated_url}, _env_file=None)
    service = await bootstrap.build(settings)
    try:
        loops = list(service.loops)
        assert loops[:4] == ["hl7-listener", "omegaai-feed", "omegaai-tasks", "reconciliation"]
        assert loops[-3:] == ["relay", "to-omegaai", "to-powerserver"]
        assert {"resource-import", "waiting", "claims", "clock", "housekeeping", "store-server"} == set(loops[4:-3])
        assert set(service.checks) == {"store", "kafka", "hl7", "resources", "deliveries"}
    finally:
        for close in service.closers:
            await close()
