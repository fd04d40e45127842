"""Runs all looks at once, each with a deadline of its own, and keeps the newest result for the page."""

import asyncio
import time
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from chassis.clock import utc_now
from chassis.errors import Permanent, Transient, reason_of
from chassis.host import Certificate
from chassis.settings import KafkaSettings
from chassis.store import Store, is_passing, no_answer
from chassis.store.store import ERRORS
from omegaai.client import FhirClient
from scheduler_sync.preflight import here, omegaai
from scheduler_sync.preflight.here import MllpOut
from scheduler_sync.preflight.lines import Line, State
from scheduler_sync.preflight.views import PreflightViews
from scheduler_sync.site import Site

LOOK_SECONDS: Final = 8.0
FRESH_SECONDS: Final = 30.0


class UnknownCheckError(Exception):
    """There is no such line, or it cannot be confirmed."""


@dataclass
class Preflight:
    """All that is looked at. ``topics``: those that the service publishes to or reads."""

    store: Store
    client: FhirClient
    site: Site
    out: MllpOut
    kafka: KafkaSettings
    topics: Sequence[str]
    certificates: Sequence[Certificate]
    _lines: list[Line] = field(default_factory=list, init=False)
    _looked_at: float = field(default=float("-inf"), init=False)
    _looking: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

    async def newest(self) -> list[Line]:
        """The lines, at most ``FRESH_SECONDS`` old. Looks of several viewers are one."""
        async with self._looking:
            if time.monotonic() - self._looked_at > FRESH_SECONDS:
                self._lines = await self.look()
                self._looked_at = time.monotonic()
        return self._lines

    async def look(self) -> list[Line]:
        """Every line, as it is now. Nothing is written anywhere. What cannot be looked at says why."""
        now = await self._now()
        site, client, views = self.site.file, self.client, PreflightViews(self.store)
        looks: dict[tuple[str, str, str], Awaitable[list[Line]]] = {
            ("postgres", "Connections", "the store (Postgres)"): here.store(self.store, now),
            ("kafka", "Connections", "Kafka and its topics"): here.kafka(self.kafka, self.topics, now),
            ("mllp.out", "Connections", "PowerServer's HL7 listener"): here.mllp_out(self.out, views, now),
            ("mllp.in", "Connections", "messages from PowerServer"): here.messages(views, site, now),
            ("omegaai.fhir", "Connections", "OmegaAI's FHIR interface and token"): omegaai.connection(client, now),
            ("organization", "Organisations", "OmegaAI's organisations"): omegaai.organizations(client, site, now),
            ("issuer", "Issuers", "issuers under the master organisation"): omegaai.issuers(client, site, now),
            ("catalogues", "Catalogues", "study types and procedure codes"): omegaai.catalogues(client, now),
            ("services", "Resources", "OmegaAI's healthcare services"): omegaai.services(client, site, now),
            ("resources", "Resources", "resources on both sides"): here.resources(views, site),
        }
        found = await asyncio.gather(*(_looked(name, look, now) for name, look in looks.items()))
        lines = [line for lines in found for line in lines]
        lines += here.certificates(self.certificates, now) + here.site_file(self.site, now)
        return _in_order(await self._with_confirmations(views, lines))

    async def confirm(self, check_id: str, *, actor: str, takes_back: bool = False) -> None:
        """A person has seen it in the product. Raises UnknownCheckError, StoreUnavailable."""
        line = next((one for one in await self.newest() if one.id == check_id), None)
        if line is None or not line.can_confirm:
            raise UnknownCheckError("there is no line of this id that a person can confirm")
        at = None if takes_back else await self.store.now()
        await PreflightViews(self.store).confirm(check_id, actor=actor, at=at)
        self._looked_at = float("-inf")

    async def _now(self) -> datetime:
        """The store's time; our own while the store is away."""
        try:
            return await self.store.now()
        except (Transient, *ERRORS):
            return utc_now()

    async def _with_confirmations(self, views: PreflightViews, lines: Sequence[Line]) -> list[Line]:
        try:
            confirmed = await views.confirmed()
        except (Transient, OSError, *ERRORS):
            return list(lines)
        return [_confirmed(line, confirmed.get(line.id)) for line in lines]


def _confirmed(line: Line, confirmation: tuple[datetime, str] | None) -> Line:
    """A confirmation stands where no protocol has shown the thing."""
    if confirmation is None or line.state is not State.NOT_VISIBLE:
        return line
    at, actor = confirmation
    seen = f"confirmed by {actor} on {at:%Y-%m-%d %H:%M} UTC; {line.seen}"
    return replace(line, state=State.FOUND, seen=seen, at=at)


async def _looked(name: tuple[str, str, str], look: Awaitable[list[Line]], now: datetime) -> list[Line]:
    line_id, group, what = name
    try:
        async with asyncio.timeout(LOOK_SECONDS):
            return await look
    except TimeoutError:
        why = f"no answer within {LOOK_SECONDS:g} s"
    except (Transient, Permanent) as error:
        why = reason_of(error)
    except (OSError, *ERRORS) as error:
        why = str(no_answer(error)) if is_passing(error) else f"bug: {type(error).__name__}"
    except Exception as error:  # noqa: BLE001 (one look that fails is said, and hides no other)
        why = f"bug: {type(error).__name__}"
    return [Line(line_id, group, what, State.NOT_LOOKED_AT, why, now)]


_GROUPS: Final = (
    "Connections", "Site", "Organisations", "Issuers", "Facilities", "Catalogues", "Resources", "Priority",
    "Documents", "Certificates", "Clocks",
)  # fmt: skip


def _in_order(lines: Sequence[Line]) -> list[Line]:
    return sorted(lines, key=lambda line: (_GROUPS.index(line.group), line.id))
