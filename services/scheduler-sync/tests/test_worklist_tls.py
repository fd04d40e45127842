"""PowerServer's modality worklist by TLS: both certificates right gets its items, everybody else gets nothing."""

import ssl
from pathlib import Path

import pytest
from pynetdicom import AE, evt
from pynetdicom.sop_class import ModalityWorklistInformationFind  # type: ignore[attr-defined]
from sync_samples import site_file
from test_reconciliation_worklist import ONE_DAY, item, matching

from chassis.errors import Transient
from chassis.testing.certificates import Authority
from scheduler_sync.adapters.worklist.worklist import Worklist
from scheduler_sync.settings import WorklistSettings


def server_of(authority: Authority) -> tuple[AE, int, list[object]]:
    """A worklist with one item that asks its callers for a certificate of ``authority``."""
    certificate, key = authority.issue("powerserver")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority.path)
    context.load_cert_chain(certificate, key)
    context.verify_mode = ssl.CERT_REQUIRED
    asked: list[object] = []
    answer = matching([item(1)])

    def find(event: evt.Event) -> object:
        asked.append(event.identifier)
        yield from answer(event.identifier)

    ae = AE(ae_title="POWERSERVER")
    ae.add_supported_context(ModalityWorklistInformationFind)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_FIND, find)], ssl_context=context)
    return ae, server.socket.getsockname()[1], asked


async def placers(port: int, host: str = "127.0.0.1", **tls: object) -> list[str | None]:
    settings = WorklistSettings(host=host, port=port, timeout_seconds=20, **tls)
    return [one.placer async for day in Worklist(settings, site_file()).days(ONE_DAY) for one in day.found]


async def test_the_worklist_is_asked_by_tls_and_only_between_who_know_each_other(tmp_path: Path) -> None:
    hospital, foreign = Authority(tmp_path, "hospital"), Authority(tmp_path, "foreign")
    ae, port, asked = server_of(hospital)
    certificate, key = hospital.issue("suite")
    unknown_certificate, unknown_key = foreign.issue("somebody")
    own = {"certificate_file": certificate, "key_file": key}
    try:
        assert await placers(port, tls=True, ca_file=hospital.path, **own) == ["P1"]
        number = len(asked)
        refused = [
            {"tls": False},
            {"tls": True, "ca_file": hospital.path},
            {"tls": True, "ca_file": foreign.path, **own},
            {"tls": True, "ca_file": hospital.path, "certificate_file": unknown_certificate, "key_file": unknown_key},
        ]
        for one in refused:
            with pytest.raises(Transient):
                await placers(port, **one)
        assert len(asked) == number, "nobody else's question reached the worklist"
    finally:
        ae.shutdown()
