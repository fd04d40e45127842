"""Pairs PowerServer's resources with OmegaAI's HealthcareServices, and compares each pair field by field.

PowerServer's values are the proposed fix: staff book there, and the appointments follow its grid.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from uuid import UUID

from scheduler_sync.domain.resource.hours import Hours
from scheduler_sync.domain.resource.names import NearMiss, NearNames, Nearness
from scheduler_sync.domain.resource.resource import Description


class PairState(StrEnum):
    """How a resource stands on both sides."""

    ONLY_OAI = "only-oai"
    ONLY_PS = "only-ps"
    LINKED = "linked"
    DRIFTED = "drifted"
    INACTIVE = "inactive"


@dataclass(frozen=True, slots=True)
class FieldDrift:
    """A field that the two sides say differently. ``can_apply``: writing PowerServer's value to OmegaAI is a fix."""

    field: str
    powerserver: str
    omegaai: str
    can_apply: bool = True


@dataclass(frozen=True, slots=True)
class Side:
    """A resource of one side: its id in the store, and what the side says."""

    id: UUID
    description: Description
    aliases: tuple[str, ...] = ()
    """Of OmegaAI's side: the names in PowerServer that a person has decided to mean this resource."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A resource on both sides, or on one. ``id``: OmegaAI's side's where there is one, else PowerServer's."""

    id: UUID
    facility: str
    name: str
    state: PairState
    powerserver: Side | None = None
    omegaai: Side | None = None
    drift: tuple[FieldDrift, ...] = ()
    near: tuple[NearMiss, ...] = ()


_NOTHING: Final = "–"


def _compared_hours(powerserver: Description, omegaai: Description) -> FieldDrift | None:
    ours, theirs = powerserver.hours, omegaai.hours
    if ours is None:
        return None
    if theirs is None:
        return FieldDrift("hours", ours.words(), _NOTHING, can_apply=ours.has_weekdays)
    if ours.agrees_with(theirs):
        return None
    return FieldDrift("hours", ours.words(), theirs.words(), can_apply=ours.applied_to(theirs) is not None)


def _compared(
    field: str, words: Callable[[Description], str | None], *, can_apply: bool = True
) -> Callable[[Description, Description], FieldDrift | None]:
    def compare(powerserver: Description, omegaai: Description) -> FieldDrift | None:
        ours, theirs = words(powerserver), words(omegaai)
        return None if ours is None or ours == theirs else FieldDrift(field, ours, theirs or _NOTHING, can_apply)

    return compare


def _switch(value: bool | None) -> str | None:  # noqa: FBT001 (a value of three states)
    return None if value is None else "on" if value else "off"


_COMPARISONS: Final[Sequence[Callable[[Description, Description], FieldDrift | None]]] = (
    _compared("modality", lambda one: one.modality),
    _compared_hours,
    _compared("duration", lambda one: None if one.duration_minutes is None else f"{one.duration_minutes} min"),
    _compared("overbooking", lambda one: _switch(one.overbooking)),
    _compared("active", lambda one: _switch(one.active)),
    _compared("organization", lambda one: one.organization, can_apply=False),  # moving a service is OmegaAI's act
)
FIELDS: Final = ("modality", "hours", "duration", "overbooking", "active", "organization")


def drift_of(powerserver: Description, omegaai: Description) -> tuple[FieldDrift, ...]:
    """The fields that differ, in the order of ``FIELDS``. The name is not among them: it made the pair."""
    found = (compare(powerserver, omegaai) for compare in _COMPARISONS)
    return tuple(one for one in found if one is not None)


def pair(
    facility: str,
    powerserver: Sequence[Side],
    omegaai: Sequence[Side],
    *,
    site_aliases: Mapping[str, str],
    elsewhere: Mapping[str, str] | None = None,
) -> list[Pair]:
    """All resources of one facility as pairs, sorted by name.

    A name joins exactly; then a person's alias, then the site file's (PowerServer's name to OmegaAI's). Of two services
    of one name the first active one is taken. ``elsewhere``: names at other facilities in OmegaAI, to their facility.
    """
    by_name: dict[str, Side] = {}
    for one in sorted(omegaai, key=lambda side: (side.description.active is False, str(side.id))):
        by_name.setdefault(one.description.name, one)
    by_alias = {alias: one for one in omegaai for alias in one.aliases}
    looks: tuple[Callable[[str], Side | None], ...] = (
        by_name.get,
        by_alias.get,
        lambda name: by_name.get(site_aliases.get(name, "")),
    )
    taken: dict[UUID, Side] = {}
    alone = sorted(powerserver, key=lambda side: (side.description.active is False, side.description.name))
    for look in looks:  # all exact names before the first alias
        left_over = []
        for one in alone:
            found = look(one.description.name)
            if found is None or found.id in taken:
                left_over.append(one)
            else:
                taken[found.id] = one
        alone = left_over
    left = [one for one in omegaai if one.id not in taken]
    pairs = [_joined(facility, taken[one.id], one) for one in omegaai if one.id in taken]
    pairs += _alone(facility, alone, left, elsewhere or {})
    return sorted(pairs, key=lambda one: (one.name, str(one.id)))


def _joined(facility: str, powerserver: Side, omegaai: Side) -> Pair:
    drift = drift_of(powerserver.description, omegaai.description)
    is_off = powerserver.description.active is False and omegaai.description.active is False
    state = PairState.INACTIVE if is_off else PairState.DRIFTED if drift else PairState.LINKED
    return Pair(omegaai.id, facility, omegaai.description.name, state, powerserver, omegaai, () if is_off else drift)


def _alone(facility: str, ours: Sequence[Side], theirs: Sequence[Side], elsewhere: Mapping[str, str]) -> list[Pair]:
    near_theirs = NearNames(one.description.name for one in theirs)
    near_ours = NearNames(one.description.name for one in ours)
    pairs = []
    for one in ours:
        name = one.description.name
        near = tuple(near_theirs.of(name))
        if not near and name in elsewhere:
            near = (NearMiss(elsewhere[name], Nearness.FACILITY),)
        state = PairState.INACTIVE if one.description.active is False else PairState.ONLY_PS
        pairs.append(Pair(one.id, facility, name, state, one, None, (), near))
    for one in theirs:
        name = one.description.name
        state = PairState.INACTIVE if one.description.active is False else PairState.ONLY_OAI
        pairs.append(Pair(one.id, facility, name, state, None, one, (), tuple(near_ours.of(name))))
    return pairs


def wanted_hours(powerserver: Hours, omegaai: Hours | None) -> Hours | None:
    """OmegaAI's hours after the fix; None when no fix can be proposed."""
    return powerserver.applied_to(omegaai or Hours.of_week({}))
