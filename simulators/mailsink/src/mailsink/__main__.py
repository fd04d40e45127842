"""``python -m mailsink``: one process, an SMTP port and an inbox page."""

import argparse
import asyncio
import os
import signal
from pathlib import Path

from mailsink.app import Sink


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="mailsink",
        description="Accepts every mail on an SMTP port, keeps it, and shows it on a page. For development only.",
    )
    environment = os.environ
    parser.add_argument(
        "--host",
        default=environment.get("MAILSINK_HOST", "127.0.0.1"),
        help="address to listen on (MAILSINK_HOST, default 127.0.0.1)",
    )
    parser.add_argument(
        "--http-port",
        type=int,
        default=int(environment.get("MAILSINK_HTTP_PORT", "8203")),
        help="port of the inbox page (MAILSINK_HTTP_PORT, default 8203)",
    )
    parser.add_argument(
        "--smtp-port",
        type=int,
        default=int(environment.get("MAILSINK_SMTP_PORT", "11025")),
        help="port that takes mail (MAILSINK_SMTP_PORT, default 11025)",
    )
    parser.add_argument(
        "--data-dir",
        type=Path,
        default=Path(environment.get("MAILSINK_DATA_DIR", ".local/mailsink")),
        help="folder of the store (MAILSINK_DATA_DIR, default .local/mailsink)",
    )
    return parser.parse_args()


async def _serve(arguments: argparse.Namespace) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    async with Sink(arguments.data_dir, arguments.host, arguments.http_port, arguments.smtp_port) as sink:
        print(f"mailsink: inbox http://{arguments.host}:{sink.http_port}  smtp {arguments.host}:{sink.smtp_port}")
        await stop.wait()


def main() -> int:
    arguments = _arguments()
    try:
        asyncio.run(_serve(arguments))
    except OSError as error:
        print(f"mailsink: cannot start: {error}")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
