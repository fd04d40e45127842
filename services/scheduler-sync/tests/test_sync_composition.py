"""The running service as the composition root puts it together."""

import pytest
from sync_harness import SITE_FILE

from scheduler_sync import bootstrap
from scheduler_sync.settings import SchedulerSyncSettings
from scheduler_sync.site import Site


@pytest.mark.stack
async def test_what_brings_work_in_stops_first_and_the_deliveries_last(migrated_url: str) -> None:
    settings = SchedulerSyncSettings(site_file=SITE_FILE, store={"url": migrated_url}, _env_file=None)
    service = await bootstrap.build(settings)
    try:
        loops = list(service.loops)
        assert loops[:4] == ["hl7-listener", "omegaai-feed", "omegaai-tasks", "reconciliation"]
        assert loops[-3:] == ["relay", "to-omegaai", "to-powerserver"]
        own = {"resource-import", "waiting", "claims", "reviews", "timers"}
        assert {*own, "clock", "housekeeping", "store-server"} == set(loops[4:-3])
        assert set(service.checks) == {"store", "kafka", "hl7", "resources", "deliveries"}
    finally:
        for close in service.closers:
            await close()


@pytest.mark.stack
async def test_a_wrong_change_of_the_mapping_is_said_beside_readiness(migrated_url: str, tmp_path, monkeypatch):
    for path in (SITE_FILE, SITE_FILE.with_name("northside.hl7.yaml")):
        (tmp_path / path.name).write_text(path.read_text("utf-8"), "utf-8")
    settings = SchedulerSyncSettings(site_file=tmp_path / SITE_FILE.name, store={"url": migrated_url}, _env_file=None)
    sites: list[Site] = []
    monkeypatch.setattr(bootstrap, "Site", lambda path: sites.append(Site(path)) or sites[-1])
    service = await bootstrap.build(settings)
    try:
        note = service.notes["site-file"]
        assert note() is None
        (tmp_path / "northside.hl7.yaml").write_text("siu: {resource: AIG}\n")
        assert sites[0].refresh() is False
        assert "northside.hl7.yaml:1: siu.resource.read.0" in (note() or "")
        assert (note() or "").startswith("the content before the change is in force: ")
    finally:
        for close in service.closers:
            await close()
