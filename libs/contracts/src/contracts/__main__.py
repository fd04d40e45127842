"""``python -m contracts``: makes the contracts' files, checks them against the released ones, releases."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from contracts import artefacts, examples, topics
from contracts.artefacts import Catalogue
from contracts.catalogue import REGISTRY

_FINE, _REFUSED, _MISUSED = 0, 1, 2
_HOME = Path(__file__).resolve().parents[2]


def generate(catalogue: Catalogue, root: Path, *, check_only: bool = False) -> int:
    """Writes the schemas, examples and AsyncAPI documents, or names the files that are out of date."""
    if check_only:
        stale = artefacts.stale_files(catalogue, root)
        for path in stale:
            _say(f"not up to date: {path}")
        if stale:
            _say(f"Refused: {len(stale)} files differ from the models. Run: python -m contracts generate")
            return _REFUSED
        _say(f"All {len(artefacts.made_files(catalogue))} files are what the models give.")
        return _FINE
    touched = artefacts.write_files(catalogue, root)
    for path in touched:
        _say(f"wrote {path}")
    _say(f"Done: {len(artefacts.made_files(catalogue))} files, {len(touched)} of them changed.")
    return _FINE


def check(catalogue: Catalogue, root: Path) -> int:
    """Fails on stale files and on every change that breaks an older reader or writer."""
    stale = artefacts.stale_files(catalogue, root)
    breaches = artefacts.breaches(catalogue, root)
    for path in stale:
        _say(f"not up to date: {path}. Run: python -m contracts generate")
    for breach in breaches:
        _say(breach)
    if stale or breaches:
        _say(
            f"Refused: {len(breaches)} changes break an older reader or writer, {len(stale)} files are not up to date."
        )
        return _REFUSED
    waiting = artefacts.unreleased(catalogue, root)
    kept = len(catalogue.registry.messages())
    note = f" Not released yet: {', '.join(waiting)} (python -m contracts release)." if waiting else ""
    _say(f"Contracts hold: {kept} message versions and {len(catalogue.topics)} topics fit what is released.{note}")
    return _FINE


def release(catalogue: Catalogue, root: Path) -> int:
    """Freezes the present versions, unless one of them breaks a released version."""
    if check(catalogue, root) != _FINE:
        _say("Nothing was released.")
        return _REFUSED
    written = artefacts.release(catalogue, root)
    for path in written:
        _say(f"froze {path}")
    _say(f"Released: {len(written)} files written." if written else "Everything was released already.")
    return _FINE


def main(arguments: Sequence[str] | None = None, catalogue: Catalogue | None = None) -> int:
    """Runs one command and returns the exit code: 0 fine, 1 refused, 2 used wrongly."""
    options = _parser().parse_args(arguments)
    root: Path = options.root
    if not (root / "pyproject.toml").is_file():
        _say(f"{root} is no contracts folder: run it from a checkout, or say --root libs/contracts")
        return _MISUSED
    chosen = catalogue or Catalogue(REGISTRY, topics.TOPICS, examples.EXAMPLES)
    if options.command == "generate":
        return generate(chosen, root, check_only=options.check)
    commands: dict[str, Callable[[Catalogue, Path], int]] = {"check": check, "release": release}
    return commands[options.command](chosen, root)


def _say(line: object) -> None:
    print(line)  # noqa: T201 - what the person at the keyboard reads


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m contracts",
        description="Makes, checks and releases the versioned messages of the suite.",
        epilog="Exit codes: 0 fine, 1 refused (the last line says why), 2 used wrongly.",
    )
    parser.add_argument("--root", type=Path, default=_HOME, help="the contracts' folder (default: %(default)s)")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    made = commands.add_parser("generate", help="write schemas, examples and AsyncAPI documents from the models")
    made.add_argument("--check", action="store_true", help="write nothing; fail when a file is not up to date")
    commands.add_parser("check", help="compare with the released schemas; fail on changes that break older programs")
    commands.add_parser("release", help="freeze the present versions")
    return parser


if __name__ == "__main__":
    sys.exit(main())
