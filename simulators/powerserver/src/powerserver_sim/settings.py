"""Settings come from the environment (`POWERSERVER_SIM_…`) and may be overridden on the command line."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

PREFIX = "POWERSERVER_SIM_"

Profile = Literal["siu", "orm", "both"]
PROFILES: tuple[Profile, ...] = get_args(Profile)


@dataclass(frozen=True, slots=True)
class Settings:
    """What one simulator process needs to know; every value has a development default.

    `profile` and `adt_out` seed the store; afterwards the HL7 page switches them, until the setting itself changes.
    """

    data_dir: Path = Path("powerserver-data")
    http_host: str = "127.0.0.1"
    http_port: int = 8201
    mllp_host: str = "127.0.0.1"
    mllp_port: int = 12576
    peer_host: str = "127.0.0.1"
    peer_port: int = 12575
    profile: Profile = "siu"
    adt_out: bool = False
    ack_timeout_seconds: float = 30.0
    retry_initial_seconds: float = 1.0
    retry_max_seconds: float = 10.0


def load(arguments: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """Settings from command-line arguments over the environment; argparse exits with status 2 on a bad value."""
    defaults = Settings()
    parser = argparse.ArgumentParser(
        prog="python -m powerserver_sim",
        description="A stand-in for RamSoft PowerServer: scheduler pages, JSON API and HL7 v2 over MLLP.",
        epilog=f"Each option can be given as an environment variable, for example {PREFIX}HTTP_PORT.",
    )

    def option(
        name: str, default: object, help_text: str, kind: type = str, choices: Sequence[str] | None = None
    ) -> None:
        value = environment.get(PREFIX + name.upper(), str(default))
        parser.add_argument(
            "--" + name.replace("_", "-"), dest=name, default=value, type=kind, choices=choices, help=help_text
        )

    option("data_dir", defaults.data_dir, "directory of the SQLite store", Path)
    option("http_host", defaults.http_host, "address of pages and API")
    option("http_port", defaults.http_port, "port of pages and API", int)
    option("mllp_host", defaults.mllp_host, "address of the MLLP listener")
    option("mllp_port", defaults.mllp_port, "port of the MLLP listener (HL7 in)", int)
    option("peer_host", defaults.peer_host, "host that HL7 is sent to")
    option("peer_port", defaults.peer_port, "port that HL7 is sent to", int)
    option("profile", defaults.profile, "which messages go out", choices=PROFILES)
    option("adt_out", "off", "send ADT^A04/A08 when a patient is added or changed", choices=("on", "off"))
    option("ack_timeout_seconds", defaults.ack_timeout_seconds, "how long an acknowledgement is waited for", float)
    option("retry_initial_seconds", defaults.retry_initial_seconds, "first pause before a message is sent again", float)
    option("retry_max_seconds", defaults.retry_max_seconds, "longest pause before a message is sent again", float)
    parsed = parser.parse_args(arguments)
    return Settings(
        data_dir=parsed.data_dir,
        http_host=parsed.http_host,
        http_port=parsed.http_port,
        mllp_host=parsed.mllp_host,
        mllp_port=parsed.mllp_port,
        peer_host=parsed.peer_host,
        peer_port=parsed.peer_port,
        profile=cast("Profile", parsed.profile),
        adt_out=parsed.adt_out == "on",
        ack_timeout_seconds=parsed.ack_timeout_seconds,
        retry_initial_seconds=parsed.retry_initial_seconds,
        retry_max_seconds=parsed.retry_max_seconds,
    )
