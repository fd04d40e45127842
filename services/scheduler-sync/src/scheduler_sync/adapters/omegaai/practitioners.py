"""Referring physicians as Practitioners of OmegaAI: found by their number, else created, once for each."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

import structlog

from chassis.errors import AccessRefused, Permanent
from omegaai.client import FhirClient
from scheduler_sync.adapters.omegaai import writer

MOST_KNOWN: Final = 10_000
"""Most ids that are remembered, the latest ones. A further look-up only costs a request."""
_log = structlog.get_logger(__name__)


class Practitioners:
    """Remembers the ids, so that an appointment costs no further request for its physician."""

    def __init__(self, client: FhirClient) -> None:
        self._client = client
        self._ids: OrderedDict[tuple[str | None, str | None], str] = OrderedDict()

    async def id_of(self, physician: Mapping[str, str | None]) -> str | None:
        """OmegaAI's id; None for a physician without a number. Transient.

        None too where OmegaAI lets nobody create a Practitioner: the appointment then only names the physician, because
        a patient's appointment must not wait for that right.
        """
        if physician["number"] is None:
            return None
        key = _key(physician)
        known = self._ids.get(key)
        if known is None:
            known = await self._found_or_created(physician)
            if known is None:
                return None
            self._ids[key] = known
            if len(self._ids) > MOST_KNOWN:
                self._ids.popitem(last=False)
        self._ids.move_to_end(key)
        return known

    def forget(self, physician: Mapping[str, str | None]) -> None:
        """The next appointment looks the physician up again."""
        self._ids.pop(_key(physician), None)

    async def _found_or_created(self, physician: Mapping[str, str | None]) -> str | None:
        """The number decides. The name in OmegaAI stays as it is: OmegaAI's own staff may keep it."""
        body, query = writer.practitioner(physician), writer.practitioner_query(physician)
        try:
            found = await self._client.create("Practitioner", body, if_none_exist=query)
        except (AccessRefused, Permanent) as error:
            _log.warning("practitioner.not-created", reason=error.reason)
            return None
        return found.id or None


def _key(physician: Mapping[str, str | None]) -> tuple[str | None, str | None]:
    return physician["system"], physician["number"]
