"""What a request handler works with."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from starlette.requests import Request

from powerserver_sim.accounts import Accounts
from powerserver_sim.live import Live
from powerserver_sim.misbehave import Misbehaviour
from powerserver_sim.outbound import Sender
from powerserver_sim.rules import Refused
from powerserver_sim.store import Store


@dataclass(frozen=True, slots=True)
class Services:
    """The running parts, made once in `bootstrap`."""

    store: Store
    accounts: Accounts
    live: Live
    misbehaviour: Misbehaviour
    sender: Sender


def services(request: Request) -> Services:
    return cast("Services", request.app.state.services)


async def json_body(request: Request) -> dict[str, Any]:
    """The request's JSON object; anything else is refused as invalid."""
    try:
        body = json.loads(await request.body())
    except ValueError:
        raise Refused("invalid", "The body is not JSON.") from None
    if not isinstance(body, dict):
        raise Refused("invalid", "The body is not a JSON object.")
    return body


def whole_number(text: str | None, field: str, *, default: int, most: int) -> int:
    """A query parameter from 0 to `most`."""
    if text is None:
        return default
    if not text.isascii() or not text.isdecimal() or len(text) > 12:
        raise Refused("invalid", f"{field} is a whole number.", field=field)
    return min(int(text), most)


def moment(text: object, field: str) -> datetime:
    """An ISO 8601 time with its offset."""
    if isinstance(text, str):
        try:
            parsed = datetime.fromisoformat(text)
        except ValueError:
            parsed = None
        if parsed is not None and parsed.tzinfo is not None:
            return parsed
    raise Refused("invalid", f"{field} is an ISO 8601 time with an offset.", field=field)
