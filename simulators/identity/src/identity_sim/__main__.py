"""`python -m identity_sim`: serve until SIGTERM or SIGINT."""

import asyncio
import os
import sys

from identity_sim.app import Provider, opened
from identity_sim.settings import Refused, Settings, load
from simulator_kit.serving import serving, until_stopped


async def serve(settings: Settings) -> None:
    async with (
        opened(settings) as provider,
        serving(provider.app, settings.host, settings.http_port, close_streams=_nothing) as port,
    ):
        print(f"Identity provider for development: {provider.settings.issuer}, port {port}", flush=True)
        await until_stopped()


def _nothing() -> None:
    """Does nothing: this simulator has no event streams."""


def main() -> int:
    try:
        settings = load(sys.argv[1:], os.environ)
    except Refused as error:
        print(f"identity: {error}", file=sys.stderr)
        return 2
    try:
        asyncio.run(serve(settings))
    except OSError as error:
        print(f"identity: cannot start: {error}", file=sys.stderr)
        return 1
    return 0


__all__ = ["Provider", "main"]

if __name__ == "__main__":
    sys.exit(main())
