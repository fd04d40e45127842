"""The map of Book New Appointment: an own drawing of positions, without anybody's tiles."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, cos, floor, radians
from typing import Final

from omegaai_sim.blume.booking.places import PLACES, Position, Provider

WIDTH: Final = 640
HEIGHT: Final = 400
_MARGIN: Final = 1.35
_LEAST_DEGREES: Final = 0.6
_STEPS: Final = (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20)
_SCALES_KM: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
_MOST_LINES: Final = 7
_KM_A_DEGREE: Final = 111.195
Point = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Pin:
    """A facility: its number in the list, and its services."""

    point: Point
    number: int
    name: str
    services: frozenset[str]


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the grid, with its degrees in words. `at` is its x or y."""

    at: int
    words: str


@dataclass(frozen=True, slots=True)
class Map:
    """Points are in units of the drawing, from the upper left."""

    here: Point | None
    pins: Sequence[Pin]
    towns: Mapping[str, Point]
    meridians: Sequence[Line]
    parallels: Sequence[Line]
    scale_km: int
    scale_width: int


def drawn(place: str, providers: Sequence[Provider]) -> Map | None:
    """The map of bookable providers and of the patient's place; None without a position."""
    facilities = {one.facility.name: one.facility.position for one in providers if one.facility.position is not None}
    here = PLACES.get(place)
    known = [one for one in (here, *facilities.values()) if one is not None]
    if not known:
        return None
    view = _View.around(known)
    services = {name: frozenset(one.id for one in providers if one.facility.name == name) for name in facilities}
    pins = [
        Pin(view.point(position), number, name, services[name])
        for number, (name, position) in enumerate(facilities.items(), 1)
        if position is not None
    ]
    towns = {name.partition(",")[0]: view.point(at) for name, at in PLACES.items() if view.shows(at) and at != here}
    meridians = [Line(view.point((view.north, at))[0], _words(at, "E", "W")) for at in _grid(*view.easts)]
    scale = max((one for one in _SCALES_KM if view.km(one) <= WIDTH / 4), default=_SCALES_KM[0])
    return Map(
        here=None if here is None else view.point(here),
        pins=pins,
        towns=towns,
        meridians=[one for one in meridians if one.at < WIDTH - 50],
        parallels=[Line(view.point((at, view.west))[1], _words(at, "N", "S")) for at in _grid(*view.norths)],
        scale_km=scale,
        scale_width=round(view.km(scale)),
    )


@dataclass(frozen=True, slots=True)
class _View:
    """The part of the globe that is drawn: its upper left corner, and units a degree of latitude."""

    north: float
    west: float
    units: float
    narrowing: float

    @classmethod
    def around(cls, positions: Sequence[Position]) -> "_View":
        norths, easts = [one[0] for one in positions], [one[1] for one in positions]
        north, east = (max(norths) + min(norths)) / 2, (max(easts) + min(easts)) / 2
        narrowing = max(cos(radians(north)), 0.1)
        high = max((max(norths) - min(norths)) * _MARGIN, _LEAST_DEGREES)
        broad = max((max(easts) - min(easts)) * narrowing * _MARGIN, _LEAST_DEGREES)
        units = min(HEIGHT / high, WIDTH / broad)
        return cls(north + HEIGHT / units / 2, east - WIDTH / units / narrowing / 2, units, narrowing)

    @property
    def norths(self) -> tuple[float, float]:
        return self.north - HEIGHT / self.units, self.north

    @property
    def easts(self) -> tuple[float, float]:
        return self.west, self.west + WIDTH / self.units / self.narrowing

    def point(self, position: Position) -> Point:
        north, east = position
        return round((east - self.west) * self.narrowing * self.units), round((self.north - north) * self.units)

    def shows(self, position: Position) -> bool:
        x, y = self.point(position)
        return 30 <= x <= WIDTH - 80 and 44 <= y <= HEIGHT - 24

    def km(self, length: float) -> float:
        return length / _KM_A_DEGREE * self.units


def _grid(low: float, high: float) -> list[float]:
    step = next((one for one in _STEPS if (high - low) / one <= _MOST_LINES), _STEPS[-1])
    return [round(number * step, 2) for number in range(ceil(low / step), floor(high / step) + 1)]


def _words(degrees: float, above: str, below: str) -> str:
    return f"{abs(degrees):g}° {above if degrees >= 0 else below}"
