"""Settings come from the environment (`OMEGAAI_SIM_…`) and may be overridden on the command line."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

PREFIX: Final = "OMEGAAI_SIM_"
Dialect = Literal["strict", "vendor"]
DIALECTS: Final[tuple[Dialect, ...]] = ("strict", "vendor")

CLIENT_ID: Final = "suite"
CLIENT_SECRET: Final = "development-secret"  # noqa: S105 (a stand-in's, known to everybody)
STAFF_NAME: Final = "admin"
STAFF_PASSWORD: Final = "development"  # noqa: S105
PIN: Final = "246810"


@dataclass(frozen=True, slots=True)
class Settings:
    """What one simulator process needs to know; every value has a development default."""

    data_dir: Path
    http_host: str
    http_port: int
    dialect: Dialect
    token_seconds: int


def load(arguments: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """Settings from arguments over the environment; argparse exits with status 2 on a bad value."""
    parser = argparse.ArgumentParser(
        prog="python -m omegaai_sim",
        description="A stand-in for OmegaAI and Blume: FHIR R4, OAuth 2, events, and the portal's pages.",
        epilog=f"Each option can be given as an environment variable, for example {PREFIX}HTTP_PORT.",
    )

    def option(name: str, default: object, words: str, kind: type = str, choices: Sequence[str] | None = None) -> None:
        value = environment.get(PREFIX + name.upper(), str(default))
        parser.add_argument("--" + name.replace("_", "-"), default=value, type=kind, choices=choices, help=words)

    option("data_dir", "omegaai-data", "directory of the SQLite store", Path)
    option("http_host", "127.0.0.1", "address of FHIR, portal and pages")
    option("http_port", 8202, "port of FHIR, portal and pages", int)
    option("dialect", "strict", "how resources are written when read", choices=DIALECTS)
    option("token_seconds", 3600, "how long an access token lives", int)
    return Settings(**vars(parser.parse_args(arguments)))
