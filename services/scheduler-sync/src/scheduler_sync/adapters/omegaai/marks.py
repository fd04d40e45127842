"""The suite's mark on an Appointment: it tells the suite's own write from an act, before the write's answer is known.

The mark names the content that was written. An act changes the content and keeps the mark, so the two differ then.
"""

import hashlib
from typing import Final

from chassis.errors import Malformed
from omegaai import elements
from omegaai.elements import Json
from scheduler_sync.domain.appointment import OwnWrite

MARK: Final = "urn:powerserver:written"
"""URL of the extension."""
_CONTENT: Final = "content"
_LEFT: Final = "left"


def of(body: Json) -> OwnWrite | None:
    """The suite's write that ``body`` still shows; None where it has no mark, or another content by now."""
    mark = next((one for one in elements.items(body, "extension") if elements.code(one, "url") == MARK), {})
    parts = {elements.code(one, "url"): elements.text(one, "valueString") for one in elements.items(mark, "extension")}
    if parts.get(_CONTENT) is None or parts[_CONTENT] != _content(body):
        return None
    return OwnWrite(parts.get(_LEFT))


def marked(body: Json, *, left: str | None = None) -> Json:
    """``body`` with the mark. ``left``: the version whose act the write leaves standing."""
    parts = [{"url": _CONTENT, "valueString": _content(body)}]
    if left is not None:
        parts.append({"url": _LEFT, "valueString": left})
    others = [one for one in elements.items(body, "extension") if elements.code(one, "url") != MARK]
    return {**body, "extension": [*others, {"url": MARK, "extension": parts}]}


def _content(body: Json) -> str | None:
    """A digest of the elements that acts change: status, time, wanted time. None where one cannot be read."""
    wanted = next(iter(elements.items(body, "requestedPeriod")), {})
    try:
        times = [elements.instant(one, name, "") for one in (body, wanted) for name in ("start", "end")]
    except Malformed:
        return None
    told = [elements.code(body, "status"), *(None if at is None else at.timestamp() for at in times)]
    return hashlib.sha256(repr(told).encode()).hexdigest()[:16]
