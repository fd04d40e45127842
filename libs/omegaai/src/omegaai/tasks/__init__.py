"""OmegaAI's Task queue for several services: each reads what it claims, and leaves the rest as it is."""

from omegaai.tasks.claims import CLAIMS, claimant
from omegaai.tasks.cursor import Cursor, StoredCursor
from omegaai.tasks.model import ParkedTask, Task, TaskItem
from omegaai.tasks.reader import Read, TaskReader, parked
from omegaai.tasks.unclaimed import UnclaimedTask, unclaimed_tasks

__all__ = [
    "CLAIMS",
    "Cursor",
    "ParkedTask",
    "Read",
    "StoredCursor",
    "Task",
    "TaskItem",
    "TaskReader",
    "UnclaimedTask",
    "claimant",
    "parked",
    "unclaimed_tasks",
]
