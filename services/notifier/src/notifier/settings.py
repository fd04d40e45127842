"""The notifier's settings: environment variables ``NOTIFIER_…``, each also from a file by ``…_FILE``."""

from typing import Annotated, Final, Literal

from pydantic import BaseModel, Field, SecretStr
from pydantic_settings import SettingsConfigDict

from chassis.production import LEAST_GIVEN_CHARACTERS, Demand, is_https, is_secret
from chassis.settings import ServiceSettings

SENDER: Final = "appointments@northside.example"
SITE: Final = "Northside Health"


class SmtpSettings(BaseModel):
    """The mail server that receives our mails."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 11025
    sender: Annotated[str, Field(pattern=r"^[^\s@]+@[^\s@]+$")] = SENDER
    sender_name: str = ""
    tls: Literal["none", "starttls", "tls"] = "none"
    username: str | None = None
    password: SecretStr | None = None
    connections: Annotated[int, Field(ge=1, le=64)] = 4
    timeout_seconds: Annotated[float, Field(gt=0)] = 30.0


def _logs_in_or_not(settings: "NotifierSettings") -> bool:
    smtp = settings.smtp
    if smtp.username is None and smtp.password is None:
        return True
    name = smtp.username or ""
    return bool(name.strip()) and is_secret(smtp.password, not_like=name, least=LEAST_GIVEN_CHARACTERS)


_DEMANDS: Final = (
    Demand("smtp.tls", "`starttls` or `tls`", lambda one: one.smtp.tls != "none"),
    Demand(
        "smtp.password",
        f"`smtp.username` with it, and {LEAST_GIVEN_CHARACTERS} characters or more that are no development default; "
        "neither of them where the mail server knows us by our address",
        _logs_in_or_not,
    ),
    Demand("smtp.sender", "the hospital's own address, not development's", lambda one: one.smtp.sender != SENDER),
    Demand(
        "site_name", "the hospital's own name, not development's", lambda one: one.site_name.strip() not in {"", SITE}
    ),
    Demand("portal_url", "an https address without a user", lambda one: is_https(one.portal_url)),
    Demand("map_url", "an https address without a user", lambda one: is_https(one.map_url.replace("{address}", "x"))),
)


class NotifierSettings(ServiceSettings):
    """All settings of the notifier."""

    model_config = SettingsConfigDict(env_prefix="NOTIFIER_", env_nested_delimiter="__")

    smtp: SmtpSettings = SmtpSettings()
    portal_url: str = "http://127.0.0.1:8202/blume"
    site_name: str = SITE
    map_url: str = "https://www.openstreetmap.org/search?query={address}"
    arrive_early_minutes: Annotated[int, Field(ge=0)] = 30

    @classmethod
    def demands(cls) -> tuple[Demand, ...]:
        return (*super().demands(), *_DEMANDS)
