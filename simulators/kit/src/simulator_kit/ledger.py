"""The ledger: every event, append-only, in the transaction of the event. `Work.record` appends to it."""

import json
from collections.abc import Mapping
from typing import Any, Final

from simulator_kit.store import Work

MOST_ROWS: Final = 10_000
FILTERS: Final = ("kind", "subject")


def rows(work: Work, *, after: int, limit: int, filters: Mapping[str, str]) -> dict[str, Any]:
    """`{"rows": [{seq, at, direction, kind, subject, detail}], "last"}`: rows above `after`, oldest first.

    `filters` maps a name of `FILTERS` to its value. `last` is the seq of the newest row, 0 without one.
    """
    where = "".join(f" AND {name} = ?" for name in FILTERS if name in filters)
    found = work.all(
        f"SELECT * FROM ledger WHERE seq > ?{where} ORDER BY seq LIMIT ?",  # noqa: S608 - fixed names
        after, *(filters[name] for name in FILTERS if name in filters), limit,
    )  # fmt: skip
    last = work.one("SELECT coalesce(max(seq), 0) AS last FROM ledger")
    return {
        "rows": [{**dict(row), "detail": json.loads(row["detail"])} for row in found],
        "last": last["last"] if last is not None else 0,
    }
