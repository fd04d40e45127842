"""While OmegaAI is away, the import asks for one facility, ever more seldom; then it reads all of them again."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from sync_samples import SITE_FILE, directory

from chassis.errors import Transient
from omegaai.client import Found, NotFoundError
from scheduler_sync.resources.importing import ResourceImport, pause_after
from scheduler_sync.resources.matching import Comparison
from scheduler_sync.site import Site


class Client:
    """OmegaAI: away, or without a service."""

    def __init__(self) -> None:
        self.is_away, self.asked = True, list[str]()
        self.longest_call_seconds = 1.0

    async def read(self, kind: str, identifier: str) -> Found:
        del kind, identifier
        raise NotFoundError

    async def search(self, kind: str, query: dict[str, str]) -> AsyncIterator[Found]:
        del kind
        self.asked.append(query["organization"])
        if self.is_away:
            raise Transient("OmegaAI: no answer")
        for one in ():
            yield one


class Kept:
    """The store; it compares nothing."""

    async def keep(self, *_: Any) -> None: ...

    async def all(self) -> list[Any]:
        return []

    async def newest_change(self) -> int:
        return 1

    async def compare(self, _: object) -> Comparison:
        return Comparison(counts={})


async def test_one_facility_is_asked_while_omegaai_is_away_and_all_when_it_is_back() -> None:
    client: Any = Client()
    importing = ResourceImport(client, Site(SITE_FILE), Kept(), directory(), interval_seconds=1)  # type: ignore[arg-type]
    for tries in range(4):
        with pytest.raises(Transient):
            await importing.import_once()
        assert len(client.asked) == 2 + tries, "the first time all are asked, later one"
    client.is_away = False
    client.asked.clear()
    await importing.import_once()
    assert len(client.asked) == len(set(client.asked)) == 2


def test_the_pause_grows_to_half_a_minute() -> None:
    pauses = [pause_after(failures) for failures in range(1, 20)]
    assert pauses[0] <= 2
    assert 15 <= pauses[-1] <= 30
