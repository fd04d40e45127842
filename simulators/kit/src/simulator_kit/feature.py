"""A simulator is a list of features. A feature is a folder: its pages, its tables, its static files, its hooks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from starlette.routing import BaseRoute

from simulator_kit.store import Store, Work

Services = TypeVar("Services")


@dataclass(frozen=True)
class Feature(Generic[Services]):
    """One folder of a simulator.

    `routes` gives its pages and interfaces. `hooks` maps a kind of `Work.changed` to the feature's function for it,
    which runs in the transaction of the change. `prepare` runs at every start and fills an empty store. `tables.sql`
    and `static/` are found in the folder.
    """

    folder: Path
    routes: Callable[[Services], Sequence[BaseRoute]] = lambda _: ()
    hooks: Mapping[str, Callable[[Work, Any], None]] = field(default_factory=dict)
    prepare: Callable[[Work], None] | None = None

    @property
    def tables(self) -> str:
        script = self.folder / "tables.sql"
        return script.read_text(encoding="utf-8") if script.exists() else ""


async def open_store(path: Path, features: Sequence[Feature[Any]]) -> Store:
    """A store with the tables, the hooks and the first contents of all features, in the order of the list."""
    store = await Store.open(path, [feature.tables for feature in features])
    for feature in features:
        for kind, hook in feature.hooks.items():
            store.hook(kind, hook)

    def prepare(work: Work) -> None:
        for feature in features:
            if feature.prepare is not None:
                feature.prepare(work)

    await store.write(prepare)
    return store


def routes_of(features: Sequence[Feature[Services]], services: Services) -> list[BaseRoute]:
    return [route for feature in features for route in feature.routes(services)]
