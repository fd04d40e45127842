"""Settings come from the environment (`OMEGAAI_SIM_…`) and may be overridden on the command line."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from simulator_kit.options import Options

PREFIX: Final = "OMEGAAI_SIM_"
Dialect = Literal["strict", "vendor"]
Booker = Literal["own", "suite"]
BOOKERS: Final[tuple[Booker, ...]] = ("own", "suite")
DIALECTS: Final[tuple[Dialect, ...]] = ("strict", "vendor")

CLIENT_ID: Final = "suite"
CLIENT_SECRET: Final = "development-secret"  # noqa: S105 (a simulator's, published)
STAFF_NAME: Final = "admin"
STAFF_PASSWORD: Final = "development"  # noqa: S105
PIN: Final = "246810"


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one simulator process."""

    data_dir: Path
    http_host: str
    http_port: int
    dialect: Dialect
    token_seconds: int
    books_by: Booker = "own"
    scheduling_url: str = ""
    scheduling_token: str = field(default="", repr=False)


def load(arguments: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """Settings from arguments over the environment."""
    options = Options(
        "omegaai_sim",
        PREFIX,
        "A simulator of OmegaAI and Blume: FHIR R4, OAuth 2, events, and the portal's pages.",
        environment,
    )
    options.add("data_dir", "omegaai-data", "directory of the SQLite store", Path)
    options.add("http_host", "127.0.0.1", "address of FHIR, portal and pages")
    options.add("http_port", 8202, "port of FHIR, portal and pages", int)
    options.add("dialect", "strict", "how resources are written when read", choices=DIALECTS)
    options.add("token_seconds", 3600, "how long an access token lives", int)
    options.add("books_by", "own", "what Blume books by: itself, or the suite's scheduling API", choices=BOOKERS)
    options.add("scheduling_url", "", "address of the suite's scheduling API")
    options.add("scheduling_token", "", "Blume's token for the scheduling API")
    return Settings(**options.read(arguments))
