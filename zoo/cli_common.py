"""What all commands share: the app, options that several have, errors in words, and progress."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

if TYPE_CHECKING:
    from zoo.progress import Quiet

__all__ = ["DEFAULT", "Checkpoints", "Debug", "Out", "Overrides", "Quietly", "Run", "app", "reported", "shown_progress"]

DEFAULT = "ppo/CartPole-v1"

app = typer.Typer(
    help="Train, evaluate and watch agents with tuned configs.",
    invoke_without_command=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Overrides = Annotated[
    list[str] | None,
    typer.Option("-o", "--override", metavar="KEY=VALUE", help="Change an entry of the config, as agent.lr=1e-3."),
]
Run = Annotated[str, typer.Argument(metavar="RUN", help="A run folder, or 'last' for the latest one.")]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder below which runs are written.")]
Quietly = Annotated[bool, typer.Option("--quiet", "-q", help="Show the final score only.")]
Checkpoints = Annotated[float, typer.Option("--checkpoints", metavar="SECONDS", help="Time between checkpoints.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


@contextmanager
def reported(debug: bool) -> Iterator[None]:
    """Turn errors into one clear line and an exit code: 2 for a mistake in what was asked, 1 otherwise."""
    from envkit.errors import EnvkitError, UnknownEnvError
    from zoo.errors import UsageError

    try:
        yield
    except EnvkitError as error:
        if debug:
            raise
        for line in str(error).splitlines():
            typer.echo(f"error: {line}", err=True)
        raise typer.Exit(2 if isinstance(error, (UsageError, UnknownEnvError)) else 1) from None
    except OSError as error:
        if debug:
            raise
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def shown_progress(total_steps: int, quiet: bool) -> Quiet:
    """Return what shows how far training is: a bar in a terminal, a line now and then elsewhere."""
    from zoo.progress import LiveBar, PlainLines, Quiet

    if quiet:
        return Quiet()
    console = Console()
    return LiveBar(total_steps, console) if console.is_terminal else PlainLines(total_steps, typer.echo)
