"""The hosts that the service may ask are a setting; a value that names no host is refused."""

import pytest
from pydantic_settings import SettingsConfigDict

from chassis.settings import ServiceSettings, SettingsError, load
from omegaai.settings import OmegaAISettings


class OneServicesSettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="ONE_SERVICE_", env_nested_delimiter="__")

    omegaai: OmegaAISettings = OmegaAISettings()


@pytest.fixture
def omegaai(monkeypatch: pytest.MonkeyPatch):
    def given(**values: str):
        for name, value in values.items():
            monkeypatch.setenv(f"ONE_SERVICE_OMEGAAI__{name.upper()}", value)
        return load(OneServicesSettings).omegaai

    return given


def test_hosts_stand_between_commas(omegaai):
    assert omegaai(allowed_hosts="hub.example, https://hub.example:8443").hosts == (
        "hub.example",
        "https://hub.example:8443",
    )


def test_nobody_else_is_asked_where_nothing_is_set(omegaai):
    assert omegaai(allowed_hosts="").hosts == ()


@pytest.mark.parametrize(
    "base_url", ["omegaai.example", "https://user:word@omegaai.example", "ftp://a", "https://", ""]
)
def test_an_address_that_is_none_or_holds_a_login_is_refused(omegaai, base_url: str):
    with pytest.raises(SettingsError) as refused:
        omegaai(base_url=base_url)
    assert "base_url" in str(refused.value).lower()
    assert "word" not in str(refused.value)


@pytest.mark.parametrize("hosts", ["*", "https://a/path", "ftp://a"])
def test_an_entry_that_is_no_host_is_refused(omegaai, hosts: str):
    with pytest.raises(SettingsError, match="is no host"):
        omegaai(allowed_hosts=hosts)
