"""The ``envkit`` command."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from envkit.checks import Diagnosis, diagnose
from envkit.checks.targets import BASE, env_maker
from envkit.errors import EnvkitError
from envkit.libs.available import LIBRARIES, Library

__all__ = ["main"]

WELL, SICK, NOT_FOUND = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code: 0 if nothing is wrong, 1 if something is, 2 if there is no such env."""
    options = _parser().parse_args(arguments)
    return options.run(options)


def _check(options: argparse.Namespace) -> int:
    verdicts: list[Diagnosis] = []
    for target in options.target:
        try:
            maker = env_maker(target, on=options.on)
        except (EnvkitError, ImportError) as error:
            print(f"envkit check: {error}", file=sys.stderr)
            return NOT_FOUND
        verdicts.append(diagnose(maker, target))
    if options.json:
        print(json.dumps([verdict.to_dict() for verdict in verdicts], indent=1))
    else:
        print("\n\n".join(map(str, verdicts)))
    return SICK if any(verdict.findings for verdict in verdicts) else WELL


def _list(options: argparse.Namespace) -> int:
    if options.json:
        print(json.dumps([_row(library) for library in LIBRARIES], indent=1))
        return WELL
    lines = [("library", "state", "envs", "tested against")]
    for one in LIBRARIES:
        state = f"installed {one.version or ''}" if one.installed else f"missing: {one.install}"
        lines.append((one.name, state, ", ".join(one.envs), one.proof))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    return WELL


def _row(library: Library) -> dict[str, object]:
    return {
        "library": library.name,
        "installed": library.installed,
        "version": library.version,
        "install": library.install,
        "envs": library.envs,
        "tested against": library.proof,
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="envkit", description="Tools for environments.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    check = commands.add_parser(
        "check",
        help="examine envs and report everything that is wrong with them",
        description="Examine envs and report everything that is wrong with them. Exit code 0: nothing is wrong; "
        "1: something is; 2: there is no such env.",
    )
    check.add_argument(
        "target",
        nargs="+",
        help="package.module:make_env (a function, a class, an env, a vector env, a transform), or a Gymnasium id",
    )
    check.add_argument("--on", default=BASE, metavar="ENV", help=f"what transforms are examined on ({BASE})")
    check.add_argument("--json", action="store_true", help="print the verdicts as JSON")
    check.set_defaults(run=_check)
    listing = commands.add_parser(
        "list",
        help="list the simulators that there are wrappers for, and how to install them",
        description="List the simulators that there are wrappers for, and how to install those that are missing. "
        "'fake': the library cannot be installed everywhere, tests run against a small fake of its interface.",
    )
    listing.add_argument("--json", action="store_true", help="print the rows as JSON")
    listing.set_defaults(run=_list)
    return parser


if __name__ == "__main__":
    sys.exit(main())
