"""The library's metrics. A service that reads the Task queue names them in its own ``metrics`` as well."""

from typing import Final

from chassis.observe import Counter, Gauge

TASK_READER_ACTIVE: Final = Gauge("task_reader_active", "1 in the process that reads OmegaAI's Task queue")
TASKS_OPEN: Final = Gauge(
    "omegaai_tasks_open",
    "OmegaAI's open Tasks by the service that handles them; nobody: unclaimed for longer than a while",
    "claimed_by",
)
TASKS_FOUND_LATE: Final = Counter(
    "omegaai_tasks_found_late_total", "OmegaAI's Tasks that only a look from the queue's start has found"
)
