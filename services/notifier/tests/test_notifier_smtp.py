"""The SMTP adapter over real sockets: against the sink, and against servers that end where SMTP is weak."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from email import policy
from email.message import EmailMessage
from pathlib import Path

import pytest

from chassis.errors import AccessRefused, Permanent, Transient
from chassis.testing.certificates import Authority
from chassis.testing.talks import talking
from mailsink.app import Sink
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

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(f"{replies.get('greeting', '220 test')}\r\n".encode())
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
            if reply == "endless":
                while True:
                    writer.write(b"250-and more\r\n" * 1000)
                    await writer.drain()
            if reply == "silence":
                continue
            in_data = reply.startswith("354")
            writer.write(f"{reply}\r\n".encode())

    async with talking(serve) as port:
        yield port, seen


async def test_many_mails_go_over_one_connection_and_arrive_byte_for_byte(sink: Sink) -> None:
    async with gateway(sink.smtp_port, connections=1) as smtp:
        for number in range(5):
            assert (await smtp.hand_over(a_mail(str(number)), TO)).startswith("250")
    rows = await sink.mails()
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
    sink.misbehaviour.order("status", status=status)
    async with gateway(sink.smtp_port) as smtp:
        with pytest.raises(error, match=str(status)) as refused:
            await smtp.hand_over(a_mail(), TO)
        assert not isinstance(refused.value, Unanswered)
        await smtp.hand_over(a_mail(), TO)
    assert len(await sink.mails()) == 1


async def test_a_cut_after_the_data_is_the_case_nobody_can_tell(sink: Sink) -> None:
    sink.misbehaviour.order("accept-then-cut")
    async with gateway(sink.smtp_port) as smtp:
        with pytest.raises(Unanswered):
            await smtp.hand_over(a_mail(), TO)
    assert len(await sink.mails()) == 1


async def test_silence_after_the_data_is_the_same_case() -> None:
    async with server({".": "silence"}) as (port, _), gateway(port, timeout_seconds=5) as smtp:
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
    assert await sink.mails() == []


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


ACCESS, PASSES, FINAL = AccessRefused, Transient, Permanent
TABLE = [
    # Before a mail is named: nothing of it is about one.
    ("greeting", "421 4.3.2 too busy", PASSES, ""),
    ("greeting", "554 5.7.1 your address is blocked", ACCESS, "smtp.host"),
    ("EHLO", "421 4.3.2 too busy", PASSES, ""),
    ("EHLO", "550 5.7.1 I do not know you", ACCESS, "smtp.host"),
    ("AUTH", "535 5.7.8 wrong", ACCESS, "smtp.password"),
    ("AUTH", "534 5.7.9 too weak", ACCESS, "smtp.password"),
    ("AUTH", "538 5.7.11 only over TLS", ACCESS, "smtp.password"),
    ("AUTH", "454 4.7.0 not now", PASSES, ""),
    ("MAIL", "421 4.3.2 closing", PASSES, ""),
    ("MAIL", "451 4.3.0 later", PASSES, ""),
    ("MAIL", "530 5.7.0 log in first", ACCESS, "smtp.password"),
    ("MAIL", "530 5.7.57 client was not authenticated", ACCESS, "smtp.password"),
    ("MAIL", "550 5.7.1 sender is not allowed", ACCESS, "smtp.sender"),
    ("MAIL", "553 5.1.8 no such domain", ACCESS, "smtp.sender"),
    ("MAIL", "501 5.1.7 bad sender", ACCESS, "smtp.sender"),
    ("MAIL", "552 5.3.4 too big", FINAL, ""),
    # The recipient, or our right to send to anybody.
    ("RCPT", "450 4.2.1 greylisted", PASSES, ""),
    ("RCPT", "452 4.2.2 mailbox full", PASSES, ""),
    ("RCPT", "530 5.7.0 log in first", ACCESS, "smtp.password"),
    ("RCPT", "550 5.7.1 relaying denied", ACCESS, "smtp.host"),
    ("RCPT", f"554 5.7.1 <{TO}>: Relay access denied", ACCESS, "smtp.host"),
    ("RCPT", f"550 5.7.1 <clinic@example.org>: Sender address rejected for {TO}", ACCESS, "smtp.sender"),
    ("RCPT", "554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked", ACCESS, "smtp.host"),
    ("RCPT", "553 sorry, that domain is not allowed (#5.7.1)", ACCESS, "smtp.host"),
    ("RCPT", "550 5.7.64 TenantAttribution; Relay Access Denied", ACCESS, "smtp.host"),
    ("RCPT", "550 we do not relay", ACCESS, "smtp.host"),
    ("RCPT", "550 5.1.8 sender's domain is unknown", ACCESS, "smtp.sender"),
    ("RCPT", f"550 5.1.1 <{TO}>: user unknown", FINAL, ""),
    ("RCPT", "550 5.1.10 no such recipient", FINAL, ""),
    ("RCPT", "550 no such user", FINAL, ""),
    ("RCPT", "551 user not local", FINAL, ""),
    ("RCPT", "552 5.2.2 over quota", FINAL, ""),
    ("RCPT", "553 5.1.3 bad address", FINAL, ""),
    ("RCPT", f"554 5.7.1 <{TO}>: Recipient address rejected: Access denied", FINAL, ""),
    # The mail itself.
    ("DATA", "451 4.3.0 later", PASSES, ""),
    ("DATA", "554 5.5.1 no valid recipients", FINAL, ""),
    (".", "421 4.3.2 closing", PASSES, ""),
    (".", "452 4.3.1 disk full", PASSES, ""),
    (".", "552 5.3.4 too big", FINAL, ""),
    (".", "554 5.6.0 content is malformed", FINAL, ""),
    (".", "554 5.7.1 message looks like spam", FINAL, ""),
    (".", "550 5.7.26 unauthenticated mail is not accepted", ACCESS, "smtp.sender"),
    (".", "550 5.7.60 client may not send as this sender", ACCESS, "smtp.sender"),
    (".", "530 5.7.0 log in first", ACCESS, "smtp.password"),
]


@pytest.mark.parametrize(("command", "reply", "expected", "where"), TABLE)
async def test_what_a_reply_of_the_mail_server_means(
    command: str, reply: str, expected: type[Exception], where: str
) -> None:
    """The table of docs/architecture/messaging.md, row by row."""
    replies = {command: reply, **({"HELO": reply} if command == "EHLO" else {})}
    changes = {}
    if command == "AUTH":
        replies["EHLO"] = "250-test\r\n250 AUTH PLAIN"
        changes = {"username": "suite", "password": "word"}
    async with server(replies) as (port, _), gateway(port, **changes) as smtp:
        with pytest.raises((Transient, Permanent)) as raised:
            await smtp.hand_over(a_mail(), TO)
    assert type(raised.value) is expected, raised.value
    assert TO not in raised.value.reason
    if expected is ACCESS:
        assert where in raised.value.setting


async def test_a_login_that_the_server_does_not_offer_waits() -> None:
    async with server({}) as (port, _), gateway(port, username="suite", password="word") as smtp:
        with pytest.raises(AccessRefused, match=r"smtp\.username"):
            await smtp.hand_over(a_mail(), TO)


async def test_a_mail_servers_certificate_that_is_not_to_be_trusted_waits(tmp_path: Path) -> None:
    theirs = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    theirs.load_cert_chain(*Authority(tmp_path, "nobody").issue("mail"))

    async def nothing(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        """No talk comes about."""

    async with talking(nothing, ssl=theirs) as port:
        server_at = MailServer("127.0.0.1", port, "clinic@example.org", tls="tls")
        smtp = SmtpGateway(server_at, ssl.create_default_context())
        with pytest.raises(AccessRefused, match="certificate"):
            await smtp.hand_over(a_mail(), TO)


@pytest.mark.parametrize("word", ["EHLO", "MAIL", "RCPT", "DATA", "."])
async def test_a_reply_without_end_is_given_up_and_its_connection_with_it(word: str) -> None:
    replies: dict[str, str | None] = {word: "endless", "HELO": None}
    async with server(replies) as (port, seen), gateway(port, timeout_seconds=5, connections=1) as smtp:
        with pytest.raises(Transient) as failed:
            await smtp.hand_over(a_mail(), TO)
        assert isinstance(failed.value, Unanswered) is (word in {"DATA", "."}), "from DATA on nobody can tell"
        replies.clear()
        await smtp.hand_over(a_mail(), TO)
    assert seen.count("connected") == 2, "nobody can tell what such a connection says next"


async def test_a_reply_that_comes_a_byte_at_a_time_ends_with_the_hand_overs_time() -> None:
    talks: list[asyncio.Task] = []

    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talks.append(asyncio.current_task())
        while True:
            writer.write(b"2")
            await writer.drain()
            await asyncio.sleep(0.05)

    async with talking(drip) as port:
        async with gateway(port, timeout_seconds=0.5, envelope_seconds=1) as smtp, asyncio.timeout(60):
            with pytest.raises(Transient):
                await smtp.hand_over(a_mail(), TO)
        done, left = await asyncio.wait(talks, timeout=60)
        assert done
        assert not left, "the gateway has closed its connection"
