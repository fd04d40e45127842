"""What the console says after an act. Its sentences stand here, and an address can only choose one of them.

Of an act that was done the address gives its name, and the audit is asked whether somebody did it just now: no link
that somebody sends can have the console say what never happened, and any process of the service can answer.
"""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlencode
from uuid import UUID

from starlette.responses import RedirectResponse

if TYPE_CHECKING:
    import asyncpg

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
}
"""By the action's name in the audit."""
_REFUSED: Final[Mapping[str, str]] = {
    "delivery": "There is no open delivery {id}.",
    "dead-letter": "There is no open dead letter {id}.",
    "missed": "There is no open entry {id}.",
    "parked": "Key {id} is not parked.",
    "timer": "There is no such timer of {id}.",
    "hl7": "Message {id} does not wait.",
    "hears-no-hl7": "This service hears no HL7.",
    "store-away": "The store did not answer: nothing was done about {id}.",
}
_JUST_DONE: Final = """
SELECT detail FROM (SELECT * FROM operator_audit ORDER BY id DESC LIMIT 200) AS newest
WHERE action = $1 AND subject = $2 AND at > clock_timestamp() - interval '10 minutes' ORDER BY id DESC LIMIT 1
"""


class Notice(NamedTuple):
    """Either may be empty: what was done, and what was not."""

    said: str = ""
    refused: str = ""


def back(done: str | None, refused: str, subject: UUID) -> RedirectResponse:
    """To the console, which says what came of an act; a reload does not act again.

    ``done`` is the action in the audit, None when nothing was done; then ``refused`` says what there is none of.
    """
    words = {"done": done} if done is not None else {"refused": refused}
    return RedirectResponse(f"/console?{urlencode({**words, 'on': str(subject)})}", 303)


async def notice(pool: "asyncpg.Pool", query: Mapping[str, str]) -> Notice:
    """What ``query`` asks to be said, as far as it is one of our sentences and true."""
    done, refused = query.get("done", ""), query.get("refused", "")
    if done not in _DONE and refused not in _REFUSED:
        return Notice()
    try:
        subject = UUID(query.get("on", ""))
    except ValueError:
        return Notice()
    if refused in _REFUSED:
        return Notice(refused=_REFUSED[refused].format(id=subject))
    detail = await pool.fetchval(_JUST_DONE, done, str(subject))
    if detail is None:
        return Notice()
    outcome = str(json.loads(detail).get("outcome", "processed"))
    words = _DONE[done].format(id=subject, outcome=outcome)
    return Notice(refused=words) if outcome.startswith("failed") else Notice(said=words)
