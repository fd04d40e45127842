"""Makes Kafka's Java start in a third of its processor time: a run starts it again and again.

A short-lived JVM spends most time loading classes and compiling hot code. Here the classes come from a memory-mapped
archive, and only the quick compiler works. Kafka's behaviour does not change.
"""

import os
import subprocess
from pathlib import Path

from local_stack.kafka import QUICK_START, classpath, java


def options(jars: Path) -> tuple[str, ...]:
    """The options for Kafka from ``jars``. The first run writes the list of classes, the next one the archive."""
    listed, archive = jars.with_name(f"{jars.name}.classes"), jars.with_name(f"{jars.name}.jsa")
    if not listed.exists():
        return (*QUICK_START, f"-XX:DumpLoadedClassList={listed}")
    newest = max(path.stat().st_mtime for path in jars.rglob("*.jar"))
    is_old = not archive.exists() or archive.stat().st_mtime < newest
    if is_old and not _dump(jars, listed, archive):
        listed.unlink(missing_ok=True)  # cut off, as Kafka is killed here; the next run rewrites it
        return QUICK_START
    # Java ignores an archive that does not fit these jars or this Java.
    return (*QUICK_START, f"-XX:SharedArchiveFile={archive}", "-Xshare:auto")


def _dump(jars: Path, listed: Path, archive: Path) -> bool:
    part = archive.with_suffix(f".{os.getpid()}")
    done = subprocess.run(
        [java(), "-Xshare:dump", "-XX:+UseSerialGC", f"-XX:SharedClassListFile={listed}",
         f"-XX:SharedArchiveFile={part}", "-cp", classpath(jars)],
        check=False, capture_output=True, timeout=300,
    )  # fmt: skip
    if done.returncode == 0:
        part.replace(archive)
    return done.returncode == 0
