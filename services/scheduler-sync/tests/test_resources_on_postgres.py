"""Both sides' resources in the store: imported, compared, announced, joined by a person, mended in OmegaAI."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from uuid import UUID

import aiohttp
import asyncpg
import pytest
from aiohttp import web
from fake_omegaai import FakeOmegaAI, client_of, service
from sync_harness import Harness

from chassis.clock import utc_now
from chassis.errors import NeedsSetup, Permanent, Transient
from chassis.testing import eventually
from omegaai.client import FhirClient
from scheduler_sync.adapters.omegaai.sender import OmegaAISender
from scheduler_sync.resources import ResourceDirectory, ResourceImport, StoredResources
from scheduler_sync.resources.csv_files import read
from scheduler_sync.resources.decisions import Decisions, Imported, NotDecidedError
from scheduler_sync.resources.views import PairRow, ResourceViews
from scheduler_sync.settlement import Settlement
from scheduler_sync.store.queries import StoredIds

pytestmark = pytest.mark.stack
HEADER = "Facility,Resource,Modality,Start Time,End Time,Default duration,Overbooking"
ACTOR = "kim"


@dataclass
class Both:
    """The store, an OmegaAI, and the parts that work on resources."""

    harness: Harness
    omegaai: FakeOmegaAI
    client: FhirClient
    directory: ResourceDirectory
    importing: ResourceImport
    decisions: Decisions
    views: ResourceViews

    async def csv(self, *rows: str, header: str = HEADER, is_complete: bool = False) -> Imported:
        content = "\n".join((header, *rows)).encode()
        facilities = self.harness.site.file.facilities
        found = read(content, facilities=facilities, default_facility=None, at=await self.harness.store.now())
        assert found.problems == []
        return await self.decisions.take(found, actor=ACTOR, is_complete=is_complete)

    async def look(self) -> None:
        await self.importing.import_once()

    async def pairs(self) -> dict[tuple[str, str], PairRow]:
        return {(one.state, one.name): one for one in await self.views.pairs()}

    async def states(self, facility: str = "FAC01") -> dict[str, str]:
        return {one.name: one.state for one in await self.views.pairs(facility=facility)}

    async def pair(self, name: str, facility: str = "FAC01") -> PairRow:
        (found,) = await self.views.pairs(name=name, facility=facility)
        return found

    async def send(self) -> list[str]:
        """Sends the waiting fixes as the delivery worker does, and settles them."""
        sender = OmegaAISender(self.client, StoredIds(self.harness.store.pool))
        outcomes = []
        for delivery in await self.harness.deliveries():
            receipt = await sender.send(delivery)
            await self.harness.settle(delivery, receipt)
            outcomes.append(receipt.detail["written"])
        return outcomes

    async def events(self) -> list[tuple[str, int, dict[str, tuple[str, str]]]]:
        rows = await self.harness.rows("SELECT topic, value FROM outbox ORDER BY id")
        found = []
        for row in rows:
            message = json.loads(row["value"])
            drift = {one["field"]: (one["powerserver"], one["omegaai"]) for one in message["data"]["drift"]}
            found.append((row["topic"], message["revision"], drift))
        return found

    def service(self, service_id: str = "hs-1") -> dict:
        return self.omegaai.resources["HealthcareService", service_id]

    def extension(self, name: str, service_id: str = "hs-1") -> object:
        (found,) = [one for one in self.service(service_id)["extension"] if one["url"].endswith(f"/{name}")]
        return next(value for key, value in found.items() if key.startswith("value"))


@pytest.fixture
async def both(harness: Harness) -> AsyncIterator[Both]:
    async with FakeOmegaAI().serving() as omegaai, aiohttp.ClientSession() as session:
        client = client_of(omegaai.base_url, session)
        directory = ResourceDirectory(lambda: harness.site.file)
        store = StoredResources(harness.store, harness.site)
        importing = ResourceImport(client, harness.site, store, directory, interval_seconds=3600)
        decisions = Decisions(harness.store, harness.site.file)
        yield Both(harness, omegaai, client, directory, importing, decisions, ResourceViews(harness.store))


async def test_the_vendors_pictures_are_found_and_named_by_field(both: Both):
    both.omegaai.put_directly(service("hs-1", "BLUME CT", "2", "CT", 60))
    both.omegaai.put_directly(service("hs-4", "Blume XR", "2", "DX", 15))
    both.omegaai.put_directly(service("hs-5", "BLUME US ", "2", "US"))
    await both.look()
    taken = await both.csv(
        "FAC01,BLUME CT,CT,08:00,23:00,30,yes", "FAC01,BLUME MR,MR,08:00,22:59,45,no",
        "FAC01,BLUME XR,DX,08:00,23:00,15,no", "FAC01,BLUME US,US,08:00,23:00,30,no",
        "FAC02,LAKE CT,CT,08:00,23:00,30,no",
    )  # fmt: skip
    assert taken.changed == 5
    assert await both.states() == {
        "BLUME CT": "drifted", "BLUME MR": "drifted", "BLUME XR": "only-ps", "Blume XR": "only-oai",
        "BLUME US": "only-ps", "BLUME US ": "only-oai",
    }  # fmt: skip
    assert await both.states("FAC02") == {"LAKE CT": "linked"}
    drift = {one.field: (one.powerserver, one.omegaai) for one in (await both.pair("BLUME CT")).drift}
    assert drift == {"duration": ("30 min", "60 min"), "overbooking": ("on", "off")}
    drift = {one.field: (one.powerserver, one.omegaai) for one in (await both.pair("BLUME MR")).drift}
    assert drift == {"hours": ("08:00–22:59", "mon 08:00–23:00")}
    near = {one.name: [(near.name, near.by) for near in one.near] for one in await both.views.pairs()}
    assert near["BLUME XR"] == [("Blume XR", "case")]
    assert near["BLUME US"] == [("BLUME US ", "blanks")]


async def test_linked_and_drifted_are_announced_once_by_revision(both: Both):
    await both.look()
    await both.csv("FAC01,BLUME CT,CT,08:00,23:00,30,no")
    await both.csv("FAC01,BLUME CT,CT,08:00,23:00,30,no")
    await both.look()
    assert await both.events() == [("resource.linked", 1, {})]
    await both.csv("FAC01,BLUME CT,CT,08:00,23:00,45,no")
    await both.look()
    await both.csv("FAC01,BLUME CT,CT,08:00,23:00,30,no")
    assert await both.events() == [
        ("resource.linked", 1, {}),
        ("resource.drifted", 2, {"duration": ("45 min", "30 min")}),
        ("resource.drifted", 3, {}),
    ]


async def test_a_resource_that_leaves_powerserver_is_announced_without_service(both: Both):
    await both.look()
    await both.csv("FAC01,BLUME CT,CT,08:00,23:00,30,no")
    del both.omegaai.resources["HealthcareService", "hs-1"]
    await both.look()
    assert await both.states() == {"BLUME CT": "only-ps", "BLUME MR": "only-oai"}
    last = json.loads((await both.harness.rows("SELECT value FROM outbox ORDER BY id DESC LIMIT 1"))[0]["value"])
    assert (last["type"], last["revision"], last["data"]["healthcare_service_id"]) == ("resource.drifted", 2, None)
    both.omegaai.put_directly(service("hs-1", "BLUME CT", "2", "CT"))
    await both.look()
    assert (await both.states())["BLUME CT"] == "linked"
    assert (await both.events())[-1] == ("resource.linked", 3, {})


async def test_a_store_that_is_made_anew_goes_on_with_the_same_aggregate(both: Both):
    await both.look()
    first = {row["id"] for row in await both.harness.rows("SELECT id FROM resources")}
    await both.harness.store.pool.execute("TRUNCATE resources, resource_pairs CASCADE")
    await both.look()
    assert {row["id"] for row in await both.harness.rows("SELECT id FROM resources")} == first


async def test_an_export_leaves_what_it_does_not_name_unless_it_is_complete(both: Both):
    await both.look()
    await both.csv("FAC01,BLUME CT,CT,08:00,23:00,30,no", "FAC01,BLUME MR,MR,08:00,23:00,45,no")
    taken = await both.csv("FAC01,BLUME CT,CT,08:00,23:00,30,no")
    assert (taken.missing, taken.switched_off) == (("FAC01 BLUME MR",), 0)
    assert await both.states() == {"BLUME CT": "linked", "BLUME MR": "linked"}
    taken = await both.csv("FAC01,BLUME CT,CT,08:00,23:00,30,no", is_complete=True)
    assert taken.switched_off == 1
    drift = [(one.field, one.powerserver) for one in (await both.pair("BLUME MR")).drift]
    assert drift == [("active", "off")]


async def test_columns_that_an_export_lacks_keep_their_values(both: Both):
    await both.look()
    await both.csv("FAC01,BLUME CT,CT,08:00,23:00,45,no")
    await both.csv("FAC01,BLUME CT", header="Facility,Resource")
    assert [one.field for one in (await both.pair("BLUME CT")).drift] == ["duration"]


# Aliases.


async def test_an_alias_joins_messages_and_pairs_and_says_who_decided(both: Both):
    both.omegaai.put_directly(service("hs-1", "Blume CT", "2", "CT"))
    await both.look()
    await both.csv("FAC01,BLUME CT,CT,08:00,23:00,30,no")
    with pytest.raises(NeedsSetup, match=r"nearly the same is 'Blume CT' \(case\)"):
        both.directory.named("FAC01", "BLUME CT")
    await both.decisions.alias("FAC01", "BLUME CT", "Blume CT", actor=ACTOR)
    await both.look()
    assert both.directory.named("FAC01", "BLUME CT").healthcare_service_id == "hs-1"
    assert await both.states() == {"Blume CT": "linked", "BLUME MR": "only-oai"}
    told = await both.views.history(facility="FAC01", name="BLUME CT", limit=10)
    assert [(one.what, one.actor) for one in told][:1] == [("alias.added", ACTOR)]
    audited = await both.harness.row("SELECT * FROM operator_audit WHERE action = 'resource.alias.added'")
    assert audited["actor"] == ACTOR
    await both.decisions.alias("FAC01", "BLUME CT", None, actor=ACTOR)
    await both.look()
    with pytest.raises(NeedsSetup):
        both.directory.named("FAC01", "BLUME CT")
    assert (await both.states())["BLUME CT"] == "only-ps"


@pytest.mark.parametrize(
    ("facility", "name", "service_name", "why"),
    [
        ("FAC77", "X", "BLUME CT", "not in the site file"),
        ("FAC01", " ", "BLUME CT", "printable"),
        ("FAC01", "X", "NO SUCH", "no service of this name"),
        ("FAC01", "X", "LAKE CT", "no service of this name"),
        ("FAC01", "BLUME MR", "BLUME CT", "exactly this name"),
        ("FAC01", "X", None, "no such alias"),
    ],
)
async def test_an_alias_that_makes_no_sense_is_refused(
    both: Both, facility: str, name: str, service_name: str | None, why: str
):
    await both.look()
    with pytest.raises(NotDecidedError, match=why):
        await both.decisions.alias(facility, name, service_name, actor=ACTOR)
    assert await both.harness.rows("SELECT 1 FROM operator_audit") == []


# Fixes.


async def drifted(both: Both) -> UUID:
    both.omegaai.put_directly(service("hs-1", "BLUME CT", "2", "CT", 60))
    await both.look()
    await both.csv("FAC01,BLUME CT,MR,08:00,22:59,30,yes")
    pair = await both.pair("BLUME CT")
    assert [one.field for one in pair.drift] == ["modality", "hours", "duration", "overbooking"]
    return pair.id


async def test_a_fix_writes_every_field_and_the_drift_is_gone_when_omegaai_shows_it(both: Both):
    pair_id = await drifted(both)
    fix = await both.decisions.fix(pair_id, actor=ACTOR)
    assert fix.fields == ("modality", "hours", "duration", "overbooking")
    assert await both.send() == ["true"]
    assert both.extension("modality") == "MR"
    assert both.extension("Duration") == 30
    assert both.extension("overBooking") is True
    assert both.service()["availableTime"] == [
        {"daysOfWeek": ["mon"], "availableStartTime": "08:00:00", "availableEndTime": "22:59:00"}
    ]
    assert both.service()["providedBy"] == {"reference": "Organization/2"}
    assert (await both.pair("BLUME CT")).state == "drifted", "an answer is no look"
    await both.look()
    assert (await both.pair("BLUME CT")).state == "linked"
    told = [(one.what, one.actor) for one in await both.views.history(facility="FAC01", name="BLUME CT", limit=20)]
    assert told[:5] == [
        ("linked", "scheduler-sync"), ("omegaai.changed", "OmegaAI"), ("fix.written", "OmegaAI"),
        ("fix.decided", ACTOR), ("drifted", "scheduler-sync"),
    ]  # fmt: skip


async def test_a_fix_of_one_field_leaves_the_others(both: Both):
    pair_id = await drifted(both)
    await both.decisions.fix(pair_id, ["duration"], actor=ACTOR)
    await both.send()
    await both.look()
    assert [one.field for one in (await both.pair("BLUME CT")).drift] == ["modality", "hours", "overbooking"]


async def test_a_fix_that_is_sent_twice_writes_once(both: Both):
    """The process dies between the answer and the mark: the delivery comes again and finds its own work done."""
    pair_id = await drifted(both)
    await both.decisions.fix(pair_id, actor=ACTOR)
    sender = OmegaAISender(both.client, StoredIds(both.harness.store.pool))
    (delivery,) = await both.harness.deliveries()
    await sender.send(delivery)
    version = both.service()["meta"]["versionId"]
    again = await sender.send(replace(delivery, attempt=2))
    assert again.detail["written"] == "false"
    assert both.service()["meta"]["versionId"] == version


async def test_a_fix_never_overwrites_what_somebody_has_set_meanwhile(both: Both):
    pair_id = await drifted(both)
    await both.decisions.fix(pair_id, ["duration"], actor=ACTOR)
    both.omegaai.put_directly(service("hs-1", "BLUME CT", "2", "CT", 90))
    with pytest.raises(Permanent, match="duration was changed in OmegaAI since the decision"):
        await both.send()
    assert both.extension("Duration") == 90


async def test_a_change_between_reading_and_writing_is_read_again(both: Both):
    pair_id = await drifted(both)
    await both.decisions.fix(pair_id, ["duration"], actor=ACTOR)

    def meanwhile(request: web.Request) -> web.Response:
        both.omegaai.put_directly({**both.service(), "comment": "set meanwhile"})
        return web.Response(status=412)

    both.omegaai.answer_once(lambda request: request.method == "PUT", meanwhile)
    assert await both.send() == ["true"]
    assert both.service()["comment"] == "set meanwhile"
    assert both.extension("Duration") == 30


async def test_a_fix_of_a_service_that_is_gone_or_of_a_worker_that_was_replaced_is_not_written(both: Both):
    pair_id = await drifted(both)
    await both.decisions.fix(pair_id, actor=ACTOR)
    sender = OmegaAISender(both.client, StoredIds(both.harness.store.pool))
    (delivery,) = await both.harness.deliveries()

    async def replaced() -> bool:
        return False

    with pytest.raises(Transient, match="another worker"):
        await sender.send(replace(delivery, still_ours=replaced))
    assert both.extension("Duration") == 60
    del both.omegaai.resources["HealthcareService", "hs-1"]
    with pytest.raises(Permanent, match="no such service any more"):
        await sender.send(delivery)


async def test_two_decisions_about_one_resource_are_one_fix(both: Both):
    pair_id = await drifted(both)
    await both.decisions.fix(pair_id, actor=ACTOR)
    with pytest.raises(NotDecidedError, match="under way"):
        await both.decisions.fix(pair_id, actor="lee")
    assert len(await both.harness.deliveries()) == 1


async def test_what_has_no_drift_or_cannot_be_written_is_refused(both: Both):
    pair_id = await drifted(both)
    with pytest.raises(NotDecidedError, match="active does not differ"):
        await both.decisions.fix(pair_id, ["active"], actor=ACTOR)
    with pytest.raises(NotDecidedError, match="no drift"):
        await both.decisions.fix((await both.pair("BLUME MR")).id, actor=ACTOR)
    both.omegaai.put_directly({**service("hs-2", "BLUME MR", "2", "MR", 45), "availableTime": []})
    await both.csv("FAC01,BLUME MR,MR,08:00,23:00,45,no")
    await both.look()
    with pytest.raises(NotDecidedError, match="by hand"):
        await both.decisions.fix((await both.pair("BLUME MR")).id, actor=ACTOR)
    assert await both.harness.deliveries() == []


async def test_a_death_between_decision_and_commit_leaves_nothing(both: Both, monkeypatch: pytest.MonkeyPatch):
    pair_id = await drifted(both)

    async def dies(*_: object) -> None:
        raise asyncpg.ConnectionDoesNotExistError("the process died")

    with monkeypatch.context() as dying:
        dying.setattr("chassis.store.transaction.Transaction.flush", dies)
        with pytest.raises(Transient):
            await both.decisions.fix(pair_id, actor=ACTOR)
    assert await both.harness.deliveries() == []
    assert await both.harness.rows("SELECT 1 FROM operator_audit WHERE action = 'resource.fix'") == []
    await both.decisions.fix(pair_id, actor=ACTOR)


async def test_a_settled_fix_wakes_the_import(both: Both):
    woken = []
    both.harness.settlement = Settlement(both.harness.open_work, utc_now, resource_fixed=lambda: woken.append(1))
    await both.decisions.fix(await drifted(both), actor=ACTOR)
    await both.send()
    assert woken == [1]


async def test_two_thousand_resources_are_compared_in_a_moment(both: Both):
    for number in range(2000):
        both.omegaai.put_directly(service(f"n{number}", f"CT {number}", "2", "CT"))
    await both.look()
    rows = [f"FAC01,CT {number},CT,08:00,23:00,30,no" for number in range(2000)]
    began = datetime.now(UTC)
    await both.csv(*rows)
    assert (datetime.now(UTC) - began).total_seconds() < 20
    assert (await both.views.counts())["linked"] == 2000


async def test_a_fix_that_was_taken_is_looked_for_at_once(both: Both):
    """The next import of its own is an hour away."""
    running = asyncio.create_task(both.importing.run())

    async def minutes() -> list[int | None]:
        rows = await both.harness.rows("SELECT duration_minutes FROM resources WHERE name = 'BLUME CT'")
        return [row["duration_minutes"] for row in rows]

    async def is_waiting() -> bool:
        return bool(await minutes()) and both.importing.patience_seconds > 0

    async def is_seen() -> bool:
        return await minutes() == [75]

    await eventually(is_waiting)
    found = next(one for one in both.omegaai.all("HealthcareService") if one["name"] == "BLUME CT")
    both.omegaai.put_directly(service(found["id"], "BLUME CT", "2", "CT", 75))
    both.importing.wake()
    await eventually(is_seen)
    await both.importing.stop()
    await running
