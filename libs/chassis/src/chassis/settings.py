"""Settings of every service: environment variables under the service's prefix, each also from a file by ``…_FILE``.

Built once, in the composition root. Production mode refuses values that fit only development, and names the setting.
"""

import os
import ssl
import sys
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from chassis import production
from chassis.production import Demand
from contracts.topics import TOPICS

EXIT_BAD_SETTING: Final = 2
_BETWEEN: Final = "\n"
ROLES: Final = ("viewer", "operator", "admin")
"""A person's role on the console's pages, lowest first."""
KAFKA_REQUEST_TIMEOUT_MS: Final = 6_500
"""How long a broker may be silent before its connection is closed. It alone detects a connection whose other end
vanished. Consumers with a long session wait longer."""

SEGMENT_MS: Final = 24 * 60 * 60 * 1000
"""Kafka deletes whole segments: a record outlives its retention by this at most, and the inbox must remember it."""


class StoreSettings(BaseModel):
    """The service's Postgres. ``url``: ``postgresql://user:password@host:port/database?sslmode=…``."""

    url: Annotated[str, Field(pattern=r"^postgresql://", repr=False)] = "postgresql://127.0.0.1:25432/postgres"
    pool_size: Annotated[int, Field(ge=2, le=100)] = 8


class KafkaSettings(BaseModel):
    """How to reach Kafka; SASL over TLS in production.

    After ``session_timeout_seconds`` without a heartbeat, the consumer's partitions go to another process: for that
    long a killed consumer is missed. Brokers refuse less than their ``group.min.session.timeout.ms``, by default 6 s.
    """

    bootstrap_servers: Annotated[str, Field(min_length=1)] = "127.0.0.1:29092"
    topic_prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]*$")] = ""
    replication_factor: Annotated[int, Field(ge=1)] = 1
    session_timeout_seconds: Annotated[float, Field(ge=1, le=300)] = 6
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    sasl_username: str = ""
    sasl_password: SecretStr = SecretStr("")

    @cached_property
    def ssl_context(self) -> ssl.SSLContext | None:
        """The TLS context. It always verifies the brokers, and shows our own certificate where one is set."""
        if "SSL" not in self.security_protocol.split("_"):
            return None
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
            if self.certificate_file is not None:
                context.load_cert_chain(self.certificate_file, self.key_file)
        except OSError as error:
            files = ", ".join(str(path) for path in (self.ca_file, self.certificate_file, self.key_file) if path)
            raise SettingsError([f"kafka.ca_file, certificate_file, key_file ({files}): {error}"]) from error
        return context

    def client_keywords(self) -> Mapping[str, Any]:
        """The connection keywords of aiokafka's clients."""
        keywords: dict[str, Any] = {
            "bootstrap_servers": self.bootstrap_servers,
            "security_protocol": self.security_protocol,
        }
        if self.ssl_context is not None:
            keywords["ssl_context"] = self.ssl_context
        if self.security_protocol.startswith("SASL"):
            keywords |= {
                "sasl_mechanism": self.sasl_mechanism,
                "sasl_plain_username": self.sasl_username,
                "sasl_plain_password": self.sasl_password.get_secret_value(),
            }
        return keywords


def _none_if_blank(value: SecretStr | None) -> SecretStr | None:
    """An empty password means none: anybody would guess it."""
    return value if value is not None and value.get_secret_value().strip() else None


def _people(value: SecretStr | None) -> SecretStr | None:
    """Lines of ``name:role:password``, with a role of the console."""
    names = set()
    for number, line in enumerate(_lines(value), 1):
        name, role, password = [part.strip() for part in (*line.split(":", 2), "", "")][:3]
        if not name or not password:
            raise ValueError(f"line {number} is not name:role:password")
        if role not in ROLES:
            raise ValueError(f"line {number} names no role of {', '.join(ROLES)}")
        if name in names:
            raise ValueError(f"line {number} names somebody a second time")
        names.add(name)
    return value


def _tokens(value: SecretStr | None) -> SecretStr | None:
    """Lines of ``service:token``."""
    for number, line in enumerate(_lines(value), 1):
        name, _, token = line.partition(":")
        if not name.strip() or not token.strip():
            raise ValueError(f"line {number} is not service:token")
    return value


def _lines(value: SecretStr | None) -> list[str]:
    text = "" if value is None else value.get_secret_value()
    return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]


Hosts = Annotated[str, Field(pattern=r"^[A-Za-z0-9.:,_ \[\]-]*$")]
"""Names of a proxy or an ingress, separated by commas."""


def _role_pairs(value: str) -> str:
    for pair in filter(None, (one.strip() for one in value.split(","))):
        said, _, role = pair.rpartition("=")
        if not said.strip() or role.strip() not in ROLES:
            raise ValueError(f"write value=role, …, each role one of {', '.join(ROLES)}")
    return value


class OidcSettings(BaseModel):
    """The identity provider for log-ins; an empty ``issuer`` means none. ``issuer`` is the provider's name for itself.

    ``roles``: the role for each value of ``role_claim`` (a name, or a path of names between dots). ``allowed_hosts``:
    hosts beside the issuer's own that its discovery document may name. ``internal_url``: this service's address of the
    issuer, when it differs from a browser's.
    """

    issuer: Annotated[str, Field(pattern=r"^(https?://[^\s@?#]+)?$")] = ""
    internal_url: Annotated[str, Field(pattern=r"^(https?://[^\s@?#]+)?$")] = ""
    client_id: str = ""
    client_secret: Annotated[SecretStr | None, AfterValidator(_none_if_blank)] = SecretStr("development-secret")
    scope: Annotated[str, Field(pattern=r"^([!-~]+ )*openid( [!-~]+)*$")] = "openid profile"
    role_claim: Annotated[str, Field(min_length=1, max_length=100)] = "roles"
    roles: Annotated[str, AfterValidator(_role_pairs)] = "viewer=viewer,operator=operator,admin=admin"
    allowed_hosts: Hosts = ""
    leeway_seconds: Annotated[float, Field(ge=0, le=300)] = 60.0
    timeout_seconds: Annotated[float, Field(gt=0, le=30)] = 5.0

    @model_validator(mode="after")
    def _name_the_client(self) -> "OidcSettings":
        if self.issuer and not self.client_id.strip():
            raise ValueError("an issuer needs a client_id: this service's name at the identity provider")
        return self

    def roles_by_value(self) -> dict[str, str]:
        """The role for each value of the claim."""
        pairs = (pair.rpartition("=") for pair in self.roles.split(",") if pair.strip())
        return {said.strip(): role.strip() for said, _, role in pairs}


class SessionSettings(BaseModel):
    """When a logged-in person has to log in again: after so long without a use, and in any case."""

    idle_minutes: Annotated[float, Field(gt=0)] = 30
    longest_hours: Annotated[float, Field(gt=0, le=24 * 7)] = 12


class HttpSettings(BaseModel):
    """The listener of probes, metrics and the console, and its people; production requires people.

    ``public_port``: a second listener for the routes that the internet may reach; None: they are not served.
    ``allowed_hosts`` and ``public_hosts``: further names that the two answer to. ``console_user`` is an admin;
    ``people`` names more, a line each: ``name:role:password``. ``service_tokens``: other services, ``name:token``.
    ``consoles``: the addresses of the suite's other consoles, by service, for the navigation.
    """

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8100
    allowed_hosts: Hosts = ""
    public_host: str = "127.0.0.1"
    public_port: Annotated[int | None, BeforeValidator(lambda value: None if value == "" else value)] = None
    public_hosts: Hosts = ""
    consoles: dict[str, Annotated[str, Field(pattern=r"^https?://[^\s\"'<>]+$")]] = {}
    console_user: str = "operator"
    console_password: Annotated[SecretStr | None, AfterValidator(_none_if_blank)] = None
    people: Annotated[SecretStr | None, AfterValidator(_people)] = None
    service_tokens: Annotated[SecretStr | None, AfterValidator(_tokens)] = None
    oidc: OidcSettings = OidcSettings()
    session: SessionSettings = SessionSettings()
    _environment: str = PrivateAttr("development")

    @property
    def is_development(self) -> bool:
        return self._environment == "development"

    def listed(self) -> list[tuple[str, str, str]]:
        """Name, role and password of each of ``people``."""
        found = (line.split(":", 2) for line in _lines(self.people))
        return [(name.strip(), role.strip(), password.strip()) for name, role, password in found]

    def named(self) -> list[tuple[str, str, str]]:
        """Name, role and password of everybody who logs in by password."""
        if self.console_password is None:
            return self.listed()
        return [*self.listed(), (self.console_user, "admin", self.console_password.get_secret_value())]

    def services(self) -> list[tuple[str, str]]:
        """Name and token of each service that may call this one."""
        pairs = (line.partition(":") for line in _lines(self.service_tokens))
        return [(name.strip(), token.strip()) for name, _, token in pairs]


class TelemetrySettings(BaseModel):
    """Logs to standard output; traces to ``otlp_endpoint`` when it is set, ``sample_ratio`` of them.

    An empty endpoint means none: a list of all variables (Compose, a ConfigMap) cannot leave one out.
    """

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    otlp_endpoint: Annotated[str | None, AfterValidator(lambda value: (value or "").strip() or None)] = None
    sample_ratio: Annotated[float, Field(ge=0, le=1)] = 0.1


class RetrySettings(BaseModel):
    """Pauses between tries: doubling from the first to the longest, jittered."""

    first_seconds: Annotated[float, Field(gt=0)] = 0.5
    longest_seconds: Annotated[float, Field(gt=0)] = 60.0


class BreakerSettings(BaseModel):
    """After ``failures`` in a row a destination rests for ``open_seconds``; then one delivery is tried."""

    failures: Annotated[int, Field(ge=1)] = 10
    open_seconds: Annotated[float, Field(gt=0)] = 5.0


class DeliverySettings(BaseModel):
    """After a bug of ours made ``bugs_in_a_row`` deliveries to one partner dead, the others are kept.

    Then one is tried every ``breaker.open_seconds``, until one is taken: so many in a row mean a bad release.
    """

    bugs_in_a_row: Annotated[int, Field(ge=1)] = 5


class DeadLetterSettings(BaseModel):
    """At ``limit`` open dead letters a consumer stops: so many mean a bad deploy, not bad messages."""

    limit: Annotated[int, Field(ge=1)] = 100


class ClockSettings(BaseModel):
    """How far the machine's and the store's clock may differ before effects that depend on the time are held back.

    After a jump of the store's own clock, the time without the jump stays possible for ``hold_seconds``.
    """

    limit_seconds: Annotated[float, Field(gt=0)] = 5.0
    hold_seconds: Annotated[float, Field(gt=0)] = 3600.0


class RetentionSettings(BaseModel):
    """Days after which finished rows are deleted: raw HL7 and mails are patient data, kept only while of use."""

    outbox_days: Annotated[float, Field(gt=0)] = 7
    deliveries_days: Annotated[float, Field(gt=0)] = 30
    inbox_days: Annotated[float, Field(gt=0)] = 35
    hl7_journal_days: Annotated[float, Field(gt=0)] = 30
    dead_letters_days: Annotated[float, Field(gt=0)] = 90
    timers_days: Annotated[float, Field(gt=0)] = 90

    @model_validator(mode="after")
    def _outlive_the_topics(self) -> "RetentionSettings":
        kept_days = (max(topic.retention_ms for topic in TOPICS.values()) + SEGMENT_MS) / 86_400_000
        if self.inbox_days <= kept_days:
            raise ValueError(
                f"inbox_days must be more than the {kept_days:g} days that Kafka keeps a record, or a record that is "
                "read again has a second effect"
            )
        if self.timers_days <= kept_days:
            raise ValueError(
                f"timers_days must be more than the {kept_days:g} days that Kafka keeps a record, or a record that is "
                "read late sets a timer again that has fired or was cancelled"
            )
        return self


class ServiceSettings(BaseSettings):
    """Settings that every service has; a service adds its own and its ``env_prefix``."""

    model_config = SettingsConfigDict(env_nested_delimiter="__", extra="ignore")

    environment: Literal["development", "production"] = "development"
    store: StoreSettings = StoreSettings()
    kafka: KafkaSettings = KafkaSettings()
    http: HttpSettings = HttpSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    retry: RetrySettings = RetrySettings()
    breaker: BreakerSettings = BreakerSettings()
    deliveries: DeliverySettings = DeliverySettings()
    dead_letters: DeadLetterSettings = DeadLetterSettings()
    clock: ClockSettings = ClockSettings()
    retention: RetentionSettings = RetentionSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order of sources: arguments, then the environment, then files that the environment names."""
        del dotenv_settings, file_secret_settings
        return init_settings, env_settings, _FileSource(settings_cls)

    @model_validator(mode="after")
    def _refuse_development_in_production(self) -> "ServiceSettings":
        self.http._environment = self.environment  # noqa: SLF001 (its cookies depend on it)
        if self.environment == "production":
            problems = self.production_problems()
            if problems:
                raise ValueError(_BETWEEN.join(problems))
        return self

    @classmethod
    def demands(cls) -> tuple[Demand, ...]:
        """Production's demands; a service adds its own."""
        return production.EVERY_SERVICE

    def production_problems(self) -> list[str]:
        """The demands that are not met, a line each."""
        return production.problems(self, self.demands())

    def waived(self) -> list[Demand]:
        """The demands that are waived on purpose."""
        return production.waived(self, self.demands()) if self.environment == "production" else []


class _FileSource(PydanticBaseSettingsSource):
    """``<PREFIX>STORE__URL_FILE=/run/secrets/url`` gives ``store.url`` the file's content."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002 (the source's interface)
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        prefix = str(self.config.get("env_prefix", "")).lower()
        delimiter = str(self.config.get("env_nested_delimiter") or "__")
        found: dict[str, Any] = {}
        for name, value in os.environ.items():
            lowered = name.lower()
            if not lowered.startswith(prefix) or not lowered.endswith("_file"):
                continue
            path = lowered.removeprefix(prefix).removesuffix("_file").split(delimiter)
            if not self._knows(path) or self._knows([*path[:-1], path[-1] + "_file"]):
                continue  # a setting whose own name ends in _file
            inner = found
            for part in path[:-1]:
                inner = inner.setdefault(part, {})
            try:
                inner[path[-1]] = Path(value).read_text(encoding="utf-8").strip()
            except OSError as error:
                raise SettingsError([f"{name}: the file cannot be read ({error.strerror})"]) from error
        return found

    def _knows(self, path: list[str]) -> bool:
        model: Any = self.settings_cls
        for part in path:
            fields = getattr(model, "model_fields", {})
            if part not in fields:
                return False
            model = fields[part].annotation
        return True


class SettingsError(Exception):
    """Settings cannot be used; one line per setting, without its value when that may be a secret."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


S = TypeVar("S", bound=ServiceSettings)


def load(settings_type: type[S]) -> S:
    """Reads the settings. Raises ``SettingsError``."""
    try:
        return settings_type()
    except ValidationError as error:
        prefix = str(settings_type.model_config.get("env_prefix", ""))
        lines = []
        for problem in error.errors(include_input=False, include_url=False):
            words = problem["msg"].removeprefix("Value error, ")
            if problem["loc"]:
                name = prefix + "__".join(str(part) for part in problem["loc"]).upper()
                lines.append(f"{name}: {words}")
            else:
                lines += words.split(_BETWEEN)
        raise SettingsError(lines) from None


def load_or_exit(settings_type: type[S]) -> S:
    """As ``load``; prints the problems and ends the process with exit code 2."""
    try:
        return load(settings_type)
    except SettingsError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)  # noqa: T201 (logging is not set up yet)
        sys.exit(EXIT_BAD_SETTING)
