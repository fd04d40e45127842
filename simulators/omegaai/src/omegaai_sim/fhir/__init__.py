"""FHIR R4, OAuth 2, the event feed and the Task queue. It calls no other feature: features hook into its changes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from starlette.routing import BaseRoute, Route, WebSocketRoute

from omegaai_sim.context import Services
from omegaai_sim.fhir import drift, tasks
from omegaai_sim.fhir.api import Api
from omegaai_sim.fhir.auth import Tokens
from omegaai_sim.fhir.dialect import DialectSwitch
from omegaai_sim.fhir.feed import Feed
from simulator_kit import misbehaviour
from simulator_kit.feature import Feature
from simulator_kit.misbehaviour import Mode, Target
from simulator_kit.store import Work

_STRANGERS: Final = (
    Mode("redirect", "Answers 307 to a login, as a proxy in front of OmegaAI does. Nothing is done."),
    Mode("page", "Answers 200 with a web page, as a proxy in front of OmegaAI does. Nothing is done."),
    Mode("endless", "Answers with JSON that never ends. Nothing is done."),
)
_STATUSES: Final = range(400, 600)
TARGETS: Final = (
    Target(
        "fhir",
        "A FHIR request.",
        [
            misbehaviour.status(503, _STATUSES, "Answers with `status` (429, 503: Retry-After: 1). Nothing is done."),
            misbehaviour.slow(2.0),
            Mode(
                "accept-then-timeout",
                "Does the work, is silent for `seconds`, then cuts the connection.",
                seconds=2.0,
            ),
            misbehaviour.CUT,
            *_STRANGERS,
        ],
    ),
    Target(
        "token",
        "A request for an access token.",
        [
            misbehaviour.status(503, _STATUSES),
            Mode("refuse", "Answers 401 invalid_client, as to an expired secret."),
            *_STRANGERS,
        ],
    ),
    Target(
        "feed",
        "A record of the event feed.",
        [
            misbehaviour.DROP,
            misbehaviour.DUPLICATE,
            misbehaviour.REORDER,
            Mode("cut", "Ends all hub connections; the record is lost."),
        ],
    ),
)


def health(work: Work) -> Mapping[str, Any]:
    row = work.one("SELECT count(*) AS n FROM resource")
    return {"resources": row["n"] if row else 0}


def _routes(services: Services) -> Sequence[BaseRoute]:
    tokens = Tokens(services.settings.token_seconds, services.misbehaviour)
    feed = Feed(services.store, tokens, services.misbehaviour)
    services.streams.append(feed.close)
    dialect = DialectSwitch(services.settings.dialect)
    return [
        Route("/auth/oauth2/v2.0/token", tokens.answer, methods=["POST"]),
        Route("/auth/Token/SignalRConnectionInfo", feed.connection_info),
        WebSocketRoute("/auth/hubs/{hub}", feed.connect),
        Route("/control/dialect", dialect.answer, methods=["GET", "POST"]),
        tasks.route(services.store),
        drift.route(services.store),
        *Api(services.store, tokens, services.misbehaviour, dialect).routes(),
    ]


FEATURE: Final = Feature[Services](Path(__file__).parent, routes=_routes)
