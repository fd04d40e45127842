"""Where a process may die in the library: a Task's effect is committed, and OmegaAI does not know that it is done."""

from typing import Final

from chassis.failpoints import declare

TASKS_AFTER_COMMIT_BEFORE_COMPLETE: Final = declare("tasks.after-commit-before-complete")
