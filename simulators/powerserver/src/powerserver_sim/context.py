"""Shared by the features: the running parts, the templates, and readers of a request."""

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, cast

from starlette.requests import Request

from powerserver_sim.accounts import Accounts
from powerserver_sim.rules import Refused
from simulator_kit import web
from simulator_kit.live import Live
from simulator_kit.misbehaviour import Misbehaviour
from simulator_kit.session import Sessions
from simulator_kit.store import Store

PACKAGE: Final = Path(__file__).parent
templates: Final = web.templates(PACKAGE)


@dataclass(frozen=True, slots=True)
class Services:
    """The running parts, made once in `app.py`. `half_logins`: the password was right, the code has not come yet."""

    store: Store
    accounts: Accounts
    sessions: Sessions
    half_logins: Sessions
    live: Live
    misbehaviour: Misbehaviour


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


def text_in(given: dict[str, Any], name: str) -> str:
    """A text of a JSON object; empty when it is missing."""
    value = given.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Refused("invalid", f"{name} is text.", field=name)
    return value


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
