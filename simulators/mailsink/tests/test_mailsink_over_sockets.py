"""The sink over its real sockets: what SMTP brings is on disk before the 250, and pages and JSON show it."""

import asyncio
import json
import smtplib
import sqlite3
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from email.message import EmailMessage
from pathlib import Path

import pytest

from mailsink.app import Sink


@pytest.fixture
async def sink(tmp_path: Path) -> AsyncIterator[Sink]:
    async with Sink(tmp_path) as running:
        yield running


def a_mail(number: int = 1, to: str = "Jane.Roe@example.org") -> EmailMessage:
    mail = EmailMessage()
    mail["From"] = "clinic@example.org"
    mail["To"] = to
    mail["Subject"] = f"Café {number}"
    mail["Message-ID"] = f"<{number}@example.org>"
    mail["X-Suite-Template"] = "please-confirm"
    mail["X-Suite-Appointment"] = "0198c0de-0000-7000-8000-000000000001"
    mail.set_content("plain part\n")
    mail.add_alternative("<p>html part</p><script>alert(1)</script>", subtype="html")
    return mail


def send(port: int, *mails: EmailMessage) -> None:
    with smtplib.SMTP("127.0.0.1", port, timeout=60) as client:
        for mail in mails:
            client.send_message(mail)


async def http(sink: Sink, path: str, body: object | None = None, method: str | None = None) -> tuple[int, str, dict]:
    def ask() -> tuple[int, str, dict]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{sink.http_port}{path}", data=data, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
                return answer.status, answer.read().decode(), dict(answer.headers)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode(), dict(error.headers)

    return await asyncio.to_thread(ask)


async def ledger(sink: Sink) -> list[dict]:
    return json.loads((await http(sink, "/ledger"))[1])["rows"]


async def test_a_mail_is_in_the_store_and_the_ledger_once_it_is_acknowledged(sink: Sink, tmp_path: Path) -> None:
    await asyncio.to_thread(send, sink.smtp_port, a_mail())
    with sqlite3.connect(tmp_path / "mailsink.sqlite3") as file:
        assert file.execute("SELECT message_id FROM mails").fetchall() == [("<1@example.org>",)]
    file.close()
    (row,) = await ledger(sink)
    assert (row["direction"], row["kind"], row["subject"]) == ("effect", "mail.received", "<1@example.org>")
    assert row["detail"]["to"] == ["Jane.Roe@example.org"]
    assert row["detail"]["mail_subject"] == "Café 1"
    assert row["detail"]["template"] == "please-confirm"
    assert row["detail"]["appointment"] == "0198c0de-0000-7000-8000-000000000001"


async def test_the_api_finds_a_recipient_in_any_case_and_pages_by_number(sink: Sink) -> None:
    await asyncio.to_thread(send, sink.smtp_port, a_mail(1), a_mail(2, "other@example.org"), a_mail(3))
    status, body, _ = await http(sink, "/api/mails?to=jane.roe@EXAMPLE.org&after=1")
    found = json.loads(body)
    assert status == 200
    assert [mail["message_id"] for mail in found["mails"]] == ["<3@example.org>"]
    assert found["last"] == 3
    assert found["mails"][0]["text"] == "plain part\n"
    assert "html part" in found["mails"][0]["html"]
    assert json.loads((await http(sink, "/ledger?after=2&limit=1"))[1])["last"] == 3


async def test_the_store_survives_a_restart(tmp_path: Path) -> None:
    async with Sink(tmp_path) as sink:
        await asyncio.to_thread(send, sink.smtp_port, a_mail())
    async with Sink(tmp_path) as sink:
        await asyncio.to_thread(send, sink.smtp_port, a_mail(2))
        assert [row["seq"] for row in await ledger(sink)] == [1, 2]


async def test_the_ledger_refuses_to_be_changed(sink: Sink, tmp_path: Path) -> None:
    await asyncio.to_thread(send, sink.smtp_port, a_mail())
    file = sqlite3.connect(tmp_path / "mailsink.sqlite3")
    for statement in ("DELETE FROM ledger", "UPDATE ledger SET subject = ''"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            file.execute(statement)
    file.close()


@pytest.mark.parametrize("status", [421, 451, 550])
async def test_a_refusal_is_answered_once_and_leaves_no_mail(sink: Sink, status: int) -> None:
    order = {"target": "smtp", "mode": "status", "status": status, "count": 1}
    assert (await http(sink, "/control/misbehave", order))[0] == 201
    with pytest.raises(smtplib.SMTPException) as refused:
        await asyncio.to_thread(send, sink.smtp_port, a_mail())
    assert getattr(refused.value, "smtp_code", None) == status
    await asyncio.to_thread(send, sink.smtp_port, a_mail())
    assert [row["kind"] for row in await ledger(sink)] == ["mail.refused", "mail.received"]


async def test_accept_then_cut_keeps_the_mail_and_says_nothing(sink: Sink) -> None:
    await http(sink, "/control/misbehave", {"mode": "accept-then-cut"})
    with pytest.raises((smtplib.SMTPServerDisconnected, ConnectionResetError)):
        await asyncio.to_thread(send, sink.smtp_port, a_mail())
    assert [row["kind"] for row in await ledger(sink)] == ["mail.received"]


async def test_slow_answers_later(sink: Sink) -> None:
    await http(sink, "/control/misbehave", {"mode": "slow", "seconds": 0.3})
    started = asyncio.get_running_loop().time()
    await asyncio.to_thread(send, sink.smtp_port, a_mail())
    assert asyncio.get_running_loop().time() - started >= 0.3


async def test_faults_are_listed_and_cleared_and_bad_ones_explained(sink: Sink) -> None:
    assert (await http(sink, "/control/misbehave", {"mode": "status", "status": 200}))[0] == 422
    assert (await http(sink, "/control/misbehave", {"mode": "dance"}))[0] == 422
    await http(sink, "/control/misbehave", {"mode": "slow", "seconds": 60, "count": None})
    assert len(json.loads((await http(sink, "/control/misbehave"))[1])["faults"]) == 1
    assert (await http(sink, "/control/misbehave", method="DELETE"))[0] == 204
    assert json.loads((await http(sink, "/control/misbehave"))[1]) == {"faults": []}


async def test_one_page_lists_what_it_does_on_command(sink: Sink) -> None:
    page = (await http(sink, "/control"))[1]
    for mode in ("status", "accept-then-cut", "slow"):
        assert f"<code>{mode}</code>" in page
    assert "421, 451, 530, 550" in page


async def test_pages_show_the_mail_without_running_it(sink: Sink) -> None:
    status, empty, headers = await http(sink, "/")
    assert status == 200
    assert "No mail yet" in empty
    assert "unsafe-inline" not in headers["content-security-policy"]
    assert "<style" not in empty
    assert "<script>" not in empty
    await asyncio.to_thread(send, sink.smtp_port, a_mail())
    assert "Café 1" in (await http(sink, "/"))[1]
    page = (await http(sink, "/mails/1"))[1]
    assert 'sandbox="allow-popups allow-popups-to-escape-sandbox"' in page
    assert "alert(1)" not in page
    _, body, headers = await http(sink, "/mails/1/html")
    assert "html part" in body
    assert headers["content-security-policy"].startswith("sandbox allow-popups")
    assert "script-src" not in headers["content-security-policy"]
    assert (await http(sink, "/mails/99"))[0] == 404
    assert "X-Suite-Template" in (await http(sink, "/mails/1/raw"))[1]


async def test_an_open_page_is_told_of_a_new_mail(sink: Sink) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", sink.http_port)
    writer.write(b"GET /events HTTP/1.1\r\nHost: mailsink\r\n\r\n")
    await asyncio.wait_for(reader.readuntil(b"retry: 1000\n\n"), 60)
    await asyncio.to_thread(send, sink.smtp_port, a_mail())
    await asyncio.wait_for(reader.readuntil(b'data: {"kind": "mail", "id": 1}\n\n'), 60)
    writer.close()
    await writer.wait_closed()
    assert 'data-key="mail-1"' in (await http(sink, "/"))[1]


async def test_a_mail_that_is_no_mail_is_kept_and_shown(sink: Sink) -> None:
    def send_junk() -> None:
        with smtplib.SMTP("127.0.0.1", sink.smtp_port, timeout=60) as client:
            client.sendmail("a@example.org", ["b@example.org"], b"\xff\xfe no headers at all \x00")

    await asyncio.to_thread(send_junk)
    assert (await http(sink, "/mails/1"))[0] == 200
    assert json.loads((await http(sink, "/api/mails"))[1])["mails"][0]["to"] == ["b@example.org"]
