"""Settings: from the environment and files, refused with the setting's name, never fit for production by accident."""

import pytest
from pydantic_settings import SettingsConfigDict

from chassis.settings import ServiceSettings, SettingsError, load, load_or_exit


class Settings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="DEMO_", env_nested_delimiter="__")


def test_environment_and_files_give_values(monkeypatch, tmp_path) -> None:
    secret = tmp_path / "url"
    secret.write_text("postgresql://u:from-a-file@db:5432/demo\n")
    monkeypatch.setenv("DEMO_STORE__URL_FILE", str(secret))
    monkeypatch.setenv("DEMO_KAFKA__BOOTSTRAP_SERVERS", "kafka:9092")
    settings = load(Settings)
    assert settings.store.url == "postgresql://u:from-a-file@db:5432/demo"
    assert settings.kafka.client_keywords()["bootstrap_servers"] == "kafka:9092"


def test_the_environment_wins_over_a_file(monkeypatch, tmp_path) -> None:
    secret = tmp_path / "url"
    secret.write_text("postgresql://from-a-file/demo")
    monkeypatch.setenv("DEMO_STORE__URL_FILE", str(secret))
    monkeypatch.setenv("DEMO_STORE__URL", "postgresql://from-the-environment/demo")
    assert load(Settings).store.url == "postgresql://from-the-environment/demo"


def test_each_bad_setting_gets_a_line_with_its_name_and_not_its_value(monkeypatch, capsys) -> None:
    monkeypatch.setenv("DEMO_STORE__URL", "mysql://root:hunter2@db/x")
    monkeypatch.setenv("DEMO_HTTP__PORT", "99999")
    with pytest.raises(SystemExit) as stopped:
        load_or_exit(Settings)
    assert stopped.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in lines] == ["DEMO_STORE__URL", "DEMO_HTTP__PORT"]
    assert "hunter2" not in "".join(lines)


@pytest.mark.parametrize("value", ["", " "])
def test_an_empty_endpoint_for_traces_is_none(monkeypatch, value) -> None:
    monkeypatch.setenv("DEMO_TELEMETRY__OTLP_ENDPOINT", value)
    assert load(Settings).telemetry.otlp_endpoint is None


def test_an_unreadable_file_is_named(monkeypatch) -> None:
    monkeypatch.setenv("DEMO_STORE__URL_FILE", "/nowhere/url")
    with pytest.raises(SettingsError, match="DEMO_STORE__URL_FILE"):
        load(Settings)


def test_production_refuses_each_development_default(monkeypatch) -> None:
    monkeypatch.setenv("DEMO_ENVIRONMENT", "production")
    monkeypatch.setenv("FAILPOINTS", "relay.before-send=kill")
    with pytest.raises(SettingsError) as refused:
        load(Settings)
    named = {problem.split(":")[0] for problem in refused.value.problems}
    assert named == {
        "store.url", "kafka.security_protocol", "kafka.sasl_username", "http.console_password", "FAILPOINTS",
    }  # fmt: skip


def test_production_starts_when_all_is_set(monkeypatch) -> None:
    for name, value in {
        "DEMO_ENVIRONMENT": "production",
        "DEMO_STORE__URL": "postgresql://u:Xq7pL0vM2kR9@db/demo?sslmode=verify-full",
        "DEMO_KAFKA__SECURITY_PROTOCOL": "SASL_SSL",
        "DEMO_KAFKA__SASL_USERNAME": "demo",
        "DEMO_KAFKA__SASL_PASSWORD": "Zt4nB8wQ1yH6",
        "DEMO_HTTP__CONSOLE_PASSWORD": "Zt4nB8wQ1yH6",
    }.items():
        monkeypatch.setenv(name, value)
    assert load(Settings).environment == "production"
