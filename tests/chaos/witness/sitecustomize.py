"""In each process of a soak: notes every few seconds how many blocks Python has allocated.

Python imports this by its name when the folder is on its path; the services know nothing of it.
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
