"""Kafka's Java made to start in a third of its processor time: a run starts it again and again.

A JVM takes most of a short life to load classes and to compile what is called often. The classes come from an archive
that is mapped instead of parsed; only the quick compiler works. Neither changes what Kafka does.
"""

import os
import subprocess
from pathlib import Path

from local_stack.kafka import QUICK_START, classpath, java


def options(jars: Path) -> tuple[str, ...]:
    """The options for Kafka from ``jars``. The first run writes the list of classes, the next one makes the archive."""
    listed, archive = jars.with_name(f"{jars.name}.classes"), jars.with_name(f"{jars.name}.jsa")
    if not listed.exists():
        return (*QUICK_START, f"-XX:DumpLoadedClassList={listed}")
    newest = max(path.stat().st_mtime for path in jars.rglob("*.jar"))
    is_old = not archive.exists() or archive.stat().st_mtime < newest
    if is_old and not _dump(jars, listed, archive):
        listed.unlink(missing_ok=True)  # cut off in the middle, as Kafka is here; the next run writes it again
        return QUICK_START
    # An archive that does not fit these jars or this Java is passed over.
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
