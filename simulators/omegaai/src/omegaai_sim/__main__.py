"""`python -m omegaai_sim`: serve until SIGTERM or SIGINT."""

import asyncio
import logging
import os
import signal
import sys

from omegaai_sim.app import running
from omegaai_sim.settings import Settings, load


async def serve(settings: Settings) -> None:
    async with running(settings) as simulator:
        server = simulator.server(settings.http_host, settings.http_port)

        def stop() -> None:
            simulator.close_streams()
            server.should_exit = True

        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop)
        address = f"http://{settings.http_host}:{settings.http_port}"
        print(f"OmegaAI simulator: {address}, Blume {address}/blume, dialect {settings.dialect}", flush=True)
        await server.serve()
    print("OmegaAI simulator stopped", flush=True)


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    asyncio.run(serve(load(sys.argv[1:], os.environ)))


if __name__ == "__main__":
    main()
