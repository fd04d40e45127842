"""`python -m omegaai_sim`: serve until SIGTERM or SIGINT."""

import asyncio
import logging
import os
import sys

from omegaai_sim.app import running
from omegaai_sim.settings import Settings, load
from simulator_kit.serving import serving, until_stopped


async def serve(settings: Settings) -> None:
    host = settings.http_host
    async with (
        running(settings) as simulator,
        serving(
            simulator.app, host, settings.http_port, close_streams=simulator.close_streams, grace_seconds=1,
            websockets=True,
        ) as port,
    ):  # fmt: skip
        address = f"http://{host}:{port}"
        print(f"OmegaAI simulator: {address}, Blume {address}/blume, dialect {settings.dialect}", flush=True)
        await until_stopped()
    print("OmegaAI simulator stopped", flush=True)


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    asyncio.run(serve(load(sys.argv[1:], os.environ)))


if __name__ == "__main__":
    main()
