"""``python -m roster``: generate what follows from the members' files. Exit codes: 0 done; 1 something is wrong."""

import argparse
import os
import sys
from pathlib import Path

from roster.members import ROOT, RosterError, read


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m roster", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    generate = commands.add_parser("generate", help="write every file that follows from the members' files")
    generate.add_argument("--check", action="store_true", help="write nothing; fail when a file is not up to date")
    options = parser.parse_args(arguments)
    from roster.generated import PartError

    try:
        return check(ROOT) if options.check else write(ROOT)
    except RosterError as error:
        for line in error.problems:
            print(f"roster: {line}", file=sys.stderr)
    except PartError as error:
        print(f"roster: {error}", file=sys.stderr)
    return 1


def write(root: Path) -> int:
    from roster import generated

    changed = generated.write(read(root), root)
    for path in changed:
        print(f"wrote {os.path.relpath(path)}")
    print(f"roster: {len(changed)} files written")
    return 0


def check(root: Path) -> int:
    from roster import generated
    from roster.subscriptions import problems

    roster = read(root)
    found = [
        f"{path.relative_to(root)}: is not what the members' files say: {generated.COMMAND}"
        for path in generated.drifted(roster, root)
    ]
    found += problems(roster)
    for line in found:
        print(f"roster: {line}", file=sys.stderr)
    print(f"roster: {len(roster.services)} services, {len(roster.simulators)} simulators, {len(found)} problems")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
