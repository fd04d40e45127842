"""One appointment, step by step, each step timed and shown as it happens."""

import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from rich.console import Console

from demo_story.clients import Addresses, Patient, People, StoryError, until
from demo_story.people_made_up import patient as made_up

T = TypeVar("T")


class Steps:
    """Shows each step with a mark and its time."""

    def __init__(self, console: Console) -> None:
        self._console = console

    async def seen(self, text: str, condition: Callable[[], Awaitable[T | None]]) -> T:
        started = time.monotonic()
        with self._console.status(text):
            answer = await until(text, condition)
        self._console.print(f"  [green]✓[/] {text} [dim]{(time.monotonic() - started) * 1000:.0f} ms[/]")
        return answer


async def play(people: People, addresses: Addresses, console: Console) -> str:
    """Staff book, the patient confirms, two mails arrive. Returns the placer number. Raises ``StoryError``."""
    steps = Steps(console)
    who = made_up(0)
    slots = await people.free_slots(1)
    if not slots:
        raise StoryError("PowerServer has no free slot")
    console.print("[bold]The story[/]: an appointment is booked in PowerServer and confirmed in Blume")
    placer_number = await people.book(who, slots[0])
    console.print(f"  [green]✓[/] Staff booked {slots[0]['resource']} in PowerServer: SCHEDULED")

    async def logged_in() -> Patient | None:
        return await people.log_in(who["email"])

    patient = await steps.seen("The patient's account is at the Blume portal", logged_in)
    try:

        async def label(wanted: str) -> dict[str, Any] | None:
            card = await patient.card(placer_number)
            return card if card and card["label"] == wanted else None

        async def mail_count(wanted: int) -> bool:
            async with people.http.get(f"{addresses.mailsink}/api/mails", params={"to": who["email"]}) as response:
                return len((await response.json())["mails"]) >= wanted

        card = await steps.seen("Blume shows the card as Pending", lambda: label("Pending"))
        await steps.seen("A mail asks the patient to confirm", lambda: mail_count(1))
        await patient.confirm(str(card["id"]))
        console.print("  [green]✓[/] The patient pressed Confirm")
        await steps.seen("Blume shows Scheduled", lambda: label("Scheduled"))

        async def confirmed() -> bool:
            return await people.status_in_powerserver(placer_number) == "CONFIRMED"

        await steps.seen("PowerServer shows CONFIRMED", confirmed)
        await steps.seen("A mail says that it is confirmed", lambda: mail_count(2))
    finally:
        await patient.leave()
    return placer_number
