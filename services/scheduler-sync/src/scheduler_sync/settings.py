"""scheduler-sync's settings: environment variables ``SCHEDULER_SYNC_…``, each also from a file by ``…_FILE``.

Read once, in the composition root.
"""

import ssl
from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, Field, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from chassis.hl7 import MllpLimits, OutboundSettings
from chassis.production import Demand
from chassis.settings import ServiceSettings, SettingsError
from hl7v2.mllp import (
    DEFAULT_MAX_BYTES_IN_FLIGHT,
    DEFAULT_MAX_FRAME_BYTES,
    largest_frame_bytes,
    server_context,
)
from omegaai.settings import DEMANDS as OMEGAAI_DEMANDS
from omegaai.settings import OmegaAISettings, between_commas
from omegaai.tasks.claims import claimant
from scheduler_sync.domain.reconciliation import Horizon

SITE_FILE: Final = Path("deploy/site/northside.yaml")
Port = Annotated[int, Field(ge=0, le=65535)]


def _both_or_none(certificate: Path | None, key: Path | None) -> None:
    if (certificate is None) != (key is None):
        raise ValueError("certificate_file and key_file go together")


def _unusable(group: str, error: OSError) -> SettingsError:
    what = error.reason if isinstance(error, ssl.SSLError) else error.strerror
    return SettingsError([f"SCHEDULER_SYNC_{group}__…_FILE: a certificate, key or authority cannot be used ({what})"])


class MllpSettings(BaseModel):
    """Where PowerServer's messages come in; over TLS with a certificate, mutual with the clients' authorities.

    ``max_message_bytes``: a larger message is answered AR. ``max_bytes_in_flight``: what all connections may hold
    together; a message for which there is no room is answered AE, and its sender comes again. Memory is about twice
    that, beside the service's own. ``frame_timeout_seconds``: so soon a message that has begun must end, a second later
    for each 64 KiB of it.
    """

    host: str = "127.0.0.1"
    port: Port = 12575
    certificate_file: Path | None = None
    key_file: Path | None = None
    client_ca_file: Path | None = None
    allow_plaintext: bool = False
    allow_any_client: bool = False
    max_message_bytes: Annotated[int, Field(ge=2**16, le=2**29)] = DEFAULT_MAX_FRAME_BYTES
    max_bytes_in_flight: Annotated[int, Field(ge=2**20)] = DEFAULT_MAX_BYTES_IN_FLIGHT
    max_connections: Annotated[int, Field(ge=1)] = 2500
    frame_timeout_seconds: Annotated[float, Field(gt=0)] = 60.0

    @model_validator(mode="after")
    def _a_message_fits(self) -> "MllpSettings":
        largest = largest_frame_bytes(self.max_bytes_in_flight)
        if self.max_message_bytes > largest:
            raise ValueError(
                f"max_message_bytes must be at most {largest}, seven eighths of max_bytes_in_flight: "
                "a larger message would be sent again and again"
            )
        return self

    @property
    def limits(self) -> MllpLimits:
        return MllpLimits(
            self.max_message_bytes, self.max_bytes_in_flight, self.max_connections, self.frame_timeout_seconds
        )

    @model_validator(mode="after")
    def _files_go_together(self) -> "MllpSettings":
        _both_or_none(self.certificate_file, self.key_file)
        if self.client_ca_file is not None and self.certificate_file is None:
            raise ValueError("client_ca_file is of use only with certificate_file and key_file")
        return self

    def ssl_context(self) -> ssl.SSLContext | None:
        """None: without TLS. Raises ``SettingsError`` when a file cannot be used."""
        if self.certificate_file is None or self.key_file is None:
            return None
        try:
            return server_context(self.certificate_file, self.key_file, client_authorities=self.client_ca_file)
        except OSError as error:  # an SSLError is one
            raise _unusable("MLLP", error) from error


class PowerServerSettings(OutboundSettings):
    """Where PowerServer listens."""

    def ssl_context(self, *, variable: str = "SCHEDULER_SYNC_POWERSERVER") -> ssl.SSLContext | None:
        return super().ssl_context(variable=variable)


class SyncOmegaAISettings(OmegaAISettings):
    """As every service's, and what scheduler-sync does alone.

    ``complete_unread``: types, between commas, whose Tasks no service handles and this site wants completed.
    """

    resource_import_seconds: Annotated[float, Field(gt=0)] = 300.0
    complete_unread: str = ""

    @field_validator("complete_unread")
    @classmethod
    def _are_types_of_nobody(cls, value: str) -> str:
        for kind in between_commas(value):
            if not kind.isalpha() or claimant(kind) is not None:
                raise ValueError("name resource types that no service handles, such as ImagingStudy, DiagnosticReport")
        return value

    @property
    def unread_types(self) -> tuple[str, ...]:
        """``complete_unread``, one by one."""
        return between_commas(self.complete_unread)


AeTitle = Annotated[str, Field(min_length=1, max_length=16, pattern=r"^[!-~]([ -~]*[!-~])?$")]


class WorklistSettings(BaseModel):
    """PowerServer's modality worklist (DICOM). Without ``host`` it is not asked.

    ``near_days``: today and the days after it that every run asks about. ``timeout_seconds`` is of each answer,
    ``longest_seconds`` of all answers of a run.
    """

    host: str = ""
    port: Port = 11112
    calling_title: AeTitle = "SUITE"
    called_title: AeTitle = "POWERSERVER"
    near_days: Annotated[int, Field(ge=1, le=60)] = 3
    timeout_seconds: Annotated[float, Field(gt=0)] = 20.0
    longest_seconds: Annotated[float, Field(gt=0)] = 300.0
    tls: bool = False
    allow_plaintext: bool = False
    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None

    @model_validator(mode="after")
    def _files_go_together(self) -> "WorklistSettings":
        _both_or_none(self.certificate_file, self.key_file)
        if not self.tls and (self.ca_file or self.certificate_file):
            raise ValueError("ca_file and certificate_file are of use only with tls")
        return self


class ReconciliationSettings(BaseModel):
    """How often both products are compared with the links, how far, and when a run stops and asks.

    Every run reads ``back_days`` before today and ``near_days`` from today on; the days up to ``ahead_days`` are spread
    over the night, from ``night_begins`` to ``night_ends`` (hours of the site's first facility; the same hour twice:
    every run reads all days). Where OmegaAI can tell what has changed, a run reads the changes alone, and all days
    again after ``whole_seconds``; ``overlap_seconds`` before the last reading are read again.

    A run asks when it would correct more than ``ask_above_share`` of the compared appointments, and ``ask_from`` or
    more.
    """

    interval_seconds: Annotated[float, Field(gt=0)] = 900.0
    back_days: Annotated[int, Field(ge=0, le=60)] = 1
    near_days: Annotated[int, Field(ge=1, le=400)] = 14
    ahead_days: Annotated[int, Field(ge=1, le=800)] = 200
    night_begins: Annotated[int, Field(ge=0, le=23)] = 22
    night_ends: Annotated[int, Field(ge=0, le=23)] = 5
    whole_seconds: Annotated[float, Field(gt=0)] = 86_400.0
    overlap_seconds: Annotated[float, Field(ge=0)] = 120.0
    page_size: Annotated[int, Field(ge=1, le=1000)] = 500
    ask_above_share: Annotated[float, Field(ge=0, le=1)] = 0.01
    ask_from: Annotated[int, Field(ge=1)] = 10
    keep_days: Annotated[float, Field(gt=0)] = 30.0

    @property
    def horizon(self) -> Horizon:
        return Horizon(self.back_days, self.near_days, self.ahead_days, self.night_begins, self.night_ends)


def _asks_senders_who_they_are(settings: "SchedulerSyncSettings") -> bool:
    return settings.mllp.certificate_file is None or settings.mllp.client_ca_file is not None


_DEMANDS: Final = (
    *OMEGAAI_DEMANDS,
    Demand(
        "mllp.certificate_file", "TLS on the line from PowerServer", lambda one: one.mllp.certificate_file is not None,
        waived_by="mllp.allow_plaintext",
    ),
    Demand(
        "mllp.client_ca_file", "the authority of PowerServer's certificate, so that nobody else books",
        _asks_senders_who_they_are, waived_by="mllp.allow_any_client",
    ),
    Demand(
        "powerserver.tls", "TLS on the line to PowerServer", lambda one: one.powerserver.tls,
        waived_by="powerserver.allow_plaintext",
    ),
    Demand(
        "worklist.tls",
        "TLS on the line to the modality worklist, where `worklist.host` is set",
        lambda one: one.worklist.tls or not one.worklist.host,
        waived_by="worklist.allow_plaintext",
    ),
    Demand("site_file", "the site's own file, not development's", lambda one: one.site_file != SITE_FILE),
)  # fmt: skip


class SchedulerSyncSettings(ServiceSettings):
    """All of them."""

    model_config = SettingsConfigDict(env_prefix="SCHEDULER_SYNC_", env_nested_delimiter="__")

    site_file: Path = SITE_FILE
    mllp: MllpSettings = MllpSettings()
    powerserver: PowerServerSettings = PowerServerSettings()
    omegaai: SyncOmegaAISettings = SyncOmegaAISettings()
    worklist: WorklistSettings = WorklistSettings()
    reconciliation: ReconciliationSettings = ReconciliationSettings()

    @classmethod
    def demands(cls) -> tuple[Demand, ...]:
        return (*super().demands(), *_DEMANDS)
