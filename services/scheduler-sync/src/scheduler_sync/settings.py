"""scheduler-sync's settings: environment variables ``SCHEDULER_SYNC_…``, each also from a file by ``…_FILE``.

Read once, in the composition root.
"""

from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, SecretStr
from pydantic_settings import SettingsConfigDict

from chassis.settings import DEVELOPMENT_WORDS, ServiceSettings

Port = Annotated[int, Field(ge=0, le=65535)]


class MllpSettings(BaseModel):
    """Where PowerServer's messages come in."""

    host: str = "127.0.0.1"
    port: Port = 12575


class PowerServerSettings(BaseModel):
    """Where PowerServer listens."""

    host: str = "127.0.0.1"
    port: Port = 12576
    connections: Annotated[int, Field(ge=1, le=32)] = 2
    ack_timeout_seconds: Annotated[float, Field(gt=0)] = 30.0


class OmegaAISettings(BaseModel):
    """OmegaAI's address and the client that the suite is registered as."""

    base_url: str = "http://127.0.0.1:8202"
    client_id: str = "suite"
    client_secret: SecretStr = SecretStr("development-secret")
    scope: str = "api/.default"
    hub: str = "fhir"
    timeout_seconds: Annotated[float, Field(gt=0)] = 10.0
    poll_seconds: Annotated[float, Field(gt=0)] = 5.0
    resource_import_seconds: Annotated[float, Field(gt=0)] = 300.0
    concurrency: Annotated[int, Field(ge=1, le=64)] = 8


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
        return found
