"""Evidence read after the suite has settled: the ledgers at both outer ends, the stores between, and the topics."""

import asyncio
import json
import sqlite3
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

import aiohttp
import asyncpg
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

import contracts
from demo_story.clients import Addresses, People
from roster import Member, roster
from tests.chaos import chimes
from tests.chaos.stack import ChaosStack

Row = Mapping[str, Any]
FHIR_PAGE: Final = "200"

_SYNC: Final = {
    "links": "SELECT * FROM appointment_links",
    "history": "SELECT * FROM link_history ORDER BY id",
    "conflicts": "SELECT * FROM conflicts ORDER BY id",
    "parked_tasks": "SELECT task_id, focus, expression, reason FROM parked_tasks WHERE replayed_at IS NULL",
    "journal": """SELECT id, sender, control_id, type, state, reason, repeats, received_at FROM hl7_journal
                  ORDER BY received_at""",
}
_NOTIFIER: Final = {
    "notifications": "SELECT * FROM notifications ORDER BY created_at",
    "appointments": "SELECT appointment_id, revision, event FROM appointments",
}
_CHIMES: Final = {
    "heard": "SELECT key, revision, word FROM heard",
    "chimed": "SELECT key, revision, due_at, newest, at FROM chimed ORDER BY at",
    "timers": "SELECT key, revision, state FROM timers WHERE state <> 'fired' AND state <> 'cancelled'",
    "dead_letters": "SELECT id FROM dead_letters WHERE state = 'open'",
}
_CHIMES_LEFT: Final = """
SELECT (SELECT count(*) FROM timers WHERE state = 'waiting') AS timers, (SELECT count(*) FROM parked_keys) AS parked
"""
_CHASSIS: Final = {
    "outbox": "SELECT id, topic, aggregate_id, revision, message_id, created_at, sent_at FROM outbox ORDER BY id",
    "inbox": "SELECT consumer, message_id, received_at FROM inbox",
    "deliveries": """SELECT id, sequence, destination, key, kind, idempotency_key, state, attempts, last_error, receipt,
                            lease_until, created_at, done_at FROM deliveries ORDER BY sequence""",
    "dead_letters": "SELECT id, consumer, kind, reason, topic, message_id FROM dead_letters WHERE state = 'open'",
    "parked_keys": "SELECT consumer, key, reason FROM parked_keys",
    "parked_messages": "SELECT consumer, key, message_id FROM parked_messages",
}


@dataclass
class Evidence:
    """The evidence of all checks, by its source."""

    powerserver: list[Row] = field(default_factory=list)
    omegaai: list[Row] = field(default_factory=list)
    mailsink: list[Row] = field(default_factory=list)
    fhir: dict[str, Row] = field(default_factory=dict)
    """The present Appointments by placer number."""
    tasks: list[Row] = field(default_factory=list)
    unsent_hl7: int = 0
    sync: dict[str, list[Row]] = field(default_factory=dict)
    notifier: dict[str, list[Row]] = field(default_factory=dict)
    chimes: dict[str, list[Row]] = field(default_factory=dict)
    """From the harness' own service: ``heard``, ``chimed``, ``timers``, ``dead_letters``."""
    others: dict[str, dict[str, list[Row]]] = field(default_factory=dict)
    """The chassis' tables of every other service, by its name."""
    topics: dict[UUID, list[tuple[str, int, UUID]]] = field(default_factory=dict)
    """The topics' records by key: topic, revision, message id, in the order of each topic."""


class Reader:
    """Reads one stack."""

    def __init__(self, stack: ChaosStack, http: aiohttp.ClientSession) -> None:
        self._stack = stack
        self._addresses = stack.addresses()
        self._http = http
        self._people = People(Addresses(**self._addresses), http)

    async def is_settled(self) -> list[str]:
        """The unfinished work, in words; empty when everything has settled."""
        found = [f"{name} does not answer" for name in await self._stack.unhealthy()]
        if found:
            return found
        if waiting := await asyncio.to_thread(self._unsent_hl7):
            found.append(f"{waiting} messages wait in PowerServer")
        if waiting := await self._open_tasks():
            found.append(f"{waiting} Tasks are ready in OmegaAI")
        counts = """
            SELECT (SELECT count(*) FROM outbox WHERE sent_at IS NULL) AS unsent,
                   (SELECT count(*) FROM deliveries WHERE state = 'pending') AS pending,
                   (SELECT count(*) FROM parked_keys) AS parked
        """
        for service in roster().services:
            (row,) = await self._query(service.database, {"counts": counts}, "counts")
            found += [f"{number} {name} in {service.name}" for name, number in dict(row).items() if number]
            if unheard := await self._unheard(service):
                found.append(f"{unheard} events not heard by {service.name}")
        for row in await self._chimes(_CHIMES_LEFT):
            found += [f"{number} {name} in chimes" for name, number in row.items() if number]
        if unheard := await self._unheard_by_chimes():
            found.append(f"{unheard} events not heard by chimes")
        return found

    async def _unheard_by_chimes(self) -> int:
        names = ", ".join(f"'{name}'" for name in chimes.TOPICS)
        sent = await self._query(
            "scheduler_sync", {"sent": f"SELECT count(*) AS n FROM outbox WHERE topic IN ({names})"}, "sent"
        )
        heard = await self._chimes(f"SELECT count(*) AS n FROM inbox WHERE consumer = '{chimes.NAME}'")
        return max(0, sent[0]["n"] - heard[0]["n"])

    async def _unheard(self, service: Member) -> int:
        """Events in the producers' outboxes that the service's consumer has not claimed yet."""
        published = 0
        for producer in roster().services:
            if topics := [topic.name for topic in producer.produces if topic.name in service.hears]:
                names = ", ".join(f"'{name}'" for name in topics)
                sent = f"SELECT count(*) AS n FROM outbox WHERE topic IN ({names})"
                (row,) = await self._query(producer.database, {"sent": sent}, "sent")
                published += row["n"]
        heard = f"SELECT count(*) AS n FROM inbox WHERE consumer = '{service.name}'"
        (row,) = await self._query(service.database, {"heard": heard}, "heard")
        return max(0, published - row["n"]) if service.hears else 0

    async def settle(self, seconds: float, say: Callable[[str], None]) -> tuple[float, list[str]]:
        """Waits until everything has settled. Returns the time taken and the unfinished work."""
        started = time.monotonic()
        calm, left = 0, ["nothing looked at yet"]
        while time.monotonic() - started < seconds:
            try:
                left = await self.is_settled()
            except (aiohttp.ClientError, OSError, TimeoutError, asyncpg.PostgresError, sqlite3.Error) as error:
                left = [f"the settling could not be seen: {type(error).__name__}"]
            calm = 0 if left else calm + 1
            say("settling: " + ("; ".join(left) or "nothing moves any more"))
            if calm >= 3:
                return time.monotonic() - started, []
            await asyncio.sleep(0.4)
        return time.monotonic() - started, left

    async def gather(self) -> Evidence:
        """Reads everything."""
        return Evidence(
            powerserver=await self._people.whole_ledger(self._addresses["powerserver"]),
            omegaai=await self._people.whole_ledger(self._addresses["omegaai"]),
            mailsink=await self._people.whole_ledger(self._addresses["mailsink"]),
            fhir={_placer(one): one async for one in self._search("Appointment", {})},
            tasks=[one async for one in self._search("Task", {"reasoncode": "mirthoutbound"})],
            unsent_hl7=await asyncio.to_thread(self._unsent_hl7),
            sync={name: await self._query("scheduler_sync", {**_SYNC, **_CHASSIS}, name) for name in _SYNC | _CHASSIS},
            notifier={
                name: await self._query("notifier", {**_NOTIFIER, **_CHASSIS}, name) for name in _NOTIFIER | _CHASSIS
            },
            others={
                service.name: {name: await self._query(service.database, _CHASSIS, name) for name in _CHASSIS}
                for service in roster().services
                if service.name not in {"scheduler-sync", "notifier"}
            },
            chimes={name: await self._chimes(statement) for name, statement in _CHIMES.items()},
            topics=await self._topics(),
        )

    def _unsent_hl7(self) -> int:
        """PowerServer's own queue, read from its store: its API does not give the queue's length."""
        path = self._stack.settings.data / "powerserver" / "powerserver.sqlite3"
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)
        try:
            query = "SELECT count(*) FROM outbound WHERE state IN ('queued', 'retrying')"
            return int(connection.execute(query).fetchone()[0])
        finally:
            connection.close()

    async def _query(self, database: str, statements: Mapping[str, str], name: str) -> list[Row]:
        return await self._ask(self._stack.settings.database_url(database), statements[name])

    async def _chimes(self, statement: str) -> list[Row]:
        return await self._ask(self._stack.chimes_url(self._stack.settings), statement)

    async def _ask(self, url: str, statement: str) -> list[Row]:
        connection = await asyncpg.connect(url, timeout=5)
        try:
            return [dict(row) for row in await connection.fetch(statement)]
        finally:
            await connection.close()

    async def _token(self) -> str:
        form = {"grant_type": "client_credentials", "client_id": "suite", "client_secret": "development-secret"}
        async with self._http.post(f"{self._addresses['omegaai']}/auth/oauth2/v2.0/token", data=form) as response:
            response.raise_for_status()
            return str((await response.json())["access_token"])

    async def _open_tasks(self) -> int:
        query = {"reasoncode": "mirthoutbound", "status": "ready", "_count": "1"}
        headers = {"Authorization": f"Bearer {await self._token()}"}
        url = f"{self._addresses['omegaai']}/fhir/Task"
        async with self._http.get(url, params=query, headers=headers) as response:
            response.raise_for_status()
            return int(json.loads(await response.read())["total"])

    async def _search(self, kind: str, query: dict[str, str]) -> Any:
        headers = {"Authorization": f"Bearer {await self._token()}"}
        page = 1
        while True:
            asked = {**query, "_count": FHIR_PAGE, "page": str(page)}
            url = f"{self._addresses['omegaai']}/fhir/{kind}"
            async with self._http.get(url, params=asked, headers=headers) as response:
                response.raise_for_status()
                bundle = json.loads(await response.read())
            for entry in bundle.get("entry", []):
                yield entry["resource"]
            if not any(link["relation"] == "next" for link in bundle.get("link", [])):
                return
            page += 1

    async def _topics(self) -> dict[UUID, list[tuple[str, int, UUID]]]:
        """Every record of scheduler-sync's topics, from the beginning to their present end."""
        bootstrap = f"127.0.0.1:{self._stack.wires['kafka'].port}"
        consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest", enable_auto_commit=False)
        await consumer.start()
        found: dict[UUID, list[tuple[str, int, UUID]]] = {}
        try:
            places = await self._places(bootstrap)
            consumer.assign(places)
            await consumer.seek_to_beginning(*places)
            ends = await consumer.end_offsets(places)
            while any([await consumer.position(place) < ends[place] for place in places]):
                for place, records in (await consumer.getmany(timeout_ms=1000, max_records=2000)).items():
                    for record in records:
                        message = contracts.parse(record.value)
                        line = found.setdefault(message.aggregate_id, [])
                        line.append((place.topic, message.revision, message.message_id))
        finally:
            await consumer.stop()
        return found

    async def _places(self, bootstrap: str) -> list[TopicPartition]:
        """Every partition of the suite's topics."""
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
        await admin.start()
        try:
            names = [name for name in await admin.list_topics() if not name.startswith("__")]
            found = await admin.describe_topics(names)
        finally:
            await admin.close()
        return [TopicPartition(topic["topic"], part["partition"]) for topic in found for part in topic["partitions"]]


def _placer(appointment: Row) -> str:
    for one in appointment.get("identifier", []):
        if one.get("system") == "urn:powerserver:placer":
            return str(one["value"])
    return f"without a placer number: {appointment['id']}"
