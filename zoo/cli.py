"""The ``zoo`` command: parse, call a function a user could call, print."""

from __future__ import annotations

import sys

try:
    import typer
    from rich.console import Console  # noqa: F401 - the commands need it
except ImportError as missing:
    raise SystemExit(f"the zoo command needs {missing.name}: pip install 'envkit[zoo]'") from missing

from zoo import cli_run, cli_seeds
from zoo.cli_common import DEFAULT, app

__all__ = ["app", "cli_run", "cli_seeds", "main"]


@app.callback()
def welcome(context: typer.Context) -> None:
    """Train, evaluate and watch agents with tuned configs."""
    if context.invoked_subcommand is None:
        typer.echo(
            "Three commands to start with:\n\n"
            f"  zoo train        train {DEFAULT}, under a minute\n"
            "  zoo eval last    how good is the agent?\n"
            "  zoo video last   watch it\n\n"
            "`zoo list` shows what else can be trained, `zoo --help` all commands."
        )


def main() -> None:
    """Run the ``zoo`` command."""
    # Windows consoles may not know ±; a replacement character beats a traceback.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    app()


if __name__ == "__main__":
    main()
