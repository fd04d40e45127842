"""The host of a service: runs its loops, serves its pages and probes, and stops everything in order.

Live means that every loop turned within its time. Ready means that the service's dependencies answer within a timeout;
a service that is not ready still accepts what it can commit.
"""

import asyncio
import contextlib
import gc
import signal
import time
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog
import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from chassis.host.store_guard import AGAIN_SECONDS, StoreGuard
from chassis.loops import Loop, Waiting, standing_seconds
from chassis.observe import Metrics, meters
from chassis.settings import HttpSettings, SettingsError
from chassis.store import OneOfMany, is_passing, no_answer
from chassis.store.store import ERRORS
from chassis.web import access
from chassis.web.access import FOR_THE_INTERNET, Access, UndeclaredRoute
from chassis.web.brake import Brake
from chassis.web.console import Console, Health
from chassis.web.guard import Guard, PatientSession, Surface

if TYPE_CHECKING:
    from chassis.web.oidc import LogIn

STALLED_SECONDS = 60.0
SLOW_PARTNER_SECONDS = 5.0
CHECK_TIMEOUT_SECONDS = 2.0
STOP_SECONDS = 25.0
RESTART_PAUSE_SECONDS = 1.0
COLLECT_SECONDS = 60.0

Check = Callable[[], Awaitable[None]]
"""Returns when the dependency answers; raises with a reason when it does not."""

log = structlog.get_logger(__name__)


@dataclass
class Service:
    """The parts that a composition root gives the host.

    ``loops`` in the order in which they stop: inbound first, then consumers, the relay, deliveries. ``checks`` decide
    readiness; ``closers`` run at the very end, in order. No loop runs before the ``guard`` says that the store fits;
    probes and pages do.
    """

    name: str
    http: HttpSettings
    metrics: Metrics
    loops: Mapping[str, Loop]
    checks: Mapping[str, Check]
    routes: Sequence[BaseRoute] = ()
    console: Console | None = None
    closers: Sequence[Callable[[], Awaitable[None]]] = ()
    guard: StoreGuard | None = None
    notes: Mapping[str, Callable[[], str | None]] = field(default_factory=dict)
    """What a person should know of a service that is ready all the same, by name; None says nothing."""
    patient_session: PatientSession | None = None
    """Finds the patient session of a request; for services that have routes for patients."""
    _door: "LogIn | None" = field(default=None, init=False)
    _brake: Brake = field(default_factory=Brake, init=False)
    _running: "dict[str, asyncio.Task[None]]" = field(default_factory=dict, init=False)
    _failed: dict[str, str] = field(default_factory=dict, init=False)
    _has_given_up: bool = field(default=False, init=False)
    _waited_for: set[tuple[str, str]] = field(default_factory=set, init=False)

    def __post_init__(self) -> None:
        """Raises ``UndeclaredRoute`` unless every route declares who may see it."""
        needs = [one.path for one in access.declared(self.routes) if one.access is Access.PATIENT_SESSION]
        if needs and self.patient_session is None:
            raise UndeclaredRoute(
                [f"the route {path} is for patients' sessions, which nothing here knows" for path in needs]
            )

        if self.http.oidc.issuer and self.console is not None:
            from chassis.web.oidc import LogIn  # noqa: PLC0415 (11 MiB that a service without OpenID Connect saves)

            self._door = LogIn(self.http, self.name, self.console.store, self._brake, self.metrics)

    def app(self) -> Guard:
        """The console's port: probes, metrics, the console and the service's pages for people."""
        routes: list[BaseRoute] = [
            *access.probe(
                Route("/livez", self._livez), Route("/readyz", self._readyz), Route("/metrics", self._metrics)
            ),
            *self.routes,
        ]
        if self.console is not None:
            routes += [
                *access.viewer(Route("/", lambda _request: RedirectResponse("/console"))),
                *self.console.routes(self._health, stalled_seconds=STALLED_SECONDS),
                *(() if self._door is None else self._door.routes()),
            ]
        return self._guarded(routes, "console")

    def public_app(self) -> Guard:
        """The public port: the routes that are declared for the internet, and nothing else."""
        return self._guarded(self.routes, "public")

    def _guarded(self, routes: Sequence[BaseRoute], surface: Surface) -> Guard:
        return Guard(
            routes,
            self.http,
            service=self.name,
            surface=surface,
            metrics=self.metrics,
            exception_handlers=dict.fromkeys(ERRORS, self._store_away),
            patient_session=self.patient_session,
            brake=self._brake,
            door=self._door,
        )

    async def run(self) -> int:
        """Runs until SIGTERM or SIGINT; then stops in order. Returns the exit code: 1 when it ended by itself.

        Raises ``WrongProvider`` when the identity provider differs from the settings; nothing has begun then.
        """
        collect_seldom()
        await self._look_at_the_provider()
        background = [asyncio.create_task(_collect_all_of_it())]
        if self._door is not None:
            background.append(asyncio.create_task(self._door.provider.keep_fresh()))
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        servers = self._servers()
        serving = {asyncio.create_task(server.serve()) for server in servers}
        guarding = asyncio.create_task(self._start_when_the_store_fits(stop))
        stopped = asyncio.ensure_future(stop.wait())
        await asyncio.wait({stopped, *serving}, return_when=asyncio.FIRST_COMPLETED)
        if not stop.is_set():
            log.error("service.http-ended", port=self.http.port, public_port=self.http.public_port)
        log.info("service.stopping")
        guarding.cancel()
        await asyncio.wait({guarding})
        await self._stop(self._running)
        for server in servers:
            server.should_exit = True
        await asyncio.gather(*serving)
        for task in background:
            task.cancel()
        await asyncio.wait(background)
        await self._close()
        log.info("service.stopped")
        return 1 if self._has_given_up else 0

    async def _look_at_the_provider(self) -> None:
        if self._door is None:
            return
        try:
            await self._door.provider.start()
        except SettingsError:
            await self._close()
            raise

    async def _close(self) -> None:
        if self._door is not None:
            await self._door.provider.close()
        for close in self.closers:
            await close()

    def _servers(self) -> "list[_Server]":
        """The server of the console, and that of the public port where one is set."""
        found = [_server(self.app(), self.http.host, self.http.port)]
        has_public = any(one.access in FOR_THE_INTERNET for one in access.declared(self.routes))
        if self.http.public_port is not None:
            found.append(_server(self.public_app(), self.http.public_host, self.http.public_port))
        elif has_public:
            log.warning("service.public-routes-not-served", setting="HTTP__PUBLIC_PORT")
        return found

    async def _start_when_the_store_fits(self, stop: asyncio.Event) -> None:
        """Asks the guard until it is sure, then starts the loops and watches the store.

        Running loops cannot be held back: when the store turns out not to fit, the process ends, and the next start
        refuses.
        """
        if self.guard is None:
            self._start()
            return
        try:
            while (verdict := await self.guard.look()).kind != "fits":
                if verdict.is_refusal and self._running:
                    self._give_up(stop, verdict.why)
                    return
                if verdict.kind == "unsure" and self.guard.may_run_unsure:
                    self._start()
                await asyncio.sleep(AGAIN_SECONDS)
            self._start()
            while (why := await self.guard.went_back()) is None:
                await asyncio.sleep(AGAIN_SECONDS)
            self._give_up(stop, why)
        except Exception as error:
            log.exception("service.guard-failed")
            self._give_up(stop, type(error).__name__)

    def _give_up(self, stop: asyncio.Event, why: str) -> None:
        self._has_given_up = True
        log.critical("service.ends", why=why)
        stop.set()

    def _start(self) -> None:
        if self._running:
            return
        for name, one in self.loops.items():
            one.progressed_at = time.monotonic()
            self._running[name] = asyncio.create_task(self._keep(name, one), name=name)
        log.info("service.started", loops=list(self._running), port=self.http.port)

    def _turning(self) -> Mapping[str, Loop]:
        """The loops that should turn: none while the guard holds them back."""
        return self.loops if self.guard is None else {name: self.loops[name] for name in self._running}

    async def _keep(self, name: str, loop: Loop) -> None:
        """Runs a loop. An error that ends it is a bug: it is logged and the loop starts again."""
        while True:
            try:
                await loop.run()
            except Exception as error:
                self._failed[name] = type(error).__name__
                log.exception("service.loop-failed", loop=name)
                await asyncio.sleep(RESTART_PAUSE_SECONDS)
            else:
                return

    async def _stop(self, running: Mapping[str, "asyncio.Task[None]"]) -> None:
        deadline = time.monotonic() + STOP_SECONDS
        for name, task in running.items():
            await self.loops[name].stop()
            done, _ = await asyncio.wait({task}, timeout=max(0.5, deadline - time.monotonic()))
            if not done:
                log.warning("service.loop-cut-off", loop=name)
                task.cancel()
                await asyncio.wait({task}, timeout=1)

    async def _store_away(self, request: Request, error: Exception) -> Response:
        """Replaces a page or act that the store does not serve now. Other errors are bugs, and pass."""
        if not is_passing(error):
            raise error
        away = no_answer(error)
        log.warning("service.page-without-store", reason=away.reason)
        if self.console is None:
            return PlainTextResponse(away.reason, 503)
        return self.console.store_away(request, away)

    async def _livez(self, _request: Request) -> Response:
        now = time.monotonic()
        stalled = [name for name, loop in self._turning().items() if standing_seconds(loop, now) > STALLED_SECONDS]
        return JSONResponse({"live": not stalled, "stalled": stalled}, 503 if stalled else 200)

    async def _readyz(self, request: Request) -> Response:
        """``?exclude=kafka``: all checks but these, for callers that route work accepted without them.

        It also reports the work for which this process is active or standby, the partners that loops wait for, and the
        service's notes; all of this is ready.
        """
        excluded = request.query_params.getlist("exclude")
        unknown = sorted(set(excluded) - set(self._all_checks()))
        if unknown:
            return JSONResponse({"exclude": f"there is no check {', '.join(unknown)}"}, 400)
        answers = await self._asked(excluded)
        roles = {name: loop.role for name, loop in self.loops.items() if isinstance(loop, OneOfMany)}
        slow = {
            f"{name} waits": f"for {partner} since {seconds:.0f} s"
            for (name, partner), seconds in self._waits().items()
            if seconds >= SLOW_PARTNER_SECONDS
        }
        notes = {name: said for name, note in self.notes.items() if (said := note()) is not None}
        report = {**{name: answer or "ready" for name, answer in answers.items()}, **roles, **slow, **notes}
        return JSONResponse(report, 503 if any(answers.values()) else 200)

    def _waits(self) -> dict[tuple[str, str], float]:
        """How long each loop has waited for which partner, in seconds; of several calls the oldest."""
        now = time.monotonic()
        found: dict[tuple[str, str], float] = {}
        for name, loop in self.loops.items():
            for wait in loop.waits if isinstance(loop, Waiting) else ():
                seconds = now - wait.since
                found[name, wait.partner] = max(seconds, found.get((name, wait.partner), 0.0))
        return found

    async def _asked(self, excluded: Collection[str] = ()) -> dict[str, str | None]:
        """The answer of each dependency: None when it is ready, else the reason."""
        checks = {name: check for name, check in self._all_checks().items() if name not in excluded}
        answers = await asyncio.gather(*(_answer(check) for check in checks.values()))
        return dict(zip(checks, answers, strict=True))

    def _all_checks(self) -> Mapping[str, Check]:
        return self.checks if self.guard is None else {"store-identity": self.guard.check, **self.checks}

    async def _health(self) -> Health:
        now = time.monotonic()
        standing = {name: standing_seconds(loop, now) for name, loop in self._turning().items()}
        return Health(await self._asked(), standing)

    async def _metrics(self, _request: Request) -> Response:
        waits = self._waits()
        for name, partner in self._waited_for | waits.keys():
            self.metrics.set(meters.PARTNER_WAIT_SECONDS, waits.get((name, partner), 0.0), loop=name, partner=partner)
        self._waited_for |= waits.keys()
        return Response(generate_latest(self.metrics.registry), media_type=CONTENT_TYPE_LATEST)


def collect_seldom() -> None:
    """Freezes what was imported and built: it lives as long as the process, so the collector need not walk it.

    Looking for cycles every 700 objects took a third of a handler's time. The few cycles of messages wait for
    ``_collect_all_of_it``.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


async def _collect_all_of_it() -> None:
    """Frees objects in cycles, every ``COLLECT_SECONDS``, until cancelled.

    A quiet service takes an hour to reach the thresholds, and only a full collection gives the free lists back. It
    costs 3 to 9 ms of processor time, because all but some 8,000 objects are frozen.
    """
    while True:
        await asyncio.sleep(COLLECT_SECONDS)
        gc.collect()


async def _answer(check: Check) -> str | None:
    """None when ready, else the reason."""
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_SECONDS):
            await check()
    except TimeoutError:
        return f"no answer within {CHECK_TIMEOUT_SECONDS:g} s"
    except Exception as error:  # noqa: BLE001 (whatever it is, it is why the service is not ready)
        return str(error) or type(error).__name__
    return None


def _server(app: Guard, host: str, port: int) -> "_Server":
    return _Server(
        uvicorn.Config(
            app, host=host, port=port, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=2
        )
    )


class _Server(uvicorn.Server):
    """Leaves signals to the host."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
