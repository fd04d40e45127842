"""TLS towards PowerServer: both directions, mutual where it is set, and never plain in production by accident."""

from pathlib import Path

import pytest
from sync_harness import listening, send
from sync_samples import siu

from chassis.host import CertificateWatch
from chassis.observe import Metrics
from chassis.settings import SettingsError, StoreSettings, load
from chassis.testing.certificates import Authority
from hl7v2 import build_ack
from hl7v2.message import Message
from hl7v2.mllp import Client, ConnectionLost, client_context, server_context, start_server
from scheduler_sync.bootstrap import own_certificates
from scheduler_sync.settings import MllpSettings, PowerServerSettings, SchedulerSyncSettings


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "hospital")


@pytest.mark.stack
async def test_the_listener_takes_messages_only_from_whom_it_knows(
    migrated_url: str, authority: Authority, tmp_path: Path
):
    certificate, key = authority.issue("suite")
    own = authority.issue("powerserver")
    foreign = Authority(tmp_path, "foreign").issue("somebody")
    mllp = MllpSettings(port=0, certificate_file=certificate, key_file=key, client_ca_file=authority.path)
    known = client_context(authorities=authority.path, certificate=own[0], key=own[1])
    async with listening(migrated_url, mllp=mllp, ssl=known) as (core, client):
        assert (await send(client, siu())).code == "AA"
        unknown = client_context(authorities=authority.path, certificate=foreign[0], key=foreign[1])
        nobody = client_context(authorities=authority.path)
        for context in (None, nobody, unknown):
            async with Client("127.0.0.1", core.listener.port, ssl=context, ack_timeout_seconds=60) as other:
                with pytest.raises(ConnectionLost):
                    await send(other, siu(control_id="C9"))
        assert await core.store.pool.fetchval("SELECT count(*) FROM hl7_journal") == 1


@pytest.mark.stack
@pytest.mark.parametrize("expired", ["suite", "powerserver"])
async def test_an_expired_certificate_gives_no_aa_and_a_renewed_one_heals_without_a_restart(
    migrated_url: str, authority: Authority, expired: str
):
    files = {name: authority.issue(name, days=-1 if name == expired else 30) for name in ("suite", "powerserver")}
    mllp = MllpSettings(
        port=0, certificate_file=files["suite"][0], key_file=files["suite"][1], client_ca_file=authority.path
    )

    def sender() -> Client:
        certificate, key = files["powerserver"]
        context = client_context(authorities=authority.path, certificate=certificate, key=key)
        return Client("127.0.0.1", core.listener.port, ssl=context, ack_timeout_seconds=60)

    async with listening(migrated_url, mllp=mllp) as (core, _):
        async with sender() as client:
            with pytest.raises(ConnectionLost):
                await send(client, siu())
        assert await core.store.pool.fetchval("SELECT count(*) FROM hl7_journal") == 0
        authority.issue(expired)
        async with sender() as client:
            assert (await send(client, siu())).code == "AA"
        assert await core.store.pool.fetchval("SELECT count(*) FROM hl7_journal") == 1
        assert await core.store.pool.fetchval("SELECT count(*) FROM appointment_links") == 1


async def test_a_renewed_certificate_is_shown_to_powerserver_without_a_restart_and_both_are_watched(
    authority: Authority,
):
    ours, servers = authority.issue("suite", days=-1), authority.issue("powerserver")
    powerserver = PowerServerSettings(tls=True, ca_file=authority.path, certificate_file=ours[0], key_file=ours[1])
    listeners = MllpSettings(certificate_file=servers[0], key_file=servers[1])
    settings = SchedulerSyncSettings(
        store=StoreSettings(url="postgresql://127.0.0.1/none"), mllp=listeners, powerserver=powerserver
    )
    shown, metrics = powerserver.ssl_context(), Metrics()
    watch = CertificateWatch(own_certificates(settings, shown), metrics)

    async def handle(content: bytes, _peer: object) -> bytes:
        return build_ack(Message.parse(content), "AA", control_id="A").to_bytes()

    def left(use: str) -> float:
        return metrics.value("tls_certificate_expires_in_seconds", use=use)

    mutual = server_context(*servers, client_authorities=authority.path)
    async with (
        await start_server(handle, "127.0.0.1", 0, ssl=mutual) as server,
        Client("127.0.0.1", server.port, ssl=shown) as client,
    ):
        watch.look()
        with pytest.raises(ConnectionLost):
            await send(client, siu())
        assert left("mllp-client") < 0 < left("mllp-listener")
        authority.issue("suite")
        watch.look()
        assert left("mllp-client") > 0
        assert (await send(client, siu())).code == "AA"


async def test_powerserver_is_spoken_to_over_tls_and_its_certificate_is_checked(authority: Authority, tmp_path: Path):
    certificate, key = authority.issue("powerserver")
    own = authority.issue("suite")

    async def handle(content: bytes, _peer: object) -> bytes:
        return build_ack(Message.parse(content), "AA", control_id="A").to_bytes()

    context = server_context(certificate, key, client_authorities=authority.path)
    async with await start_server(handle, "127.0.0.1", 0, ssl=context) as server:
        trusted = PowerServerSettings(tls=True, ca_file=authority.path, certificate_file=own[0], key_file=own[1])
        async with Client("127.0.0.1", server.port, ssl=trusted.ssl_context()) as client:
            assert (await send(client, siu())).code == "AA"
        other = PowerServerSettings(tls=True, ca_file=Authority(tmp_path, "foreign").path)
        async with Client("127.0.0.1", server.port, ssl=other.ssl_context()) as client:
            with pytest.raises(ConnectionLost):
                await send(client, siu())


def test_a_file_that_cannot_be_used_is_said_without_a_traceback(authority: Authority, tmp_path: Path):
    certificate, key = authority.issue("suite")
    for settings in (
        MllpSettings(certificate_file=tmp_path / "none.crt", key_file=key),
        MllpSettings(certificate_file=key, key_file=certificate),
        PowerServerSettings(tls=True, ca_file=tmp_path / "none.pem"),
    ):
        with pytest.raises(SettingsError, match=r"__…_FILE: a certificate, key or authority cannot be used"):
            settings.ssl_context()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"SCHEDULER_SYNC_MLLP__CERTIFICATE_FILE": "a.crt"}, "go together"),
        ({"SCHEDULER_SYNC_MLLP__CLIENT_CA_FILE": "a.pem"}, "only with certificate_file"),
        ({"SCHEDULER_SYNC_POWERSERVER__CA_FILE": "a.pem"}, "only with tls=true"),
        ({"SCHEDULER_SYNC_ENVIRONMENT": "production"}, "mllp.certificate_file: production needs TLS"),
        ({"SCHEDULER_SYNC_ENVIRONMENT": "production"}, "powerserver.tls: production needs TLS"),
    ],
)
def test_half_a_setting_and_a_plain_line_in_production_are_refused(monkeypatch, settings: dict[str, str], words: str):
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as refused:
        load(SchedulerSyncSettings)
    assert any(words in problem for problem in refused.value.problems)


def test_production_takes_tls_or_an_explicit_word(monkeypatch):
    monkeypatch.setenv("SCHEDULER_SYNC_ENVIRONMENT", "production")
    monkeypatch.setenv("SCHEDULER_SYNC_MLLP__ALLOW_PLAINTEXT", "true")
    monkeypatch.setenv("SCHEDULER_SYNC_POWERSERVER__TLS", "true")
    with pytest.raises(SettingsError) as refused:  # the other development defaults stand
        load(SchedulerSyncSettings)
    assert not any(problem.startswith(("mllp.", "powerserver.")) for problem in refused.value.problems)
