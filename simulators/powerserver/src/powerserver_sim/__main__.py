"""`python -m powerserver_sim`: serve until SIGTERM or SIGINT."""

import asyncio
import logging
import os
import sys

from powerserver_sim.app import running
from powerserver_sim.options import Settings, load
from simulator_kit.serving import serving, until_stopped


async def serve(settings: Settings) -> None:
    host = settings.http_host
    async with (
        running(settings) as simulator,
        serving(
            simulator.app, host, settings.http_port, close_streams=simulator.services.live.close, grace_seconds=5
        ) as port,
    ):
        print(
            f"PowerServer simulator: http://{host}:{port}, MLLP {settings.mllp_host}:{simulator.mllp_port}, "
            f"worklist {settings.worklist_host}:{simulator.worklist_port} as {settings.worklist_title}, "
            f"sends to {settings.peer_host}:{settings.peer_port} as {settings.profile}",
            flush=True,
        )
        await until_stopped()
    print("PowerServer simulator stopped", flush=True)


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    asyncio.run(serve(load(sys.argv[1:], os.environ)))


if __name__ == "__main__":
    main()
