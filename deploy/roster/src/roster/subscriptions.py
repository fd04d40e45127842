"""Compares the topics in a service's file with the topics that its code reads."""

import importlib
from collections.abc import Iterator

from roster.members import Roster, file_of


def problems(roster: Roster) -> Iterator[str]:
    """A line for each service whose ``bootstrap.CONSUMES`` and ``hears`` differ."""
    for service in roster.services:
        try:
            bootstrap = importlib.import_module(f"{service.package}.bootstrap")
        except ImportError as error:
            yield f"{service.place}: {service.package}.bootstrap cannot be imported: {error}"
            continue
        consumes = getattr(bootstrap, "CONSUMES", None)
        code = set(consumes.topics) if consumes is not None else set()
        place = f"{service.place}/{file_of(service).name}: hears"
        for topic in sorted(code - set(service.hears)):
            yield f"{place}: {topic!r} is missing: {service.package}.bootstrap.CONSUMES reads it"
        for topic in sorted(set(service.hears) - code):
            yield f"{place}: {topic!r} is not in {service.package}.bootstrap.CONSUMES: nothing reads it"
        if consumes is not None and consumes.consumer != service.name:
            yield f"{place}: the consumer is called {consumes.consumer!r} in the code: call it {service.name!r}"
