"""R8: both ends are equal at rest whatever happens in between, and what is broken is seen.

``MODEL_SEED=n`` starts elsewhere, ``MODEL_STEPS=n`` makes it longer. A failure prints its steps and what came of each;
``MODEL_SHRINK=1`` looks for the shortest story that shows it, which takes minutes.
"""

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from both_ends_machine import BothEnds
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.internal.conjecture.providers import HypothesisProvider
from hypothesis.stateful import run_state_machine_as_test

from chassis.testing.depth import DEPTH
from scheduler_sync.adapters.omegaai import sender
from scheduler_sync.adapters.powerserver import sender as powerserver_sender
from scheduler_sync.commands import ReceiveOmegaAIAppointment
from scheduler_sync.domain.appointment import (
    Announcement,
    AppointmentLink,
    Move,
    State,
    System,
    Trigger,
    WorkflowStep,
    transitions,
)
from scheduler_sync.domain.patient import patient
from scheduler_sync.store import repositories

STEPS = int(os.environ.get("MODEL_STEPS", DEPTH.model_steps))
SEED = int(os.environ.get("MODEL_SEED", "1"))
PHASES = (Phase.generate, Phase.shrink) if "MODEL_SHRINK" in os.environ else (Phase.generate,)
STEPS_PER_STORY = 100


@pytest.fixture(autouse=True)
def same_seed_same_stories(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hypothesis now and then draws a constant from whatever modules are loaded: not here."""
    monkeypatch.setattr(HypothesisProvider, "_maybe_draw_constant", lambda *_, **__: None)


def run_stories(machine: type[BothEnds], *, stories: int, first_seed: int, phases: tuple[Phase, ...]) -> None:
    run_state_machine_as_test(
        seed(first_seed)(machine),
        settings=settings(
            max_examples=stories, stateful_step_count=STEPS_PER_STORY, deadline=None, database=None, phases=phases,
            suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip


@pytest.mark.timeout(600)
def test_both_ends_are_equal_whenever_everything_came_through() -> None:
    BothEnds.steps, number = 0, SEED
    while BothEnds.steps < STEPS:
        print(f"MODEL_SEED={number}, {BothEnds.steps} steps so far")
        run_stories(BothEnds, stories=100, first_seed=number, phases=PHASES)
        number += 1
    print(f"{BothEnds.steps} steps")
    assert BothEnds.steps >= STEPS


def writes_over_the_patient(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(sender, "status_to_write", lambda ours, *_, **__: ours)


def keeps_a_cancellation_to_itself(patch: pytest.MonkeyPatch) -> None:
    moves = dict(transitions.TRANSITIONS[State.CONFIRMED])
    moves[Trigger.PATIENT_CANCELLED] = Move(State.CANCELLED, WorkflowStep.CANCELLED, Announcement.CANCELLED)
    patch.setitem(transitions.TRANSITIONS, State.CONFIRMED, moves)  # type: ignore[arg-type]


def takes_what_is_old_for_news(patch: pytest.MonkeyPatch) -> None:
    hear = AppointmentLink.hear_powerserver

    def hear_all(self: AppointmentLink, *values: Any, **more: Any) -> Any:
        return hear(replace(self, powerserver_heard_at=None), *values, **more)

    patch.setattr(AppointmentLink, "hear_powerserver", hear_all)


def brings_a_completed_exam_back(patch: pytest.MonkeyPatch) -> None:
    moves = {
        **transitions.TRANSITIONS[State.DONE],
        Trigger.STAFF_UPDATED: Move(State.STAFF_BOOKED, tells=frozenset({System.OMEGAAI})),
    }
    patch.setitem(transitions.TRANSITIONS, State.DONE, moves)  # type: ignore[arg-type]


def sends_what_staff_have_moved_on_from(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(powerserver_sender, "sets_powerserver_back", lambda *_, **__: False)


def sends_what_was_overtaken(patch: pytest.MonkeyPatch) -> None:
    async def anything_goes(*_: Any) -> None: ...

    patch.setattr(sender.OmegaAISender, "_check_that_none_went_before", anything_goes)


def writes_without_the_lease(patch: pytest.MonkeyPatch) -> None:
    async def update(self: Any, _: Any, kind: str, found: Any, body: Any) -> Any:
        return await self._client.update(kind, found.id, body, version=found.version)

    patch.setattr(sender.OmegaAISender, "_update", update)


def gives_all_details_one_time(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(patient.Patient, "_detail_heard_at", lambda self, _: self.heard_at)


def forgets_who_asks_in_blume(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ReceiveOmegaAIAppointment, "may_begin_in_blume", False)


def keeps_half_of_what_failed_in_a_batch(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(repositories.PatientRepository, "rollback_to", lambda *_: None)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("breaks", "seen_as", "first_seed"),
    [
        (writes_over_the_patient, "wipes out the patient's", 2),
        (keeps_a_cancellation_to_itself, "OmegaAI's is cancelled", 2),
        (takes_what_is_old_for_news, "OmegaAI|events of", 3),
        (brings_a_completed_exam_back, "illegal: done to staff-booked", 2),
        (sends_what_staff_have_moved_on_from, "as the suite knows, and goes back to|is SCHEDULED, OmegaAI's", 3),
        (sends_what_was_overtaken, "OmegaAI", 2),
        (writes_without_the_lease, "OmegaAI", 2),
        (gives_all_details_one_time, "OmegaAI", 5),
        (forgets_who_asks_in_blume, "nobody is told that a patient asks", 2),
        (keeps_half_of_what_failed_in_a_batch, "OmegaAI has|patient.updated: revision", 2),
    ],
)
def test_what_is_broken_is_seen(
    breaks: Callable[[Any], None], seen_as: str, first_seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``first_seed``: where it is seen soon; other seeds show it later."""
    breaks(monkeypatch)
    with pytest.raises(AssertionError, match=seen_as) as seen:
        run_stories(BothEnds, stories=300, first_seed=first_seed, phases=(Phase.generate,))
    assert "what happened:" in str(seen.value)
    assert "the suite's history:" in str(seen.value)
