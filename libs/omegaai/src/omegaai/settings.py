"""OmegaAI's section of a service's settings, and its requirements in production."""

from typing import Annotated, Final

from pydantic import BaseModel, Field, SecretStr, field_validator

from chassis.http import LARGE_ANSWER_BYTES, allowed_origins
from chassis.production import LEAST_CHARACTERS, Demand, is_https, is_secret


def between_commas(value: str) -> tuple[str, ...]:
    """The parts of a setting that holds several."""
    return tuple(part.strip() for part in value.split(",") if part.strip())


class OmegaAISettings(BaseModel):
    """OmegaAI's address and the client that the service is registered as.

    ``poll_seconds`` is the pause between reads of the Task queue, ``look_seconds`` between reads from its start.
    A Task that no service handles is counted and shown after ``unclaimed_after_seconds``.

    Requests go only to the scheme, host and port of ``base_url``, and to ``allowed_hosts`` (hosts, ``host:port`` or
    origins, between commas): where OmegaAI uses Azure SignalR, the change feed's hub has another host.
    """

    base_url: str = "http://127.0.0.1:8202"
    client_id: str = "suite"
    client_secret: SecretStr = SecretStr("development-secret")
    scope: str = "api/.default"
    hub: str = "fhir"
    timeout_seconds: Annotated[float, Field(gt=0)] = 10.0
    poll_seconds: Annotated[float, Field(gt=0)] = 5.0
    look_seconds: Annotated[float, Field(gt=0)] = 60.0
    unclaimed_after_seconds: Annotated[float, Field(ge=0)] = 900.0
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
        allowed_origins("https://omegaai", between_commas(value))
        return value

    @property
    def hosts(self) -> tuple[str, ...]:
        """The entries of ``allowed_hosts``."""
        return between_commas(self.allowed_hosts)


DEMANDS: Final = (
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
)  # fmt: skip
"""For a service whose settings hold an OmegaAISettings as ``omegaai``."""
