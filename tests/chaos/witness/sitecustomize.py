"""In each process of a soak: records every few seconds the number of blocks that Python has allocated.

Python imports this file by its name when the folder is on its path; the services do not know it.
"""

import os
import sys
import threading
import time
from pathlib import Path

NOTE_SECONDS = 4.0


def _note(path: Path) -> None:
    half = path.with_suffix(".half")
    while True:
        half.write_text(str(sys.getallocatedblocks()))
        half.replace(path)
        time.sleep(NOTE_SECONDS)


if folder := os.environ.get("SOAK_WITNESS_FOLDER"):
    threading.Thread(target=_note, args=(Path(folder) / f"{os.getpid()}.blocks",), daemon=True).start()
