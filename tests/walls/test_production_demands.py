"""Each production demand is broken on purpose and named; a good set-up starts; the page lists all demands."""

import importlib
import os
from collections.abc import Iterator, Mapping

import pytest

from chassis import production
from chassis.settings import ServiceSettings, SettingsError, load
from local_stack.settings import ROOT
from roster import roster

PAGE = ROOT / "docs" / "operations" / "production.md"
SERVICES: Mapping[str, type[ServiceSettings]] = {
    service.name: importlib.import_module(f"{service.package}.__main__").DEFINITION.settings_type
    for service in roster().services
}
URL = "postgresql://role:Xq7pL0vM2kR9@db.hospital.example:5432/name"
VERIFIED = "sslmode=verify-full&sslrootcert=/ca.crt"
EVERY = {
    "ENVIRONMENT": "production",
    "STORE__URL": f"{URL}?{VERIFIED}",
    "KAFKA__SECURITY_PROTOCOL": "SASL_SSL",
    "KAFKA__SASL_USERNAME": "suite",
    "KAFKA__SASL_PASSWORD": "Zt4nB8wQ1yH6",
    "HTTP__CONSOLE_PASSWORD": "Zt4nB8wQ1yH6",
}
GOOD = {
    "scheduler-sync": EVERY | {
        "OMEGAAI__BASE_URL": "https://omegaai.example",
        "OMEGAAI__CLIENT_SECRET": "Zt4nB8wQ1yH6",
        "MLLP__CERTIFICATE_FILE": "/run/secrets/mllp.crt",
        "MLLP__KEY_FILE": "/run/secrets/mllp.key",
        "MLLP__CLIENT_CA_FILE": "/run/secrets/ca.crt",
        "POWERSERVER__TLS": "true",
        "SITE_FILE": "/etc/suite/site.yaml",
    },
    "notifier": EVERY | {
        "SMTP__TLS": "starttls",
        "SMTP__USERNAME": "suite",
        "SMTP__PASSWORD": "Zt4nB8wQ1yH6",
        "SMTP__SENDER": "appointments@hospital.example",
        "SITE_NAME": "The hospital",
        "PORTAL_URL": "https://blume.example",
    },
}  # fmt: skip


def store(url: str) -> dict[str, str | None]:
    return {"STORE__URL": url}


def query(text: str) -> dict[str, str | None]:
    return store(f"{URL}?{text}")


def password(text: str) -> dict[str, str | None]:
    return store(f"postgresql://role:{text}@db.hospital.example/name?{VERIFIED}")


WEAK = [
    "",
    " ",
    "   \t ",
    "development",
    "ChangeMe-12345",
    "x-SECRET-1234",
    "short1A",
    "aaaaaaaaaaaaaaaa",
    "abababababab",
    "Qwertyuiop-12",
    "x1234567890-y",
]
PROVIDER: dict[str, str | None] = {
    "HTTP__OIDC__ISSUER": "https://login.hospital.example/realm",
    "HTTP__OIDC__CLIENT_ID": "notifier",
    "HTTP__OIDC__CLIENT_SECRET": "Zt4nB8wQ1yH6",
}
BROKEN: list[tuple[str, str, dict[str, str | None]]] = [
    # TLS to the store
    *[("notifier", "store.url", change) for change in [
        store(URL), query("sslmode=disable"), query("sslmode=allow"), query("sslmode=prefer"), query("sslmode=require"),
        query("sslmode=verify-ca"), query("sslmode=verify-ca&sslrootcert="), query("sslmode="),
        query("sslmode=VERIFY-FULL"),
        query("SSLMODE=verify-full"), query("sslmode=verify_full"), query("sslmode=verify-full&sslmode=disable"),
        query("sslmode=disable&sslmode=verify-full"), query("sslmode=verify-full&sslmode=verify-full"),
        query("ssl%6dode=require&sslmode=verify-full"), query("sslmode=verify-full;sslmode=disable"),
        query("sslmode=verify-full%20"), query("sslrootcert=/ca.crt"),
        query(f"{VERIFIED}&ssl_min_protocol_version=TLSv1"), query(f"{VERIFIED}&ssl_max_protocol_version=TLSv1.1"),
    ]],
    # the server's identity
    *[("notifier", "store.url", change) for change in [
        query(f"{VERIFIED}&host=elsewhere"), query(f"{VERIFIED}&port=5433"), query(f"{VERIFIED}&service=other"),
        store(f"postgresql://role:Xq7pL0vM2kR9@/name?{VERIFIED}"),
        store(f"postgresql://role:Xq7pL0vM2kR9@%2Ftmp/name?{VERIFIED}"),
        store(f"postgresql://role:Xq7pL0vM2kR9@one,two/name?{VERIFIED}"),
        store(f"postgresql://role:Xq7pL0vM2kR9@one,two/name?{VERIFIED}&target_session_attrs=any"),
        store(f"postgresql://role:Xq7pL0vM2kR9@one,/name?{VERIFIED}&target_session_attrs=read-write"),
    ]],
    # the client's identity
    *[("notifier", "store.url", change) for change in [
        store(f"postgresql://postgres:Xq7pL0vM2kR9@db/name?{VERIFIED}"),
        store(f"postgresql://p%6Fstgres:Xq7pL0vM2kR9@db/name?{VERIFIED}"),
        store(f"postgresql://:Xq7pL0vM2kR9@db/name?{VERIFIED}"),
        query(f"{VERIFIED}&user=postgres"), query(f"{VERIFIED}&password=x"),
        password("ch%61ngeme-12345"), password("%64evelopment"), password("%20%20%20%20%20%20%20%20%20%20%20%20%20"),
        password(""), password("short"), password("ab@Xq7pL0vM2kR9"),
        store(f"postgresql://notifier_role_1:notifier_role_1@db/name?{VERIFIED}"),
        store(f"postgresql://notifier:x-Notifier-2026@db/name?{VERIFIED}"),
    ]],
    *[("notifier", "kafka.security_protocol", {"KAFKA__SECURITY_PROTOCOL": value}) for value in ["SASL_PLAINTEXT"]],
    ("notifier", "kafka.sasl_username", {"KAFKA__SECURITY_PROTOCOL": "SSL"}),
    *[("notifier", "kafka.sasl_username", {"KAFKA__SASL_USERNAME": value}) for value in [None, "", "  "]],
    *[("notifier", "kafka.sasl_username", {"KAFKA__SASL_PASSWORD": value}) for value in [None, *WEAK]],
    ("notifier", "kafka.sasl_username",
     {"KAFKA__SASL_USERNAME": "suite-notifier", "KAFKA__SASL_PASSWORD": "suite-notifier"}),
    *[("notifier", "http.console_password", {"HTTP__CONSOLE_PASSWORD": value}) for value in [None, "Zt4nB8wQ", *WEAK]],
    ("notifier", "http.console_password", {"HTTP__CONSOLE_PASSWORD": "Operator-2026"}),
    *[("notifier", "http.console_user", {"HTTP__CONSOLE_USER": value}) for value in ["", " ", "a:b"]],
    *[("notifier", "http.people", {"HTTP__PEOPLE": f"v:viewer:{value}"}) for value in ["Zt4nB8wQ", "changeme-12345"]],
    ("notifier", "http.people", {"HTTP__PEOPLE": "vera:viewer:Zt4nB8wQ1yH7\nOperator:admin:operator-2026"}),
    ("notifier", "http.service_tokens", {"HTTP__SERVICE_TOKENS": "forms:Zt4nB8wQ1yH6Zt4nB8wQ1yH6"}),
    ("scheduler-sync", "http.service_tokens", {"HTTP__SERVICE_TOKENS": "blume:development-token-of-the-local-stack"}),
    *[("notifier", "http.oidc.issuer", {**PROVIDER, "HTTP__OIDC__ISSUER": value}) for value in [
        "http://login.example", "https://localhost:8204", "https://127.0.0.1:8204",
    ]],
    ("notifier", "http.oidc.internal_url", {**PROVIDER, "HTTP__OIDC__INTERNAL_URL": "http://identity:8204"}),
    *[("notifier", "http.oidc.client_secret", {**PROVIDER, "HTTP__OIDC__CLIENT_SECRET": value})
      for value in [None, "development-secret", *WEAK]],
    ("notifier", "telemetry.log_level", {"TELEMETRY__LOG_LEVEL": "DEBUG"}),
    ("notifier", "FAILPOINTS", {"FAILPOINTS": "relay.before-send=kill"}),
    ("notifier", "SSLKEYLOGFILE", {"SSLKEYLOGFILE": "/nowhere/keys"}),
    ("notifier", "store.url", {"PGSSLMINPROTOCOLVERSION": "TLSv1"}),
    *[("notifier", "smtp.tls", {"SMTP__TLS": value}) for value in ["none", None]],
    *[("notifier", "smtp.password", {"SMTP__PASSWORD": value}) for value in [None, *WEAK]],
    *[("notifier", "smtp.password", {"SMTP__USERNAME": value}) for value in [None, "", " "]],
    ("notifier", "smtp.sender", {"SMTP__SENDER": None}),
    *[("notifier", "site_name", {"SITE_NAME": value}) for value in [None, " "]],
    *[("notifier", "portal_url", {"PORTAL_URL": value}) for value in [
        "http://blume.example", None, "https://", "https:blume.example", "https://user:word@blume.example", " https://a.example",
        "https://blume.example:port", "https://[blume.example",
    ]],
    ("notifier", "map_url", {"MAP_URL": "http://maps.example/{address}"}),
    ("scheduler-sync", "omegaai.allowed_hosts", {"OMEGAAI__ALLOWED_HOSTS": "http://hub.example.org"}),
    *[("scheduler-sync", "omegaai.base_url", {"OMEGAAI__BASE_URL": value}) for value in [
        None, "http://omegaai.example", "https://suite:word@omegaai.example", "https://", "HTTPS//omegaai.example",
    ]],
    ("scheduler-sync", "omegaai.client_id", {"OMEGAAI__CLIENT_ID": " "}),
    *[("scheduler-sync", "omegaai.client_secret", {"OMEGAAI__CLIENT_SECRET": value}) for value in [None, *WEAK]],
    ("scheduler-sync", "omegaai.client_secret",
     {"OMEGAAI__CLIENT_ID": "suite-northside", "OMEGAAI__CLIENT_SECRET": "suite-northside"}),
    ("scheduler-sync", "mllp.certificate_file",
     {f"MLLP__{name}_FILE": None for name in ("CERTIFICATE", "KEY", "CLIENT_CA")}),
    ("scheduler-sync", "mllp.client_ca_file", {"MLLP__CLIENT_CA_FILE": None}),
    ("scheduler-sync", "powerserver.tls", {"POWERSERVER__TLS": "false"}),
    ("scheduler-sync", "powerserver.tls", {"POWERSERVER__TLS": None}),
    ("scheduler-sync", "worklist.tls", {"WORKLIST__HOST": "192.0.2.10"}),
    *[("scheduler-sync", "site_file", {"SITE_FILE": value}) for value in [None, "deploy/site/northside.yaml"]],
]  # fmt: skip
PASSING: list[tuple[str, dict[str, str | None]]] = [
    *[(service, {}) for service in SERVICES],
    ("scheduler-sync", {}),
    ("notifier", query("sslmode=verify-ca&sslrootcert=/ca.crt")),
    ("notifier", query(f"{VERIFIED}&ssl_min_protocol_version=TLSv1.3")),
    ("notifier", store(f"postgresql://role:Xq7pL0vM2kR9@one:5432,two/name?{VERIFIED}&target_session_attrs=read-write")),
    ("notifier", password("p%40ss%2Fw0rd%25-Xq7")),
    ("notifier", {"KAFKA__SECURITY_PROTOCOL": "SSL", "KAFKA__CERTIFICATE_FILE": "/c.crt", "KAFKA__KEY_FILE": "/c.key",
                  "KAFKA__SASL_USERNAME": None, "KAFKA__SASL_PASSWORD": None}),
    ("notifier", {"KAFKA__SASL_MECHANISM": "PLAIN"}),
    ("notifier", PROVIDER),
    ("notifier", {**PROVIDER, "HTTP__CONSOLE_PASSWORD": None}),
    ("notifier", {"HTTP__CONSOLE_PASSWORD": None, "HTTP__PEOPLE": "vera:viewer:Zt4nB8wQ1yH7"}),
    ("notifier", {"HTTP__SERVICE_TOKENS": "forms:" + "Zt4nB8wQ1yH6" * 3}),
    ("notifier", {"SMTP__USERNAME": None, "SMTP__PASSWORD": None}),
    ("notifier", {"HTTP__HOST": "0.0.0.0", "TELEMETRY__OTLP_ENDPOINT": "http://collector:4318"}),
    ("scheduler-sync", {"MLLP__CERTIFICATE_FILE": None, "MLLP__KEY_FILE": None, "MLLP__CLIENT_CA_FILE": None,
                        "MLLP__ALLOW_PLAINTEXT": "true", "POWERSERVER__TLS": "false",
                        "POWERSERVER__ALLOW_PLAINTEXT": "true"}),
    ("scheduler-sync", {"MLLP__CLIENT_CA_FILE": None, "MLLP__ALLOW_ANY_CLIENT": "true"}),
]  # fmt: skip
_OWN_NAMES = {"FAILPOINTS", "SSLKEYLOGFILE", "PGSSLMINPROTOCOLVERSION"}


@pytest.fixture(autouse=True)
def _bare(monkeypatch) -> None:
    for name in list(os.environ):
        if name in _OWN_NAMES or name.startswith(tuple(f"{service.prefix}_" for service in roster().services)):
            monkeypatch.delenv(name)


def started(monkeypatch, service: str, change: Mapping[str, str | None]) -> ServiceSettings:
    """The settings of a good production set-up with ``change``; None removes a variable."""
    prefix = str(SERVICES[service].model_config["env_prefix"])
    for name, value in {**GOOD.get(service, EVERY), **change}.items():
        if value is not None:
            monkeypatch.setenv(name if name in _OWN_NAMES else prefix + name, value)
    return load(SERVICES[service])


@pytest.mark.parametrize(("service", "setting", "change"), BROKEN)
def test_a_broken_demand_is_refused_and_named(monkeypatch, service, setting, change) -> None:
    with pytest.raises(SettingsError) as refused:
        started(monkeypatch, service, change)
    prefix = str(SERVICES[service].model_config["env_prefix"])
    names = {problem.split(":")[0].removeprefix(prefix) for problem in refused.value.problems}
    assert {name.lower().replace("__", ".") if name != setting else name for name in names} == {setting}
    for value in change.values():
        if value and value.strip() not in {"", "development"} and setting.endswith(("url", "password", "secret")):
            assert value not in str(refused.value)


@pytest.mark.parametrize(("service", "change"), PASSING)
def test_a_good_set_up_starts(monkeypatch, service, change) -> None:
    assert started(monkeypatch, service, change).environment == "production"


def test_every_demand_is_broken_alone_by_a_case(monkeypatch) -> None:
    broken: dict[str, set[str]] = {service: set() for service in SERVICES}
    for service, _, change in BROKEN:
        with monkeypatch.context() as patch, pytest.raises(SettingsError) as refused:
            started(patch, service, change)
        if len(refused.value.problems) == 1:
            broken[service].add(refused.value.problems[0])
    everywhere = {str(one) for one in production.EVERY_SERVICE}
    assert everywhere <= broken["notifier"]
    for service, settings_type in SERVICES.items():
        assert {str(one) for one in settings_type.demands()} <= broken[service] | everywhere


def test_development_demands_nothing() -> None:
    for settings_type in SERVICES.values():
        assert load(settings_type).waived() == []


def test_what_is_waived_is_said(monkeypatch) -> None:
    change = {"MLLP__CLIENT_CA_FILE": None, "MLLP__ALLOW_ANY_CLIENT": "true", "POWERSERVER__ALLOW_PLAINTEXT": "true"}
    settings = started(monkeypatch, "scheduler-sync", change)
    assert [(one.setting, one.waived_by) for one in settings.waived()] == [
        ("mllp.client_ca_file", "mllp.allow_any_client")
    ]


def tables() -> Iterator[str]:
    """The expected tables of the page: the demands of every service, then each service's own."""
    yield production.as_table(production.EVERY_SERVICE)
    for settings_type in SERVICES.values():
        yield production.as_table(one for one in settings_type.demands() if one not in production.EVERY_SERVICE)


def test_the_page_holds_the_demands() -> None:
    page = PAGE.read_text()
    for table in tables():
        assert table in page, f"{PAGE} must hold this table:\n{table}"
