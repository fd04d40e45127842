"""The console's message after an act. Its sentences stand here; an address can only choose one of them.

After an act the address holds the act's name, and the audit is asked whether it happened just now. So a link cannot
make the console report an act that never happened, and any process of the service can answer.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlencode
from uuid import UUID

from starlette.responses import RedirectResponse

from chassis.messaging import ReplayOutcome
from chassis.web.queries import just_done

if TYPE_CHECKING:
    from chassis.store import Store

_REPLAYS: Final = frozenset({"hl7.replay", "hl7.edit"})
"""Acts whose audit says how the message fared."""
_DONE: Final[Mapping[str, str]] = {
    "delivery.retry": "delivery {id} is sent now.",
    "delivery.drop": "delivery {id} is given up.",
    "dead-letter.replay": "dead letter {id} is handled again.",
    "dead-letter.drop": "dead letter {id} is given up.",
    "missed.acknowledge": "Entry {id} is acknowledged.",
    "parked.release": "Key {id} is tried now.",
    "timer.retry": "Timer of {id} is tried now.",
    "timer.cancel": "Timer of {id} is cancelled.",
    "hl7.replay": "Message {id}: {outcome}.",
    "hl7.edit": "The edited copy of message {id}: {outcome}.",
}
"""By the action's name in the audit."""
_REFUSED: Final[Mapping[str, str]] = {
    "delivery": "There is no open delivery {id}.",
    "dead-letter": "There is no open dead letter {id}.",
    "missed": "There is no open entry {id}.",
    "parked": "Key {id} is not parked.",
    "timer": "There is no such timer of {id}.",
    "hl7": "Message {id} does not wait.",
    "store-away": "The store did not answer: nothing was done about {id}.",
}


class Notice(NamedTuple):
    """Either may be empty: what was done, and what was not."""

    said: str = ""
    refused: str = ""


def back(done: str | None, refused: str, subject: UUID, *, to: str = "/console") -> RedirectResponse:
    """Redirects to a page, which reports the outcome; a reload does not act again.

    ``done`` is the action in the audit, None when nothing was done; then ``refused`` names what does not exist.
    """
    words = {"done": done} if done is not None else {"refused": refused}
    return RedirectResponse(f"{to}?{urlencode({**words, 'on': str(subject)})}", 303)


async def notice(store: "Store", query: Mapping[str, str]) -> Notice:
    """The notice that ``query`` asks for, when it is one of our sentences and true."""
    done, refused = query.get("done", ""), query.get("refused", "")
    if done not in _DONE and refused not in _REFUSED:
        return Notice()
    try:
        subject = UUID(query.get("on", ""))
    except ValueError:
        return Notice()
    if refused in _REFUSED:
        return Notice(refused=_REFUSED[refused].format(id=subject))
    detail = await just_done(store, done, str(subject))
    if detail is None:
        return Notice()
    outcome = detail.get("outcome", ReplayOutcome.PROCESSED)
    said = f"{outcome}: {detail['reason']}" if "reason" in detail and done in _REPLAYS else outcome
    words = _DONE[done].format(id=subject, outcome=said)
    return Notice(said=words) if outcome == ReplayOutcome.PROCESSED else Notice(refused=words)
