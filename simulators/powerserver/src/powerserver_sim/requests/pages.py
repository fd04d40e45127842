"""The answer to a request as JSON and as a form."""

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from powerserver_sim.accounts import User
from powerserver_sim.context import json_body, services, text_in
from powerserver_sim.requests import answering
from powerserver_sim.users.session import authenticated, for_user, form_of
from powerserver_sim.worklist import orders
from simulator_kit.store import Work
from simulator_kit.web import text_of, wants_json


@authenticated
async def answer(request: Request, user: User) -> Response:
    """`{answer: accept | decline, reason?}` → `{placer_number, status, status_value}`."""
    body = await json_body(request)
    placer = request.path_params["placer"]

    def change(work: Work) -> dict[str, object]:
        number = orders.number_of(work, placer)
        answering.answer(work, user, number, text_in(body, "answer"), text_in(body, "reason"))
        order = orders.load(work, number)
        return {"placer_number": placer, "status": order["status_name"], "status_value": order["status"]}

    return JSONResponse(await services(request).store.write(change))


@for_user
async def answer_form(request: Request, user: User) -> Response:
    form = await form_of(request)
    placer = request.path_params["placer"]
    given, reason = text_of(form, "answer"), text_of(form, "reason")

    def change(work: Work) -> str:
        number = orders.number_of(work, placer)
        answering.answer(work, user, number, given, reason)
        return f"{placer} is now {orders.load(work, number)['status_name']}."

    words = await services(request).store.write(change)
    if wants_json(request):
        return JSONResponse({"message": words})
    return RedirectResponse(f"/appointments/{placer}", status_code=303)


ROUTES = [
    Route("/api/appointments/{placer}/request", answer, methods=["POST"]),
    Route("/appointments/{placer}/request", answer_form, methods=["POST"]),
]
