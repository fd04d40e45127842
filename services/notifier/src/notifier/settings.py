"""The notifier's settings: environment variables ``NOTIFIER_…``, each also from a file by ``…_FILE``."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field, SecretStr
from pydantic_settings import SettingsConfigDict

from chassis.settings import ServiceSettings


class SmtpSettings(BaseModel):
    """The mail server that mails are handed to."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 11025
    sender: Annotated[str, Field(pattern=r"^[^\s@]+@[^\s@]+$")] = "appointments@northside.example"
    sender_name: str = ""
    tls: Literal["none", "starttls", "tls"] = "none"
    username: str | None = None
    password: SecretStr | None = None
    connections: Annotated[int, Field(ge=1, le=64)] = 4
    timeout_seconds: Annotated[float, Field(gt=0)] = 30.0


class NotifierSettings(ServiceSettings):
    """All of them."""

    model_config = SettingsConfigDict(env_prefix="NOTIFIER_", env_nested_delimiter="__")

    smtp: SmtpSettings = SmtpSettings()
    portal_url: str = "http://127.0.0.1:8202/blume"
    site_name: str = "Northside Health"
    map_url: str = "https://www.openstreetmap.org/search?query={address}"
    arrive_early_minutes: Annotated[int, Field(ge=0)] = 30

    def production_problems(self) -> list[str]:
        found = super().production_problems()
        if self.smtp.tls == "none":
            found.append("smtp.tls: production needs starttls or tls")
        if not self.portal_url.startswith("https://"):
            found.append("portal_url: production needs https")
        return found
