"""``docs/operations/access.md``: who may request each route, as the services' own applications declare it."""

import asyncio
import importlib
import os
from collections.abc import Iterator
from typing import Final
from unittest.mock import patch

from roster.members import ROOT, Member, Place, Roster

PAGE: Final = "docs/operations/access.md"
COLUMNS: Final = ("nobody", "viewer", "operator", "admin", "a service", "a patient")
ALLOWED: Final = {
    "public": COLUMNS,
    "patient session": ("a patient",),
    "service": ("a service",),
    "viewer": ("viewer", "operator", "admin"),
    "operator": ("operator", "admin"),
    "admin": ("admin",),
    "login": COLUMNS,
    "probe": COLUMNS,
}
"""Who passes, by declaration. This second copy makes a change in the code visible."""
_HEAD: Final = """\
# Who may see a page

Made from the routes that each service declares by `python -m roster generate`; `make check` fails when it is out of
date, and `tests/integration/test_access_matrix.py` asks each route as each of these. What is not listed is served to
nobody.

`public` and `patient session` are served on the public port alone (`HTTP__PUBLIC_PORT`), all others on the console's.
`login` is the way in to the console, with its style sheet; `probe` holds nobody's data. A person has the role that the
identity provider says ([production](production.md)). An admin may do what an operator may, an operator what a viewer
may.
"""


def page(roster: Roster) -> str:
    """The whole page. ``SettingsError`` names a route without a declaration."""
    return "\n".join([_HEAD, *(line for service in roster.services for line in _section(service))])


def _section(service: Member) -> Iterator[str]:
    yield f"## {service.name}\n"
    yield f"| route | declared | {' | '.join(COLUMNS)} |"
    yield "|---|---|" + "---|" * len(COLUMNS)
    for method, path, access in routes_of(service):
        marks = " | ".join("yes" if who in ALLOWED[access] else "–" for who in COLUMNS)
        yield f"| {method} `{path}` | {access} | {marks} |"
    yield ""


def routes_of(service: Member) -> list[tuple[str, str, str]]:
    """Method, path and declaration of each route of the service's application."""
    return asyncio.run(_routes_of(service))


async def _routes_of(service: Member) -> list[tuple[str, str, str]]:
    from chassis.testing.offline import built_offline
    from chassis.web.access import rows

    definition = importlib.import_module(f"{service.package}.__main__").DEFINITION
    nowhere = Place(
        host=lambda _target: "127.0.0.1",
        port=lambda _target: "1",
        browser_port=lambda _target: "1",
        site_file=str(ROOT / "deploy" / "site" / "northside.yaml"),
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith(f"{service.prefix}_")}
    with patch.dict(os.environ, {**kept, **service.settings(nowhere)}, clear=True):
        built = await built_offline(definition.build, definition.settings_type())
    try:
        applications = (built.app(), built.public_app())
        return [(method, path, str(access)) for one in applications for method, path, access in rows(one.routes)]
    finally:
        for close in built.closers:
            await close()


def is_current(roster: Roster) -> bool:
    path = ROOT / PAGE
    return path.exists() and path.read_text(encoding="utf-8") == page(roster)


def write(roster: Roster) -> bool:
    """Writes the page; returns whether it changed."""
    if is_current(roster):
        return False
    (ROOT / PAGE).write_text(page(roster), encoding="utf-8")
    return True
