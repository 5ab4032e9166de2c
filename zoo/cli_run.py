"""Commands about one run: training, judging and watching."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from zoo.cli_common import DEFAULT, Checkpoints, Debug, Out, Overrides, Quietly, Run, app, reported, shown_progress

if TYPE_CHECKING:
    from zoo.config import RunConfig
    from zoo.train import TrainResult

__all__ = ["evaluate", "list_configs", "resume", "train", "video"]

# The commands import the modules that do the work: loading PyTorch takes seconds, `zoo --help` should not.


@app.command()
def train(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help=f"A config of `zoo list`, or a YAML file ({DEFAULT})."),
    ] = None,
    override: Overrides = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of the run.")] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="Environment steps to train for.")] = None,
    out: Out = Path("runs"),
    checkpoints: Checkpoints = 60.0,
    quiet: Quietly = False,
    debug: Debug = False,
) -> None:
    """Train an agent, evaluate it, and keep everything in a run folder."""
    with reported(debug):
        from zoo.registry import find_config
        from zoo.run import RunFolder, runs_folder
        from zoo.train import train

        options = {"seed": seed, "total_steps": steps}
        given = [f"{key}={value}" for key, value in options.items() if value is not None]
        config = find_config(name or DEFAULT, [*(override or []), *given])
        folder = RunFolder.create(runs_folder(out, config), seed=config.seed)
        if not quiet:
            typer.echo(
                f"{'No name given: training' if name is None else 'Training'} {config.name}, "
                f"{config.total_steps:,} steps, seed {config.seed}, into {folder.path}"
            )
        with shown_progress(config.total_steps, quiet) as progress, _interruptible(folder.path):
            result = train(config, folder, progress, checkpoint_seconds=checkpoints)
        _print_result(config, result, quiet)


@app.command()
def resume(run: Run, checkpoints: Checkpoints = 60.0, quiet: Quietly = False, debug: Debug = False) -> None:
    """Go on with a run that was interrupted or killed, from its checkpoint."""
    with reported(debug):
        from zoo.run import RunFolder
        from zoo.train import resume

        folder = RunFolder.find(run)
        config = folder.load_config()
        if not quiet:
            typer.echo(
                f"Going on with {config.name}, {config.total_steps:,} steps, seed {config.seed}, in {folder.path}"
            )
        with shown_progress(config.total_steps, quiet) as progress, _interruptible(folder.path):
            result = resume(folder, progress, checkpoint_seconds=checkpoints)
        _print_result(config, result, quiet)


@contextmanager
def _interruptible(path: Path) -> Iterator[None]:
    """Say what is left when training is interrupted."""
    from zoo.stopping import Interrupted

    try:
        yield
    except Interrupted as interruption:
        typer.echo(
            f"{interruption}; a checkpoint was written. To go on, or to look at it:\n"
            f"  zoo resume {path}\n{_next_steps(path)}",
            err=True,
        )
        raise typer.Exit(interruption.exit_code) from None


def _print_result(config: RunConfig, result: TrainResult, quiet: bool) -> None:
    typer.echo(f"{config.name} seed {config.seed}: {result.score}")
    if not quiet:
        speed = result.steps / max(result.seconds, 1e-9)
        typer.echo(f"Trained {result.steps:,} steps in {result.seconds:.1f} s ({speed:,.0f} steps/s).")
        typer.echo(f"Next:\n{_next_steps(result.folder.path)}")


@app.command("eval")
def evaluate(
    run: Run,
    override: Overrides = None,
    episodes: Annotated[int | None, typer.Option("--episodes", min=1, help="How many (the config's: 100).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    debug: Debug = False,
) -> None:
    """Evaluate a run: deterministic episodes from fixed start seeds."""
    with reported(debug):
        from zoo.evaluate import evaluate
        from zoo.run import RunFolder

        folder = RunFolder.find(run)
        score = evaluate(folder, episodes=episodes, overrides=override or [])
        if not as_json:
            typer.echo(f"{folder.path}: {score}")
        else:
            typer.echo(json.dumps(score.as_dict() if override else json.loads(folder.evaluation.read_text())))


@app.command()
def video(
    run: Run,
    episodes: Annotated[int, typer.Option("--episodes", min=1, help="How many follow one another.")] = 1,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="The MP4 file (video.mp4 in the run folder).")
    ] = None,
    debug: Debug = False,
) -> None:
    """Record a video of a run's policy."""
    with reported(debug):
        from zoo.run import RunFolder
        from zoo.video import record_video

        path, frames = record_video(RunFolder.find(run), out, episodes=episodes)
        typer.echo(f"{path}: {frames} frames")


@app.command("list")
def list_configs(debug: Debug = False) -> None:
    """List the configs that can be trained."""
    with reported(debug):
        from zoo.registry import config_names, find_config

        table = Table("name", "env", "steps", "bar", "description", box=None, pad_edge=False)
        for name in config_names():
            config = find_config(name)
            bar = "-" if config.target is None else f"{config.target:g}"
            table.add_row(name, config.env.id, f"{config.total_steps:,}", bar, config.description)
        # A pipe has no width of its own: lines stay whole there, for grep and the like.
        Console(width=None if sys.stdout.isatty() else 200).print(table)


def _next_steps(path: Path) -> str:
    return f"  zoo eval {path}\n  zoo video {path}\n  tensorboard --logdir {path}"
