"""scheduler-sync's settings: environment variables ``SCHEDULER_SYNC_…``, each also from a file by ``…_FILE``.

Read once, in the composition root.
"""

import ssl
from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, Field, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from chassis.hl7 import MllpLimits
from chassis.http import LARGE_ANSWER_BYTES, allowed_origins
from chassis.production import LEAST_CHARACTERS, Demand, is_https, is_secret
from chassis.settings import ServiceSettings, SettingsError
from hl7v2.mllp import (
    DEFAULT_MAX_BYTES_IN_FLIGHT,
    DEFAULT_MAX_FRAME_BYTES,
    client_context,
    largest_frame_bytes,
    server_context,
)

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


class PowerServerSettings(BaseModel):
    """Where PowerServer listens; with ``tls`` its certificate is checked, and ours is shown where one is set."""

    host: str = "127.0.0.1"
    port: Port = 12576
    connections: Annotated[int, Field(ge=1, le=32)] = 2
    ack_timeout_seconds: Annotated[float, Field(gt=0)] = 30.0
    tls: bool = False
    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    allow_plaintext: bool = False

    @model_validator(mode="after")
    def _files_go_together(self) -> "PowerServerSettings":
        _both_or_none(self.certificate_file, self.key_file)
        if not self.tls and (self.ca_file or self.certificate_file):
            raise ValueError("ca_file and certificate_file are of use only with tls=true")
        return self

    def ssl_context(self) -> ssl.SSLContext | None:
        """None: without TLS. Raises ``SettingsError`` when a file cannot be used."""
        if not self.tls:
            return None
        try:
            return client_context(authorities=self.ca_file, certificate=self.certificate_file, key=self.key_file)
        except OSError as error:
            raise _unusable("POWERSERVER", error) from error


def _between_commas(value: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in value.split(",") if part.strip())


class OmegaAISettings(BaseModel):
    """OmegaAI's address and the client that the suite is registered as.

    Nothing but ``base_url``'s scheme, host and port is asked, and what ``allowed_hosts`` adds (hosts, ``host:port`` or
    origins, between commas): the change feed's hub lives with another service, where OmegaAI uses Azure SignalR.
    """

    base_url: str = "http://127.0.0.1:8202"
    client_id: str = "suite"
    client_secret: SecretStr = SecretStr("development-secret")
    scope: str = "api/.default"
    hub: str = "fhir"
    timeout_seconds: Annotated[float, Field(gt=0)] = 10.0
    poll_seconds: Annotated[float, Field(gt=0)] = 5.0
    resource_import_seconds: Annotated[float, Field(gt=0)] = 300.0
    concurrency: Annotated[int, Field(ge=1, le=64)] = 8
    allowed_hosts: str = ""
    largest_answer_bytes: Annotated[int, Field(ge=64 * 2**10, le=256 * 2**20)] = LARGE_ANSWER_BYTES

    @field_validator("base_url")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        try:
            allowed_origins(value)
        except ValueError:
            raise ValueError("give scheme, host and path alone, without a login") from None
        return value

    @field_validator("allowed_hosts")
    @classmethod
    def _are_hosts(cls, value: str) -> str:
        allowed_origins("https://omegaai", _between_commas(value))
        return value

    @property
    def hosts(self) -> tuple[str, ...]:
        """``allowed_hosts``, one by one."""
        return _between_commas(self.allowed_hosts)


def _asks_senders_who_they_are(settings: "SchedulerSyncSettings") -> bool:
    return settings.mllp.certificate_file is None or settings.mllp.client_ca_file is not None


_DEMANDS: Final = (
    Demand("omegaai.base_url", "an https address without a user", lambda one: is_https(one.omegaai.base_url)),
    Demand(
        "omegaai.allowed_hosts", "https addresses",
        lambda one: all(scheme == "https" for scheme, _, _ in allowed_origins("https://omegaai", one.omegaai.hosts)),
    ),
    Demand("omegaai.client_id", "a name", lambda one: bool(one.omegaai.client_id.strip())),
    Demand(
        "omegaai.client_secret",
        f"one of {LEAST_CHARACTERS} characters or more that is no development default and not the client's id",
        lambda one: is_secret(one.omegaai.client_secret, not_like=one.omegaai.client_id),
    ),
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
    Demand("site_file", "the site's own file, not development's", lambda one: one.site_file != SITE_FILE),
)  # fmt: skip


class SchedulerSyncSettings(ServiceSettings):
    """All of them."""

    model_config = SettingsConfigDict(env_prefix="SCHEDULER_SYNC_", env_nested_delimiter="__")

    site_file: Path = SITE_FILE
    mllp: MllpSettings = MllpSettings()
    powerserver: PowerServerSettings = PowerServerSettings()
    omegaai: OmegaAISettings = OmegaAISettings()

    @classmethod
    def demands(cls) -> tuple[Demand, ...]:
        return (*super().demands(), *_DEMANDS)
