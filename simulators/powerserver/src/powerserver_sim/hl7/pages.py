"""The HL7 message log, the message itself, and the interface's settings."""

from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from powerserver_sim.accounts import User
from powerserver_sim.context import services, whole_number
from powerserver_sim.hl7 import log, sending
from powerserver_sim.hl7.outbound import retry_now
from powerserver_sim.options import PROFILES
from powerserver_sim.rules import Refused
from powerserver_sim.users.session import for_admin, for_user, form_of, render, texts_of
from powerserver_sim.worklist import orders
from simulator_kit.store import Work

_PER_PAGE = 50
_STATES = ("queued", "retrying", "acked", "rejected", "dropped")
_CODES = ("AA", "AE", "AR")


@for_user
async def message_log(request: Request, user: User) -> Response:
    """`?direction=out|in&state=&placer=&before=`: newest first, older ones through `before`."""
    query = request.query_params
    is_out = query.get("direction", "out") != "in"
    states = _STATES if is_out else _CODES
    state = query.get("state", "")
    placer = query.get("placer", "").strip()
    before = whole_number(query.get("before"), "before", default=2**53, most=2**53)

    def question(work: Work) -> dict[str, Any]:
        table, column = ("outbound", "state") if is_out else ("inbound", "ack_code")
        where = ["id < ?"]
        values: list[object] = [before]
        if state in states:
            where.append(f"{column} = ?")
            values.append(state)
        if placer:
            where.append("placer = ?")
            values.append(placer)
        condition, own = log.seen_by(user)
        where.append(condition)
        values += own
        rows = work.all(
            f"SELECT * FROM {table} m WHERE {' AND '.join(where)} ORDER BY id DESC LIMIT ?",  # noqa: S608 - constants
            *values,
            _PER_PAGE + 1,
        )
        counts = work.all(f"SELECT {column} AS state, count(*) AS count FROM {table} GROUP BY {column}")  # noqa: S608 - constants
        return {
            "rows": rows[:_PER_PAGE],
            "older": rows[_PER_PAGE - 1]["id"] if len(rows) > _PER_PAGE else None,
            "counts": {row["state"]: row["count"] for row in counts},
        }

    shown = await services(request).store.read(question)
    return render(
        request, user, "hl7/log.html", is_out=is_out, states=states, state=state, placer=placer,
        is_first="before" not in query, **shown,
    )  # fmt: skip


@for_user
async def message(request: Request, user: User) -> Response:
    """One message, raw: a segment a line."""
    is_out = request.path_params["direction"] == "out"
    key = request.path_params["key"]

    def question(work: Work) -> dict[str, Any]:
        row = work.one(f"SELECT * FROM {'outbound' if is_out else 'inbound'} WHERE id = ?", key)  # noqa: S608 - constants
        if row is None:
            raise Refused("unknown", "There is no such message.")
        _check_facility(work, user, row["placer"])
        return dict(row)

    shown = await services(request).store.read(question)
    lines = shown["payload"].decode("utf-8", "replace").replace("\n", "\r").split("\r")
    return render(request, user, "hl7/message.html", is_out=is_out, row=shown, lines=[line for line in lines if line])


def _check_facility(work: Work, user: User, placer: str) -> None:
    """A restricted user sees only messages about appointments of the user's own facility."""
    if user.facility is not None:
        order = orders.load(work, orders.number_of(work, placer))
        user.require(order["facility"])


@for_user
async def retry(request: Request, user: User) -> Response:
    """Try a waiting message again at once, with its own MSH-10."""
    key = request.path_params["key"]

    def change(work: Work) -> None:
        row = work.one("SELECT control_id, placer FROM outbound WHERE id = ?", key)
        if row is not None:
            _check_facility(work, user, row["placer"])
        if row is None or not retry_now(work, row["control_id"]):
            raise Refused("closed", "The message is not waiting to be sent.")

    await services(request).store.write(change)
    return RedirectResponse(f"/messages/out/{key}", status_code=303)


@for_admin
async def hl7_settings(request: Request, user: User) -> Response:
    if request.method == "POST":
        given = texts_of(await form_of(request))
        await services(request).store.write(
            lambda work: sending.set_sending(
                work,
                given.get("profile", ""),
                adt_out=given.get("adt_out") == "on",
                mfn_out=given.get("mfn_out") == "on",
            )
        )
        return RedirectResponse("/settings/hl7", status_code=303)
    now = await services(request).store.read(sending.sending)
    return render(request, user, "hl7/settings.html", sending=now, profiles=PROFILES)


ROUTES = [
    Route("/messages", message_log),
    Route("/messages/{direction:str}/{key:int}", message),
    Route("/messages/out/{key:int}/retry", retry, methods=["POST"]),
    Route("/settings/hl7", hl7_settings, methods=["GET", "POST"]),
]
