"""Settings come from the environment (`POWERSERVER_SIM_…`) and may be overridden on the command line."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from simulator_kit.options import Options

PREFIX = "POWERSERVER_SIM_"

Profile = Literal["siu", "orm", "both"]
Requests = Literal["propose", "move"]
REQUESTS: tuple[Requests, ...] = get_args(Requests)
PROFILES: tuple[Profile, ...] = get_args(Profile)
AdtOut = Literal["off", "on", "persons"]
"""Whether patients are announced: as visitors (ADT^A04, A08), or as persons (A28, A31); merges as A40."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one simulator process; every value has a development default.

    `profile` and `adt_out` seed the store. Afterwards the HL7 page switches them, until the setting itself changes.
    """

    data_dir: Path = Path("powerserver-data")
    http_host: str = "127.0.0.1"
    http_port: int = 8201
    mllp_host: str = "127.0.0.1"
    mllp_port: int = 12576
    worklist_host: str = "127.0.0.1"
    worklist_port: int = 11112
    worklist_title: str = "POWERSERVER"
    peer_host: str = "127.0.0.1"
    peer_port: int = 12575
    profile: Profile = "siu"
    adt_out: AdtOut = "off"
    requests: Requests = "propose"
    ack_timeout_seconds: float = 30.0
    retry_initial_seconds: float = 1.0
    retry_max_seconds: float = 10.0


def load(arguments: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """Settings from the arguments over the environment."""
    defaults = Settings()
    options = Options(
        "powerserver_sim",
        PREFIX,
        "A simulator of RamSoft PowerServer: scheduler pages, JSON API and HL7 v2 over MLLP.",
        environment,
    )
    options.add("data_dir", defaults.data_dir, "directory of the SQLite store", Path)
    options.add("http_host", defaults.http_host, "address of pages and API")
    options.add("http_port", defaults.http_port, "port of pages and API", int)
    options.add("mllp_host", defaults.mllp_host, "address of the MLLP listener")
    options.add("mllp_port", defaults.mllp_port, "port of the MLLP listener (HL7 in)", int)
    options.add("worklist_host", defaults.worklist_host, "address of the modality worklist (DICOM)")
    options.add("worklist_port", defaults.worklist_port, "port of the modality worklist", int)
    options.add("worklist_title", defaults.worklist_title, "AE title of the modality worklist")
    options.add("peer_host", defaults.peer_host, "host that HL7 is sent to")
    options.add("peer_port", defaults.peer_port, "port that HL7 is sent to", int)
    options.add("profile", defaults.profile, "which messages go out", choices=PROFILES)
    options.add(
        "adt_out",
        defaults.adt_out,
        "tell of patients added, changed and merged: on by ADT^A04/A08/A40, persons by A28/A31/A40",
        choices=get_args(AdtOut),
    )
    options.add("requests", defaults.requests, "a wanted time is proposed to staff, or moves at once", choices=REQUESTS)
    options.add("ack_timeout_seconds", defaults.ack_timeout_seconds, "how long an acknowledgement is waited for", float)
    options.add(
        "retry_initial_seconds", defaults.retry_initial_seconds, "first pause before a message is sent again", float
    )
    options.add("retry_max_seconds", defaults.retry_max_seconds, "longest pause before a message is sent again", float)
    return Settings(**options.read(arguments))
