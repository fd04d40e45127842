"""`python -m mailsink`: serve until SIGTERM or SIGINT."""

import asyncio
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mailsink.app import Sink
from simulator_kit.options import Options
from simulator_kit.serving import until_stopped


def load(arguments: list[str], environment: Mapping[str, str]) -> dict[str, Any]:
    """Settings from the arguments over the environment."""
    options = Options(
        "mailsink",
        "MAILSINK_",
        "Accepts every mail on an SMTP port, keeps it, and shows it on a page. For development only.",
        environment,
    )
    options.add("host", "127.0.0.1", "address of both ports")
    options.add("http_port", 8203, "port of the inbox, JSON and control", int)
    options.add("smtp_port", 11025, "port that takes mail", int)
    options.add("data_dir", ".local/mailsink", "folder of the SQLite store", Path)
    return options.read(arguments)


async def serve(settings: Mapping[str, Any]) -> None:
    host = settings["host"]
    async with Sink(settings["data_dir"], host, settings["http_port"], settings["smtp_port"]) as sink:
        print(f"mailsink: inbox http://{host}:{sink.http_port}  smtp {host}:{sink.smtp_port}", flush=True)
        await until_stopped()


def main() -> int:
    try:
        asyncio.run(serve(load(sys.argv[1:], os.environ)))
    except OSError as error:
        print(f"mailsink: cannot start: {error}")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
