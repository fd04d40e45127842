"""The staff's pages."""

from starlette.routing import Route

from omegaai_sim.context import Services


def routes(services: Services) -> list[Route]:  # noqa: ARG001
    return []
