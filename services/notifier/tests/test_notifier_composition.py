"""The running service as the composition root puts it together."""

import pytest

from notifier import bootstrap
from notifier.settings import NotifierSettings


@pytest.mark.stack
async def test_what_brings_work_in_stops_first_and_the_deliveries_last(migrated_database_url: str) -> None:
    settings = NotifierSettings(store={"url": migrated_database_url}, _env_file=None)
    service = await bootstrap.build(settings)
    try:
        loops = list(service.loops)
        assert loops[0] == "consumer"
        assert loops[-2:] == ["relay", "to-smtp"]
        assert {"open-messages", "clock", "housekeeping", "store-server"} == set(loops[1:-2])
        assert set(service.checks) == {"store", "kafka", "consumer", "deliveries"}
    finally:
        for close in service.closers:
            await close()
