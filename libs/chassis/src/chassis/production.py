"""Production's demands on the settings: one list for every service, to which a service adds its own.

Each demand is data: the setting, the demand in words, and its check. A service does not start in production while a
demand is not met. docs/operations/production.md has the same list, and a test compares the two.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

if TYPE_CHECKING:
    from pydantic import SecretStr

DEVELOPMENT_WORDS: Final = (
    "development", "changeme", "secret", "password", "postgres", "qwerty", "letmein", "welcome", "123456",
)  # fmt: skip
"""Words of defaults and of first guesses."""
LEAST_CHARACTERS: Final = 12
"""Least length of a password between a network and patient data."""
LEAST_GIVEN_CHARACTERS: Final = 8
"""Least length of a password that a partner hands out."""
LEAST_TOKEN_CHARACTERS: Final = 32
"""Least length of a token that a machine presents."""
_THIS_MACHINE: Final = frozenset({"127.0.0.1", "localhost", "::1", "0.0.0.0"})
_LEAST_DIFFERENT: Final = 5
_LEAST_OF_A_NAME: Final = 4
_TLS_VERSIONS: Final = ("TLSv1.2", "TLSv1.3")


@dataclass(frozen=True, slots=True)
class Demand:
    """``setting`` as it is written in code, or an environment variable; ``words`` complete "production needs …".

    ``waived_by``: a setting that, when true, waives the demand on purpose; it is logged at each start.
    """

    setting: str
    words: str
    is_met: Callable[[Any], bool]
    waived_by: str = ""

    def __str__(self) -> str:
        unless = f", or {self.waived_by}=true" if self.waived_by else ""
        return f"{self.setting}: production needs {self.words}{unless}".replace("`", "")  # the page's signs

    def is_waived(self, settings: Any) -> bool:
        value = settings
        for part in self.waived_by.split(".") if self.waived_by else ():
            value = getattr(value, part)
        return value is True


def problems(settings: Any, demands: Iterable[Demand]) -> list[str]:
    """A line for each demand that is not met and not waived."""
    return [str(one) for one in demands if not one.is_met(settings) and not one.is_waived(settings)]


def waived(settings: Any, demands: Iterable[Demand]) -> list[Demand]:
    """The demands that are waived."""
    return [one for one in demands if one.is_waived(settings) and not one.is_met(settings)]


def as_table(demands: Iterable[Demand]) -> str:
    """The demands as a table in Markdown."""
    rows = [f"| `{one.setting}` | {one.words} | {one.waived_by and f'`{one.waived_by}`'} |" for one in demands]
    return "\n".join(["| setting | must be | unless |", "|---|---|---|", *rows])


def is_secret(value: "SecretStr | str | None", *, not_like: str = "", least: int = LEAST_CHARACTERS) -> bool:
    """Whether ``value`` is hard to guess: long enough, no word of development's, not the user's own name."""
    text = value if isinstance(value, str) else "" if value is None else value.get_secret_value()
    text = text.strip().casefold()
    name = not_like.strip().casefold()
    return (
        len(text) >= least
        and len(set(text)) >= _LEAST_DIFFERENT
        and not any(word in text for word in DEVELOPMENT_WORDS)
        and not (text == name or (len(name) >= _LEAST_OF_A_NAME and name in text))
    )


def is_https(url: str) -> bool:
    """Whether ``url`` is complete, over TLS, and without user or password: addresses reach logs."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 (it raises when it is none)
    except ValueError:
        return False
    is_plain = url == url.strip() and not any(sign in url for sign in " \t\r\n")
    return is_plain and parts.scheme == "https" and bool(parts.hostname) and "@" not in parts.netloc


@dataclass(frozen=True, slots=True)
class _StoreUrl:
    """A store's URL as asyncpg reads it: the first @ ends user and password, which are percent-encoded."""

    parts: SplitResult
    query: dict[str, list[str]]

    @classmethod
    def of(cls, settings: Any) -> "_StoreUrl":
        parts = urlsplit(settings.store.url)
        return cls(parts, parse_qs(parts.query, keep_blank_values=True))

    @property
    def user(self) -> str:
        return unquote(self._login.partition(":")[0])

    @property
    def password(self) -> str:
        return unquote(self._login.partition(":")[2])

    @property
    def _login(self) -> str:
        login, sign, _ = self.parts.netloc.partition("@")
        return login if sign else ""

    @property
    def hosts(self) -> Sequence[str]:
        place = self.parts.netloc.partition("@")[2] if "@" in self.parts.netloc else self.parts.netloc
        return [unquote(host) for host in place.split(",")]

    def one(self, name: str) -> str | None:
        """The only value of ``name``; None where it is missing or repeated."""
        values = self.query.get(name, [])
        return values[0] if len(values) == 1 else None


def _names_its_server(settings: Any) -> bool:
    url = _StoreUrl.of(settings)
    is_tcp = all(host and "/" not in host and "@" not in host for host in url.hosts)
    return is_tcp and not {"host", "port", "service"} & url.query.keys()


def _finds_the_primary(settings: Any) -> bool:
    url = _StoreUrl.of(settings)
    return len(url.hosts) == 1 or url.one("target_session_attrs") in {"read-write", "primary"}


def _verifies_the_store(settings: Any) -> bool:
    url = _StoreUrl.of(settings)
    mode = url.one("sslmode")
    return mode == "verify-full" or (mode == "verify-ca" and bool((url.one("sslrootcert") or "").strip()))


def _speaks_new_tls(settings: Any) -> bool:
    values = _StoreUrl.of(settings).query
    limits = ("ssl_min_protocol_version", "ssl_max_protocol_version")
    said = [value for name in limits for value in values.get(name, [])]
    said += [
        value for name in ("PGSSLMINPROTOCOLVERSION", "PGSSLMAXPROTOCOLVERSION") if (value := os.environ.get(name))
    ]
    return all(value in _TLS_VERSIONS for value in said)


def _has_a_role_of_its_own(settings: Any) -> bool:
    url = _StoreUrl.of(settings)
    return bool(url.user.strip()) and url.user.casefold() != "postgres" and "user" not in url.query


def _has_a_store_password(settings: Any) -> bool:
    url = _StoreUrl.of(settings)
    return is_secret(url.password, not_like=url.user) and "password" not in url.query


def _is_known_to_kafka(settings: Any) -> bool:
    kafka = settings.kafka
    if kafka.security_protocol.startswith("SASL"):
        name = kafka.sasl_username
        return bool(name.strip()) and is_secret(kafka.sasl_password, not_like=name, least=LEAST_GIVEN_CHARACTERS)
    return kafka.certificate_file is not None


def _has_a_console_user(settings: Any) -> bool:
    user: str = settings.http.console_user
    return bool(user.strip()) and ":" not in user


def _has_people(settings: Any) -> bool:
    http = settings.http
    if http.console_password is None:
        return bool(http.listed() or http.oidc.issuer)
    return is_secret(http.console_password, not_like=http.console_user)


def _knows_its_provider(settings: Any) -> bool:
    issuer = settings.http.oidc.issuer
    return not issuer or (is_https(issuer) and urlsplit(issuer).hostname not in _THIS_MACHINE)


def _reaches_its_provider(settings: Any) -> bool:
    url = settings.http.oidc.internal_url
    return not url or is_https(url)


def _is_known_to_its_provider(settings: Any) -> bool:
    oidc = settings.http.oidc
    return not oidc.issuer or is_secret(oidc.client_secret, not_like=oidc.client_id)


EVERY_SERVICE: Final = (
    Demand(
        "store.url", "the server's host name in its place, no `host`, `port` or `service` after `?`", _names_its_server
    ),
    Demand(
        "store.url", "`target_session_attrs=read-write` where it names several hosts, so that a standby is passed over",
        _finds_the_primary,
    ),
    Demand(
        "store.url",
        "`sslmode=verify-full`, once, or `verify-ca` with `sslrootcert`: `require` and less verify nothing",
        _verifies_the_store,
    ),
    Demand("store.url", "TLS 1.2 or 1.3 where it limits versions (and `PGSSLMINPROTOCOLVERSION`)", _speaks_new_tls),
    Demand(
        "store.url", "a role of the service's own, in its place before `@`, and not `postgres`", _has_a_role_of_its_own
    ),
    Demand(
        "store.url",
        f"a password of {LEAST_CHARACTERS} characters or more that is no development default and not the role's name",
        _has_a_store_password,
    ),
    Demand(
        "kafka.security_protocol", "`SSL` or `SASL_SSL`", lambda one: one.kafka.security_protocol in {"SSL", "SASL_SSL"}
    ),
    Demand(
        "kafka.sasl_username",
        "an identity: with `SASL_SSL` a name and a password (`kafka.sasl_password`) of "
        f"{LEAST_GIVEN_CHARACTERS} characters or more, with `SSL` a certificate (`kafka.certificate_file`)",
        _is_known_to_kafka,
    ),
    Demand("http.console_user", "a name, without a colon", _has_a_console_user),
    Demand(
        "http.console_password",
        f"one of {LEAST_CHARACTERS} characters or more that is no development default and not the user's name; none at "
        "all only where `http.oidc.issuer` or `http.people` says who people are",
        _has_people,
    ),
    Demand(
        "http.people",
        f"passwords of {LEAST_CHARACTERS} characters or more that are no development default and not the person's name",
        lambda one: all(is_secret(password, not_like=name) for name, _, password in one.http.listed()),
    ),
    Demand(
        "http.service_tokens", f"tokens of {LEAST_TOKEN_CHARACTERS} characters or more",
        lambda one: all(is_secret(token, least=LEAST_TOKEN_CHARACTERS) for _, token in one.http.services()),
    ),
    Demand("http.oidc.issuer", "an https address, not of this machine, without a user, or none", _knows_its_provider),
    Demand("http.oidc.internal_url", "an https address without a user, or none", _reaches_its_provider),
    Demand(
        "http.oidc.client_secret",
        f"one of {LEAST_CHARACTERS} characters or more that is no development default and not the client's id, where "
        "an issuer is set",
        _is_known_to_its_provider,
    ),
    Demand(
        "telemetry.log_level", "`INFO` or less talkative: libraries log contents at `DEBUG`",
        lambda one: one.telemetry.log_level != "DEBUG",
    ),
    Demand("FAILPOINTS", "it not to be set", lambda _: not os.environ.get("FAILPOINTS")),
    Demand("SSLKEYLOGFILE", "it not to be set: it lays TLS open", lambda _: not os.environ.get("SSLKEYLOGFILE")),
)  # fmt: skip
