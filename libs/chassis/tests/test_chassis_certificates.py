"""Somebody hears of a certificate before it expires, and of a file that cannot be used; a renewed one is seen."""

import asyncio
import ssl
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from chassis.host import Certificate, CertificateWatch
from chassis.observe import Metrics
from chassis.testing.certificates import Authority

GAUGE = "tls_certificate_expires_in_seconds"
SETTING = "SERVICE_MLLP__CERTIFICATE_FILE"
DAY = 86400.0


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "hospital")


class Watched:
    """One certificate of ours, and what is known of it."""

    def __init__(self, authority: Authority, days: int, context: ssl.SSLContext | None = None) -> None:
        self.file, self.key_file = authority.issue("ours", days=days)
        self.metrics = Metrics()
        self.watch = CertificateWatch(
            [Certificate("mllp-listener", SETTING, self.file, self.key_file, context)], self.metrics
        )

    def days_left(self) -> float:
        self.watch.look()
        return self.metrics.value(GAUGE, use="mllp-listener") / DAY


@pytest.mark.parametrize("days", [30, 13, 0, -1])
def test_the_gauge_says_how_long_and_goes_below_zero(authority: Authority, days: int) -> None:
    assert Watched(authority, days).days_left() == pytest.approx(days, abs=0.01)


def test_the_first_of_a_chain_counts(authority: Authority) -> None:
    ours = Watched(authority, 30)
    other, _ = authority.issue("intermediate", days=3)
    ours.file.write_bytes(ours.file.read_bytes() + other.read_bytes())
    assert ours.days_left() == pytest.approx(3, abs=0.01)


def test_without_a_certificate_there_is_nothing_to_alarm(authority: Authority) -> None:
    metrics = Metrics()
    CertificateWatch([], metrics).look()
    assert metrics.registry.get_sample_value(GAUGE, {"use": "mllp-listener"}) is None


async def test_a_renewed_file_is_seen_by_the_running_loop(authority: Authority, monkeypatch) -> None:
    monkeypatch.setattr("chassis.host.certificates.LOOK_SECONDS", 0.01)
    ours = Watched(authority, -1)

    async def until(reached) -> None:
        async with asyncio.timeout(60):
            while not reached(ours.metrics.value(GAUGE, use="mllp-listener")):
                await asyncio.sleep(0.01)

    running = asyncio.create_task(ours.watch.run())
    await until(lambda seconds: seconds < 0)
    authority.issue("ours", days=30)
    await until(lambda seconds: seconds > 29 * DAY)
    await ours.watch.stop()
    await asyncio.wait_for(running, 60)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda ours: ours.file.unlink(), "No such file or directory"),
        (lambda ours: ours.file.write_bytes(ours.file.read_bytes()[:200]), "no certificate in PEM"),
        (lambda ours: ours.file.write_text(""), "no certificate in PEM"),
        (lambda ours: ours.key_file.unlink(), "No such file or directory"),
    ],
    ids=["gone", "half written", "empty", "key gone"],
)
def test_a_file_that_cannot_be_used_is_said_once_by_its_setting_and_alarms_when_none_ever_could(
    authority: Authority, spoil, reason: str
) -> None:
    ours = Watched(authority, 30)
    spoil(ours)
    with capture_logs() as lines:
        assert ours.days_left() == 0
        assert ours.days_left() == 0
    assert [(line["event"], line["log_level"], line["setting"], line["reason"]) for line in lines] == [
        ("certificates.unusable", "error", SETTING, reason)
    ]
    authority.issue("ours")
    assert ours.days_left() == pytest.approx(30, abs=0.01)


def test_a_certificate_without_its_key_leaves_the_time_of_the_former_running(authority: Authority) -> None:
    ours = Watched(authority, 3)
    assert ours.days_left() == pytest.approx(3, abs=0.01)
    former_key = ours.key_file.read_bytes()
    authority.issue("ours", days=30)
    new_key = ours.key_file.read_bytes()
    ours.key_file.write_bytes(former_key)
    with capture_logs() as lines:
        assert ours.days_left() == pytest.approx(3, abs=0.01)
    assert [(line["event"], line["reason"]) for line in lines] == [("certificates.unusable", "KEY_VALUES_MISMATCH")]
    ours.key_file.write_bytes(new_key)
    assert ours.days_left() == pytest.approx(30, abs=0.01)


def test_a_context_that_was_loaded_once_shows_the_renewed_certificate(authority: Authority) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours = Watched(authority, -1, context)
    ours.watch.look()
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        shake_hands(context, authority)
    authority.issue("ours")
    ours.watch.look()
    shake_hands(context, authority)


def shake_hands(server_context: ssl.SSLContext, authority: Authority) -> None:
    """A whole handshake in memory, by a client that checks. Raises what the client says of the certificate."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context(cafile=authority.path).wrap_bio(down, up, server_hostname="localhost")
    server = server_context.wrap_bio(up, down, server_side=True)
    open_sides = [client, server]
    for _ in range(10):
        for side in list(open_sides):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            open_sides.remove(side)
        if not open_sides:
            return
    raise TimeoutError("the handshake came to no end")
