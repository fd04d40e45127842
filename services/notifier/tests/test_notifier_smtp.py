"""The SMTP adapter over real sockets: against the sink, and against servers that end where SMTP is weak."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from email import policy
from email.message import EmailMessage
from pathlib import Path

import pytest

from chassis.errors import Permanent, Transient
from mailsink.app import Sink
from mailsink.misbehaviour import Misbehaviour
from notifier.adapters.smtp import MailServer, SmtpGateway, Unanswered, without_addresses

TO = "jane.roe@example.org"


def a_mail(key: str = "1") -> bytes:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "clinic@example.org", TO, "hello"
    mail["Message-ID"] = f"<{key}@example.org>"
    mail.set_content(".a line that starts with a dot\n")
    return mail.as_bytes(policy=policy.SMTP)


@pytest.fixture
async def sink(tmp_path: Path) -> AsyncIterator[Sink]:
    async with Sink(tmp_path) as running:
        yield running


@asynccontextmanager
async def gateway(port: int, **changes: object) -> AsyncIterator[SmtpGateway]:
    made = SmtpGateway(MailServer("127.0.0.1", port, "clinic@example.org", **changes))
    try:
        yield made
    finally:
        await made.close()


@asynccontextmanager
async def server(replies: dict[str, str | Callable]) -> AsyncIterator[tuple[int, list[str]]]:
    """Answers each command by its first word; a None reply cuts, a missing one is 250. DATA's end is ``.``."""
    seen: list[str] = []
    connections: list[tuple[asyncio.Task, asyncio.StreamWriter]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append((asyncio.current_task(), writer))
        writer.write(b"220 test\r\n")
        seen.append("connected")
        in_data = False
        while raw := await reader.readline():
            line = raw.decode().rstrip("\r\n")
            word = line if in_data else line.split(" ")[0].upper()
            if in_data and line != ".":
                continue
            seen.append(word)
            reply = replies.get(word, "354 go on" if word == "DATA" else "250 fine")
            if reply is None:
                break
            if reply == "silence":
                continue
            in_data = reply.startswith("354")
            writer.write(f"{reply}\r\n".encode())
        writer.close()

    running = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield running.sockets[0].getsockname()[1], seen
    finally:
        running.close()
        for task, writer in connections:
            writer.close()
            await asyncio.wait([task])


async def test_many_mails_go_over_one_connection_and_arrive_byte_for_byte(sink: Sink) -> None:
    async with gateway(sink.smtp_port, connections=1) as smtp:
        for number in range(5):
            assert (await smtp.hand_over(a_mail(str(number)), TO)).startswith("250")
    rows = await sink._store.mails()
    assert [row["message_id"] for row in rows] == [f"<{number}@example.org>" for number in range(5)]
    assert b"\r\n.a line that starts with a dot\r\n" in rows[0]["raw"]


async def test_a_connection_is_used_again(sink: Sink) -> None:
    async with server({}) as (port, seen), gateway(port) as smtp:
        await smtp.hand_over(a_mail(), TO)
        await smtp.hand_over(a_mail(), TO)
    assert seen.count("connected") == 1
    assert seen.count("EHLO") == 1


@pytest.mark.parametrize(("status", "error"), [(451, Transient), (421, Transient), (550, Permanent)])
async def test_a_refusal_is_told_by_its_kind_and_the_next_mail_goes_through(
    sink: Sink, status: int, error: type[Exception]
) -> None:
    sink.orders.add(Misbehaviour("status", status))
    async with gateway(sink.smtp_port) as smtp:
        with pytest.raises(error, match=str(status)) as refused:
            await smtp.hand_over(a_mail(), TO)
        assert not isinstance(refused.value, Unanswered)
        await smtp.hand_over(a_mail(), TO)
    assert len(await sink._store.mails()) == 1


async def test_a_cut_after_the_data_is_the_case_nobody_can_tell(sink: Sink) -> None:
    sink.orders.add(Misbehaviour("accept-then-cut"))
    async with gateway(sink.smtp_port) as smtp:
        with pytest.raises(Unanswered):
            await smtp.hand_over(a_mail(), TO)
    assert len(await sink._store.mails()) == 1


async def test_silence_after_the_data_is_the_same_case() -> None:
    async with server({".": "silence"}) as (port, _), gateway(port, timeout_seconds=0.2) as smtp:
        with pytest.raises(Unanswered):
            await smtp.hand_over(a_mail(), TO)


@pytest.mark.parametrize("word", ["EHLO", "MAIL", "RCPT"])
@pytest.mark.parametrize("reply", [None, "silence"])
async def test_a_failure_before_the_data_left_no_mail(word: str, reply: str | None) -> None:
    replies = {word: reply, "HELO": reply} if word == "EHLO" else {word: reply}
    async with server(replies) as (port, seen), gateway(port, timeout_seconds=0.2) as smtp:
        with pytest.raises(Transient) as failed:
            await smtp.hand_over(a_mail(), TO)
    assert not isinstance(failed.value, Unanswered)
    assert "DATA" not in seen


async def test_a_kept_connection_that_the_server_closed_costs_one_more_try() -> None:
    replies: dict[str, str | None] = {}
    async with server(replies) as (port, seen), gateway(port) as smtp:
        await smtp.hand_over(a_mail(), TO)
        replies["MAIL"] = None
        once = asyncio.get_running_loop()

        async def mend() -> None:
            while seen.count("MAIL") < 2:
                await asyncio.sleep(0)
            replies.pop("MAIL")

        mending = once.create_task(mend())
        await smtp.hand_over(a_mail(), TO)
        await mending
    assert seen.count("connected") == 2
    assert seen.count(".") == 2


async def test_a_refused_recipient_is_permanent_and_names_nobody() -> None:
    async with server({"RCPT": f"550 5.1.1 <{TO}> user unknown"}) as (port, _), gateway(port) as smtp:
        with pytest.raises(Permanent) as refused:
            await smtp.hand_over(a_mail(), TO)
    assert str(refused.value) == "the mail server answered RCPT with 550 5.1.1 [address] user unknown"


async def test_nobody_listening_is_transient_and_names_the_settings(sink: Sink) -> None:
    async with gateway(1) as smtp:
        with pytest.raises(Transient, match=r"smtp\.host"):
            await smtp.hand_over(a_mail(), TO)


async def test_a_server_without_starttls_is_refused_where_it_is_asked_for(sink: Sink) -> None:
    async with gateway(sink.smtp_port, tls="starttls") as smtp:
        with pytest.raises(Transient, match=r"smtp\.tls"):
            await smtp.hand_over(a_mail(), TO)
    assert await sink._store.mails() == []


def test_replies_are_cut_and_cleaned() -> None:
    assert without_addresses("550\r\n a@b.org and <c@d.org> " + "x" * 500).startswith("550 [address] and [address] xxx")
    assert len(without_addresses("x" * 500)) == 200


async def test_a_mail_that_finds_no_connection_in_time_left_nothing_and_frees_its_place() -> None:
    replies: dict[str, str | None] = {"RCPT": "silence"}
    async with server(replies) as (port, seen), gateway(port, connections=1, envelope_seconds=0.2) as smtp:
        tries = await asyncio.gather(*(smtp.hand_over(a_mail(), TO) for _ in range(3)), return_exceptions=True)
        assert [type(each) for each in tries] == [Transient] * 3
        assert "DATA" not in seen
        replies.clear()
        await smtp.hand_over(a_mail(), TO)
    assert seen.count(".") == 1
