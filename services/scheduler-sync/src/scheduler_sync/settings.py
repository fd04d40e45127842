"""scheduler-sync's settings: environment variables ``SCHEDULER_SYNC_…``, each also from a file by ``…_FILE``.

Read once, in the composition root.
"""

import ssl
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, SecretStr, model_validator
from pydantic_settings import SettingsConfigDict

from chassis.http import LARGE_ANSWER_BYTES, allowed_origins
from chassis.settings import DEVELOPMENT_WORDS, ServiceSettings, SettingsError
from hl7v2.mllp import client_context, server_context

Port = Annotated[int, Field(ge=0, le=65535)]


def _both_or_none(certificate: Path | None, key: Path | None) -> None:
    if (certificate is None) != (key is None):
        raise ValueError("certificate_file and key_file go together")


def _unusable(group: str, error: OSError) -> SettingsError:
    what = error.reason if isinstance(error, ssl.SSLError) else error.strerror
    return SettingsError([f"SCHEDULER_SYNC_{group}__…_FILE: a certificate, key or authority cannot be used ({what})"])


class MllpSettings(BaseModel):
    """Where PowerServer's messages come in; over TLS with a certificate, mutual with the clients' authorities."""

    host: str = "127.0.0.1"
    port: Port = 12575
    certificate_file: Path | None = None
    key_file: Path | None = None
    client_ca_file: Path | None = None
    allow_plaintext: bool = False

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

    @model_validator(mode="after")
    def _addresses_are_some(self) -> "OmegaAISettings":
        try:
            allowed_origins(self.base_url)
        except ValueError:
            raise ValueError("base_url: give scheme, host and path alone (https://host), without a login") from None
        allowed_origins(self.base_url, self.hosts)
        return self

    @property
    def hosts(self) -> tuple[str, ...]:
        """``allowed_hosts``, one by one."""
        return tuple(host.strip() for host in self.allowed_hosts.split(",") if host.strip())


class SchedulerSyncSettings(ServiceSettings):
    """All of them."""

    model_config = SettingsConfigDict(env_prefix="SCHEDULER_SYNC_", env_nested_delimiter="__")

    site_file: Path = Path("deploy/site/northside.yaml")
    mllp: MllpSettings = MllpSettings()
    powerserver: PowerServerSettings = PowerServerSettings()
    omegaai: OmegaAISettings = OmegaAISettings()

    def production_problems(self) -> list[str]:
        """What may not be so in production."""
        found = super().production_problems()
        if any(word in self.omegaai.client_secret.get_secret_value().lower() for word in DEVELOPMENT_WORDS):
            found.append("omegaai.client_secret: production needs one that is not a development default")
        if urlsplit(self.omegaai.base_url).scheme != "https":
            found.append("omegaai.base_url: production needs https")
        if any(scheme != "https" for scheme, _, _ in allowed_origins(self.omegaai.base_url, self.omegaai.hosts)):
            found.append("omegaai.allowed_hosts: production needs https")
        if self.mllp.certificate_file is None and not self.mllp.allow_plaintext:
            found.append("mllp.certificate_file: production needs TLS, or mllp.allow_plaintext=true behind a VPN")
        if not self.powerserver.tls and not self.powerserver.allow_plaintext:
            found.append("powerserver.tls: production needs TLS, or powerserver.allow_plaintext=true behind a VPN")
        return found
