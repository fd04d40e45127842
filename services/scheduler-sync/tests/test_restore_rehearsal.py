"""The runbook of docs/operations/restore.md, played: a store is set back while Kafka and the partners went on.

Counted at both ends: PowerServer and Blume show the same of every appointment, OmegaAI has each once, and no mail goes
twice.
"""

from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
from flow_processes import Flow, flow, free_port, next_week_at

from chassis.store import migrations
from chassis.testing import eventually
from local_stack.fixtures import Stack, a_database
from notifier.bootstrap import MIGRATIONS as NOTIFIER_MIGRATIONS
from scheduler_sync.bootstrap import MIGRATIONS

pytestmark = [pytest.mark.stack, pytest.mark.timeout(420)]
SHOWN = {
    "SCHEDULED": "Pending", "CONFIRMED": "Scheduled", "ARRIVED": "Scheduled", "CANCELLED": "Cancelled",
    "NO SHOW": "Cancelled",
}  # fmt: skip
"""PowerServer's status by the label that Blume gives it, where nobody asks for another time."""
CONDITION_SECONDS = 90


def patient(number: int) -> dict:
    return {
        "id": f"MRN8800{number}", "family": "Roe", "given": f"Jane{number}", "birth_date": "1980-02-29", "sex": "F",
        "email": f"jane{number}.restore@example.org", "phone": "(416)555-0100",
        "address": {"line": "12 Elm St", "city": "Toronto", "state": "ON", "postal_code": "M5V1A1", "country": "CA"},
    }  # fmt: skip


class Store:
    """A service's database, with backups of it."""

    def __init__(self, admin_url: str, url: str) -> None:
        self._admin_url = admin_url
        self.url = url
        self._name = urlsplit(url).path.lstrip("/")
        self._backup = f"{self._name}_backup"

    async def back_up(self) -> None:
        await self._run(f'CREATE DATABASE "{self._backup}" TEMPLATE "{self._name}"')

    async def restore(self) -> None:
        await self._run(f'DROP DATABASE "{self._name}" WITH (FORCE)')
        await self._run(f'CREATE DATABASE "{self._name}" TEMPLATE "{self._backup}"')

    async def make_anew(self, folder: Path) -> None:
        await self._run(f'DROP DATABASE "{self._name}" WITH (FORCE)')
        await self._run(f'CREATE DATABASE "{self._name}"')
        await migrations.run(folder, self.url)

    async def rows(self, query: str, *values: object) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(self.url)
        try:
            return await connection.fetch(query, *values)
        finally:
            await connection.close()

    async def drop_backup(self) -> None:
        await self._run(f'DROP DATABASE IF EXISTS "{self._backup}" WITH (FORCE)')

    async def _run(self, statement: str) -> None:
        connection = await asyncpg.connect(self._admin_url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


class Hospital:
    """The flow with the notifier and a mail server; what each side shows of each appointment."""

    def __init__(self, running: Flow, sync: Store, notifier: Store) -> None:
        self.running, self.sync, self.notifier = running, sync, notifier
        self.placers: dict[str, str] = {}
        self.smtp, self.inbox, self.notifier_http = free_port(), free_port(), free_port()

    async def start(self, folder: Path, kafka: str, prefix: str) -> None:
        await migrations.run(NOTIFIER_MIGRATIONS, self.notifier.url)
        self.running.set(
            NOTIFIER_STORE__URL=self.notifier.url,
            NOTIFIER_KAFKA__BOOTSTRAP_SERVERS=kafka,
            NOTIFIER_KAFKA__TOPIC_PREFIX=prefix,
            NOTIFIER_HTTP__PORT=str(self.notifier_http),
            NOTIFIER_SMTP__PORT=str(self.smtp),
            MAILSINK_DATA_DIR=str(folder / "mailsink"),
            MAILSINK_HTTP_PORT=str(self.inbox),
            MAILSINK_SMTP_PORT=str(self.smtp),
        )
        await self.running.start("mailsink")
        await self.running.start("notifier")
        await self.ready(self.notifier_http)

    async def ready(self, port: int) -> None:
        await eventually(lambda: self.running.answers(port, "/readyz"), timeout_seconds=CONDITION_SECONDS)

    async def book(self, number: int, hour: int) -> str:
        """Each patient has one appointment; its placer number."""
        one = patient(number)
        placer = await self.running.book(one, start=next_week_at(hour))
        self.placers[placer] = one["email"]
        return placer

    async def act(self, placer: str, action: str) -> None:
        await self.running.powerserver_api(f"appointments/{placer}/status", {"action": action})

    async def press(self, placer: str, button: str, **form: str) -> None:
        email = self.placers[placer]
        await self.running.press(email, (await self.running.cards(email))[placer], button, **form)

    async def shows(self, placer: str) -> tuple[str, str | None]:
        """PowerServer's status and Blume's label."""
        card = (await self.running.cards(self.placers[placer])).get(placer)
        return await self.running.status_in_powerserver(placer), None if card is None else card["label"]

    async def until(self, **wanted: Sequence[str]) -> None:
        """Until both sides show each appointment (``placer=(status,)``) so."""

        async def so() -> bool:
            return all([await self.shows(placer) == (status, SHOWN[status]) for placer, (status,) in wanted.items()])

        try:
            await eventually(so, timeout_seconds=CONDITION_SECONDS)
        except AssertionError as error:
            raise AssertionError({placer: await self.shows(placer) for placer in wanted}) from error

    async def mails(self) -> Counter[tuple[str, str]]:
        """How many of each template about each appointment."""
        async with self.running.session.get(f"http://127.0.0.1:{self.inbox}/api/mails?limit=10000") as response:
            return Counter((one["appointment"], one["template"]) for one in (await response.json())["mails"])

    async def until_mails(self, number: int) -> Counter[tuple[str, str]]:
        async def there() -> Counter[tuple[str, str]] | None:
            mails = await self.mails()
            return mails if mails.total() >= number else None

        return await eventually(there, timeout_seconds=CONDITION_SECONDS, what=f"{number} mails")

    async def refusal(self, port: int) -> str:
        """What a start that refuses says, in its probe."""

        async def said() -> str | None:
            try:
                async with self.running.session.get(f"http://127.0.0.1:{port}/readyz") as response:
                    answer = (await response.json()).get("store-identity", "")
            except OSError:
                return None
            return answer if "recover" in answer else None

        return str(await eventually(said, timeout_seconds=CONDITION_SECONDS))

    async def appointments_in_omegaai(self) -> Counter[str]:
        created = await self.running.ledger(self.running.omegaai, "Appointment.created")
        return Counter(row["detail"]["placer_number"] for row in created)

    async def links(self) -> dict[str, tuple[str, str, int]]:
        """Id, state and revision by placer number."""
        rows = await self.sync.rows("SELECT id, placer_number, state, revision FROM appointment_links")
        return {row["placer_number"]: (str(row["id"]), row["state"], row["revision"]) for row in rows}


@pytest.fixture
def notifier_url(stack: Stack) -> Iterator[str]:
    with a_database(stack) as url:
        yield url


@pytest.fixture
async def hospital(
    tmp_path: Path, stack: Stack, migrated_url: str, notifier_url: str, topic_prefix: str
) -> AsyncIterator[Hospital]:
    stores = Store(stack.postgres_admin_url, migrated_url), Store(stack.postgres_admin_url, notifier_url)
    async with flow(tmp_path, migrated_url, stack.kafka_bootstrap, topic_prefix) as running:
        one = Hospital(running, *stores)
        await one.start(tmp_path, stack.kafka_bootstrap, topic_prefix)
        yield one
    for store in stores:
        await store.drop_backup()


async def test_a_restored_store_is_refused_recovered_and_both_ends_are_equal(hospital: Hospital):
    running = hospital.running
    first, second, third, fourth, fifth = [await hospital.book(number, 8 + number) for number in range(5)]
    await hospital.until(**dict.fromkeys((first, second, third, fourth, fifth), ("SCHEDULED",)))
    await hospital.until_mails(5)
    await running.stop("scheduler-sync")
    await hospital.sync.back_up()
    await running.start("scheduler-sync")
    await hospital.ready(running.http)

    # The hour that will be lost.
    await hospital.press(first, "confirm")
    await hospital.act(second, "cancelled-with-notice")
    await hospital.act(third, "confirmed")
    sixth, seventh, eighth = [await hospital.book(number, 8 + number) for number in (5, 6, 7)]
    hour = {first: "CONFIRMED", second: "CANCELLED", third: "CONFIRMED", fourth: "SCHEDULED", fifth: "SCHEDULED",
            sixth: "SCHEDULED", seventh: "SCHEDULED", eighth: "SCHEDULED"}  # fmt: skip
    await hospital.until(**{placer: (status,) for placer, status in hour.items()})
    await hospital.act(third, "arrived")
    await hospital.press(seventh, "cancel", reason="cannot come")
    hour |= {third: "ARRIVED", seventh: "CANCELLED"}
    await hospital.until(**{placer: (status,) for placer, status in hour.items()})

    async def is_arrived() -> bool:
        return (await hospital.links())[third][1] == "arrived"

    await eventually(is_arrived)
    mails_before = await hospital.until_mails(5 + 2 + 3)
    links_before = await hospital.links()
    await running.stop("scheduler-sync")
    await hospital.sync.restore()

    # The partners go on.
    await hospital.press(fourth, "confirm")
    ninth = await hospital.book(8, 17)
    await running.start("scheduler-sync")
    refusal = await hospital.refusal(running.http)
    assert "was set back" in refusal
    assert "python -m scheduler_sync recover" in refusal
    assert await running.answers(running.http, "/livez")
    assert '"level": "critical"' in running.log()
    assert "appointments/" not in refusal

    code, told = await running.command("recover", "--dry-run")
    assert code == 0, told
    assert set(await hospital.links()) == {first, second, third, fourth, fifth}, "a dry run writes nothing"
    code, told = await running.command("recover", "--actor", "rehearsal")
    assert code == 0, told
    assert "0 differences are left" in told
    assert "Have it send again what it sent between" in told
    code, _ = await running.command("recover")
    assert code in {0, 1}, "the service that waited may run by now, and a second recovery is refused then"

    await hospital.ready(running.http)
    hour |= {fourth: "CONFIRMED", ninth: "SCHEDULED"}
    await hospital.until(**{placer: (status,) for placer, status in hour.items()})
    assert await hospital.appointments_in_omegaai() == Counter(list(hour)), "each once"
    links = await hospital.links()
    kept = {placer: links[placer][:2] for placer in links_before if placer != fourth}
    assert kept == {placer: link[:2] for placer, link in links_before.items() if placer != fourth}

    # New events of what was recovered are news to the notifier, and nothing is told again.
    await hospital.press(sixth, "confirm")
    await hospital.until(**{sixth: ("CONFIRMED",)})
    mails = await hospital.until_mails(mails_before.total() + 3)
    new = {(links[fourth][0], "confirmed"), (links[sixth][0], "confirmed"), (links[ninth][0], "please-confirm")}
    assert set(mails - mails_before) == new
    assert set(mails.values()) == {1}, "no mail twice"
    (audited,) = await hospital.sync.rows(
        "SELECT * FROM operator_audit WHERE action = 'store.recover' AND actor = $1", "rehearsal"
    )
    assert audited["subject"]
    (identity,) = await hospital.sync.rows("SELECT epoch, recovery_began_at FROM store_identity")
    assert (identity["epoch"], identity["recovery_began_at"]) == (1, None)


async def test_a_store_that_is_gone_is_rebuilt_from_topics_and_omegaai(hospital: Hospital):
    running = hospital.running
    first, second, third = [await hospital.book(number, 8 + number) for number in range(3)]
    await hospital.until(**dict.fromkeys((first, second, third), ("SCHEDULED",)))
    await hospital.until_mails(3)  # what comes after would supersede a mail that has not gone yet
    await hospital.press(first, "confirm")
    await hospital.act(second, "cancelled-with-notice")
    shown = {first: ("CONFIRMED",), second: ("CANCELLED",), third: ("SCHEDULED",)}
    await hospital.until(**shown)
    mails = await hospital.until_mails(4)
    links = await hospital.links()
    await running.stop("scheduler-sync")
    await hospital.sync.make_anew(MIGRATIONS)
    await running.start("scheduler-sync")
    assert "is empty" in await hospital.refusal(running.http)
    code, told = await running.command("recover")
    assert code == 0, told
    await hospital.ready(running.http)
    await hospital.until(**shown)
    assert await hospital.links() == links
    await hospital.press(third, "confirm")
    await hospital.until(**{third: ("CONFIRMED",)})
    after = await hospital.until_mails(5)
    assert set(after - mails) == {(links[third][0], "confirmed")}
    assert set(after.values()) == {1}
    assert await hospital.appointments_in_omegaai() == Counter(list(shown))
    assert len(await running.ledger(running.omegaai, "Patient.created")) == 3


async def projections(notifier: Store) -> list[tuple]:
    recipients = await notifier.rows(
        "SELECT patient_id, revision, given_name, email, language FROM recipients ORDER BY 1"
    )
    columns = "appointment_id, patient_id, revision, event, status, who_acts_next, start_at, end_at, facility_name"
    appointments = await notifier.rows(f"SELECT {columns} FROM appointments ORDER BY 1")
    return [tuple(row) for row in (*recipients, *appointments)]


@pytest.mark.parametrize("what_is_left", ["an older store", "nothing"])
async def test_the_notifiers_store_is_rebuilt_and_nobody_is_told_again(hospital: Hospital, what_is_left: str):
    running = hospital.running
    first, second = [await hospital.book(number, 8 + number) for number in range(2)]
    await hospital.until_mails(2)
    await running.stop("notifier")
    await hospital.notifier.back_up()
    await running.start("notifier")
    await hospital.ready(hospital.notifier_http)
    await hospital.press(first, "confirm")
    third = await hospital.book(2, 12)
    before = await hospital.until_mails(4)

    async def handled() -> bool:
        """All mails are noted, and all revisions known: PowerServer's order follows its SIU message."""
        rows = await hospital.notifier.rows("SELECT count(*) FROM notifications WHERE state = 'sent'")
        known = await hospital.notifier.rows("SELECT appointment_id, revision FROM appointments")
        newest = {(key, revision) for key, _, revision in (await hospital.links()).values()}
        return rows[0][0] == 4 and {(str(row[0]), row[1]) for row in known} == newest

    await eventually(handled)
    state = await projections(hospital.notifier)
    await running.stop("notifier")
    if what_is_left == "nothing":
        await hospital.notifier.make_anew(NOTIFIER_MIGRATIONS)
    else:
        await hospital.notifier.restore()

    await hospital.press(second, "confirm")  # nobody has handled this one yet
    await hospital.until(**{second: ("CONFIRMED",)})
    await running.start("notifier")
    refusal = await hospital.refusal(hospital.notifier_http)
    assert "python -m notifier recover" in refusal
    assert await hospital.mails() == before, "a notifier that was refused sends nothing"
    code, told = await running.command("recover", "--actor", "rehearsal", service="notifier")
    assert code == 0, told
    await hospital.ready(hospital.notifier_http)
    after = await hospital.until_mails(5)
    links = await hospital.links()
    assert set(after - before) == {(links[second][0], "confirmed")}
    assert set(after.values()) == {1}
    rebuilt = await projections(hospital.notifier)
    changed = {str(row[0]) for row in set(rebuilt) - set(state)}
    assert changed == {links[second][0]}, "all but what happened since is as it was"
    rows = await hospital.notifier.rows("SELECT reason FROM notifications WHERE reason LIKE 'rebuilt by a recovery%'")
    assert len(rows) >= 2
    await hospital.press(third, "confirm")
    assert set((await hospital.until_mails(6)).values()) == {1}
