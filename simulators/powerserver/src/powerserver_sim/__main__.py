"""`python -m powerserver_sim`: serve until SIGTERM or SIGINT."""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Iterator

import uvicorn

from powerserver_sim.bootstrap import running
from powerserver_sim.settings import Settings, load


class _Server(uvicorn.Server):
    """Leaves signals to `serve`, which ends the event streams first."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(settings: Settings) -> None:
    async with running(settings) as simulator:
        server = _Server(
            uvicorn.Config(
                simulator.app,
                host=settings.http_host,
                port=settings.http_port,
                log_level="warning",
                access_log=False,
                lifespan="off",
                timeout_graceful_shutdown=5,
            )
        )

        def stop() -> None:
            simulator.services.live.close()
            server.should_exit = True

        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop)
        print(
            f"PowerServer simulator: http://{settings.http_host}:{settings.http_port}, "
            f"MLLP {settings.mllp_host}:{simulator.mllp_port}, "
            f"sends to {settings.peer_host}:{settings.peer_port} as {settings.profile}",
            flush=True,
        )
        await server.serve()
    print("PowerServer simulator stopped", flush=True)


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    asyncio.run(serve(load(sys.argv[1:], os.environ)))


if __name__ == "__main__":
    main()
