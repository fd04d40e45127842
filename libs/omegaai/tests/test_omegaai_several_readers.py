"""Several services read one Task queue: each takes all that it claims, and leaves the rest as it is."""

import asyncio
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from queue_readers import CLAIMS, OmegaAI, Service, opened_store, simulator

from chassis import failpoints
from chassis.store import Store
from chassis.testing import DEATHS_AT_EACH_POINT, Deaths, eventually
from omegaai import meters
from omegaai.tasks import StoredCursor, TaskReader, listing, unclaimed_tasks

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]
MANY = 10_000
LONG_AGO = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
OTHER = {"patients": "ImagingStudy", "studies": "Patient"}


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    async with opened_store(database_url) as opened:
        yield opened


@pytest.fixture
async def omegaai(tmp_path: Path) -> AsyncIterator[OmegaAI]:
    async with simulator(tmp_path) as running:
        yield running


@asynccontextmanager
async def running(*readers: TaskReader[str]) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(reader.run()) for reader in readers]
    try:
        yield
    finally:
        for reader in readers:
            await reader.stop()
        await asyncio.wait_for(asyncio.gather(*tasks), 60)


async def make_own(service: Service, number: int, first: int = 0) -> None:
    """``number`` Tasks that the service claims."""
    if service.name == "studies":
        await service.omegaai.make_tasks("ImagingStudy", number)
    else:
        for one in range(first, first + number):
            await service.omegaai.new_patient(f"{one}")


async def seconds_of(reader: TaskReader[str]) -> float:
    """How long the reader takes to the end of the queue."""
    began = time.monotonic()
    while await reader.read_once():
        pass
    return time.monotonic() - began


async def until_taken(service: Service, number: int) -> None:
    async def is_taken() -> bool:
        return len(await service.taken()) >= number

    await eventually(is_taken, what=f"{number} Tasks of {service.name}", timeout_seconds=120)


@pytest.mark.parametrize("name", ["patients", "studies"])
@pytest.mark.parametrize("in_front", [0, MANY])
async def test_a_reader_takes_all_of_its_own_behind_those_of_another_service(
    store: Store, omegaai: OmegaAI, name: str, in_front: int
) -> None:
    """After its first pass a reader asks no more for what it does than without the others in front."""
    service = Service(name, store, omegaai)
    foreign = await omegaai.make_tasks(OTHER[name], in_front, updated=LONG_AGO) if in_front else []
    await make_own(service, 3)
    reader = service.reader(poll_seconds=60)  # so soon after the start it looks through the whole queue
    cold = await seconds_of(reader)
    first, omegaai.searches[:] = len(omegaai.searches), []
    await make_own(service, 1, first=3)
    warm = await seconds_of(reader)
    print(f"{name}, {in_front} in front: first {cold:.2f} s, {first} searches; then {warm:.2f} s")
    assert first <= 3 + in_front / 200
    assert len(omegaai.searches) == 1
    assert len(await service.taken()) == 4
    left = [task for task in await omegaai.open_tasks() if task["focus"]["reference"].startswith(OTHER[name])]
    assert {task["id"] for task in left} == set(foreign)
    assert {task["meta"]["versionId"] for task in left} <= {"1"}


async def test_two_readers_at_once_take_each_its_own_and_nothing_of_the_others(store: Store, omegaai: OmegaAI) -> None:
    patients, studies = Service("patients", store, omegaai), Service("studies", store, omegaai)
    async with running(patients.reader(page_size=7, most_at_once=20), studies.reader(page_size=7, most_at_once=20)):
        for round_ in range(10):
            await make_own(studies, 10)
            await make_own(patients, 5, first=5 * round_)
        await until_taken(patients, 50)
        await until_taken(studies, 100)

        async def all_are_completed() -> bool:
            return not await omegaai.open_tasks()

        await eventually(all_are_completed, what="every Task completed")
    assert len(await patients.taken()) == 50
    assert {focus.split("/")[0] for focus in await patients.taken()} == {"Patient"}
    assert {focus.split("/")[0] for focus in await studies.taken()} == {"ImagingStudy"}


async def test_a_place_that_is_kept_skips_nothing_whatever_dies(
    store: Store, omegaai: OmegaAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lives that never look from the start: what the place passes over would stay."""
    point = "tasks.after-commit-before-complete"
    deaths = Deaths(point)
    monkeypatch.setattr(failpoints, "hit", deaths.hit)
    monkeypatch.setattr("omegaai.tasks.place._KEEP_SECONDS", 0.0)
    monkeypatch.setattr("omegaai.tasks.place.OVERLAP", timedelta())
    service = Service("studies", store, omegaai)
    made: list[str] = []
    await StoredCursor(store, "studies").move(datetime.now(UTC) - timedelta(minutes=1))

    def one_life() -> TaskReader[str]:
        reader = service.reader(poll_seconds=0.02)
        reader._look_at = math.inf
        return reader

    async def feed() -> None:
        await omegaai.make_tasks("Patient", 2)
        made.extend(await omegaai.make_tasks("ImagingStudy", 2))

    await deaths.lives(one_life, feed)
    assert deaths.at[point] == DEATHS_AT_EACH_POINT
    async with running(one_life()):

        async def all_are_completed() -> bool:
            return all(task["focus"]["reference"].startswith("Patient") for task in await omegaai.open_tasks())

        await eventually(all_are_completed, what="every Task of the service completed")
    rows = await store.pool.fetch("SELECT task_id, seen FROM effects")
    assert {row["task_id"] for row in rows} == set(made)
    assert sum(row["seen"] > 1 for row in rows) >= DEATHS_AT_EACH_POINT // 4, "deaths made Tasks come again"


async def test_a_task_from_before_the_place_is_found_by_a_look_from_the_start(store: Store, omegaai: OmegaAI) -> None:
    service = Service("studies", store, omegaai)
    reader = service.reader(poll_seconds=60)
    await omegaai.make_tasks("ImagingStudy")
    await reader.read_once()
    (late,) = await omegaai.make_tasks("ImagingStudy", updated=LONG_AGO)
    await reader.read_once()
    assert (await omegaai.task(late))["status"] == "ready"
    reader._look_at = 0.0
    await reader.read_once()
    assert (await omegaai.task(late))["status"] == "completed"
    assert service.metrics.value(meters.TASKS_FOUND_LATE) == 1


async def test_a_task_from_the_future_hides_none(store: Store, omegaai: OmegaAI) -> None:
    service = Service("studies", store, omegaai)
    reader = service.reader(poll_seconds=60)
    await omegaai.make_tasks("Patient", updated=(datetime.now(UTC) + timedelta(days=400)).isoformat())
    await reader.read_once()
    (task_id,) = await omegaai.make_tasks("ImagingStudy")
    await reader.read_once()
    assert (await omegaai.task(task_id))["status"] == "completed"


async def test_a_stored_place_that_lies_ahead_is_not_believed(store: Store, omegaai: OmegaAI) -> None:
    await StoredCursor(store, "studies").move(datetime.now(UTC) + timedelta(days=1))
    (task_id,) = await omegaai.make_tasks("ImagingStudy")
    await Service("studies", store, omegaai).reader().read_once()
    assert (await omegaai.task(task_id))["status"] == "completed"


async def test_what_no_service_claims_is_counted_and_shown_and_stays(store: Store, omegaai: OmegaAI) -> None:
    service = Service("studies", store, omegaai)
    old = await omegaai.make_tasks("DocumentReference", 3, updated=LONG_AGO)
    new = await omegaai.make_tasks("DocumentReference", 2)
    await omegaai.make_tasks("Patient", 4, updated=LONG_AGO)
    reader = service.reader()
    reader._look_at = 0.0
    await reader.read_once()
    assert service.metrics.value(meters.TASKS_OPEN, claimed_by="nobody") == 3
    assert service.metrics.value(meters.TASKS_OPEN, claimed_by="patients") == 4
    after = timedelta(minutes=15)
    shown = await unclaimed_tasks(omegaai.client(), now=datetime.now(UTC), after=after, most=10, claims=CLAIMS)
    assert {(one.task_id, one.focus.split("/")[0]) for one in shown} == {(one, "DocumentReference") for one in old}
    for task_id in old + new:
        task = await omegaai.task(task_id)
        assert (task["status"], task["meta"]["versionId"]) == ("ready", "1")


async def test_tasks_that_are_completed_meanwhile_shift_none_out_of_the_list(store: Store, omegaai: OmegaAI) -> None:
    made = []
    for _ in range(12):
        made += await omegaai.make_tasks("ImagingStudy")
    client, seen = omegaai.client(), []
    async for page in listing.by_time(client, None, page_size=3):
        for found in page.news:
            seen.append(found.id)
            done = {**found.resource, "status": "completed"}
            await client.update("Task", found.id, done, version=found.version)
    assert seen == made


def test_a_reader_that_reads_other_types_than_it_claims_is_refused() -> None:
    with pytest.raises(ValueError, match="studies must read"):
        TaskReader(None, None, service="studies", reads={"Patient": None}, claims=CLAIMS)
