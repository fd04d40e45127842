"""``python -m roster``: generates files from the members' files; makes a new service.

Exit codes: 0 done; 1 a problem was found; 2 wrong usage.
"""

import argparse
import os
import sys
from pathlib import Path

from roster.members import ROOT, RosterError, read


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m roster", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    generate = commands.add_parser("generate", help="write every file that is derived from the members' files")
    generate.add_argument("--check", action="store_true", help="write nothing; fail when a file is not up to date")
    new = commands.add_parser("new", help="make a service: a folder with its tests that passes every check")
    new.add_argument("name", help="such as form-router: small letters, digits and single hyphens")
    options = parser.parse_args(arguments)
    from chassis.settings import SettingsError
    from roster.generated import PartError
    from roster.new_service import NewServiceError

    try:
        if options.command == "new":
            return make(ROOT, options.name)
        return check(ROOT) if options.check else write(ROOT)
    except (RosterError, SettingsError) as error:  # SettingsError: a route declares no access
        for line in error.problems:
            print(f"roster: {line}", file=sys.stderr)
    except (PartError, NewServiceError) as error:
        print(f"roster: {error}", file=sys.stderr)
    return 1


def write(root: Path) -> int:
    from roster import generated

    changed = generated.write(read(root), root)
    for path in changed:
        print(f"wrote {os.path.relpath(path)}")
    if root == ROOT:
        _write_access()
    print(f"roster: {len(changed)} files written")
    return 0


def _write_access() -> None:
    from roster import access

    try:
        if access.write(read(ROOT)):
            print(f"wrote {access.PAGE}")
    except ImportError as error:
        print(f"roster: {access.PAGE} is left as it is: {error}: run make setup, then make generate")


def make(root: Path, name: str) -> int:
    from roster import new_service

    written = new_service.make(root, name)
    for path in written:
        print(f"wrote {path.relative_to(root)}")
    print(f"roster: services/{name} is there; next: make check, make test ARGS=services/{name}, make up")
    return 0


def check(root: Path) -> int:
    from roster import access, generated
    from roster.subscriptions import problems

    roster = read(root)
    found = [
        f"{path.relative_to(root)}: is not what the members' files say: {generated.COMMAND}"
        for path in generated.drifted(roster, root)
    ]
    found += problems(roster)
    if root == ROOT and not access.is_current(roster):
        found.append(f"{access.PAGE}: is not what the services' routes declare: {generated.COMMAND}")
    for line in found:
        print(f"roster: {line}", file=sys.stderr)
    print(f"roster: {len(roster.services)} services, {len(roster.simulators)} simulators, {len(found)} problems")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
