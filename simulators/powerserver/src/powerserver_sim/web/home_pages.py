"""Login, home, and the live stream."""

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from powerserver_sim import views
from powerserver_sim.accounts import User
from powerserver_sim.web.context import services
from powerserver_sim.web.session import for_user, form_of, render, safe_next, text_of


async def login(request: Request) -> Response:
    target = safe_next(request.query_params.get("next", "/"))
    if request.method == "GET":
        return render(request, None, "login.html", target=target, failed=False, name="")
    form = await form_of(request)
    name = text_of(form, "name")
    password = form.get("password")
    user = await services(request).accounts.login(name, password if isinstance(password, str) else "")
    if user is None:
        return render(request, None, "login.html", status=401, target=target, failed=True, name=name)
    request.session.clear()
    request.session["user"] = user.name
    return RedirectResponse(target, status_code=303)


async def logout(request: Request) -> Response:
    request.session.clear()
    return RedirectResponse("/login", status_code=303)


@for_user
async def home(request: Request, user: User) -> Response:
    facilities = await services(request).store.read(lambda work: views.facilities_of(work, user))
    figures = await services(request).store.read(lambda work: views.home(work, facilities, user))
    return render(request, user, "home.html", figures=figures, facilities=facilities)


@for_user
async def events(request: Request, user: User) -> Response:
    return StreamingResponse(services(request).live.stream(user), media_type="text/event-stream")


routes = [
    Route("/login", login, methods=["GET", "POST"]),
    Route("/logout", logout, methods=["POST"]),
    Route("/", home),
    Route("/events", events),
]
