"""The ``zoo`` command: parse, call a function a user could call, print."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

try:
    import typer
    from rich.console import Console
    from rich.table import Table
except ImportError as missing:
    raise SystemExit(f"the zoo command needs {missing.name}: pip install 'envkit[zoo]'") from missing

if TYPE_CHECKING:
    from zoo.config import RunConfig
    from zoo.progress import Quiet
    from zoo.train import TrainResult

__all__ = ["app", "main"]

# The commands import the modules that do the work: loading PyTorch takes seconds, `zoo --help` should not.

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
def _reported(debug: bool) -> Iterator[None]:
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
    with _reported(debug):
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
        with _progress(config.total_steps, quiet) as progress, _interruptible(folder.path):
            result = train(config, folder, progress, checkpoint_seconds=checkpoints)
        _print_result(config, result, quiet)


@app.command()
def resume(run: Run, checkpoints: Checkpoints = 60.0, quiet: Quietly = False, debug: Debug = False) -> None:
    """Go on with a run that was interrupted or killed, from its checkpoint."""
    with _reported(debug):
        from zoo.run import RunFolder
        from zoo.train import resume

        folder = RunFolder.find(run)
        config = folder.load_config()
        if not quiet:
            typer.echo(
                f"Going on with {config.name}, {config.total_steps:,} steps, seed {config.seed}, in {folder.path}"
            )
        with _progress(config.total_steps, quiet) as progress, _interruptible(folder.path):
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
    episodes: Annotated[int | None, typer.Option("--episodes", min=1, help="How many (the config's: 100).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    debug: Debug = False,
) -> None:
    """Evaluate a run: deterministic episodes from fixed start seeds."""
    with _reported(debug):
        from zoo.evaluate import evaluate
        from zoo.run import RunFolder

        folder = RunFolder.find(run)
        score = evaluate(folder, episodes=episodes)
        typer.echo(json.dumps(json.loads(folder.evaluation.read_text())) if as_json else f"{folder.path}: {score}")


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
    with _reported(debug):
        from zoo.run import RunFolder
        from zoo.video import record_video

        path, frames = record_video(RunFolder.find(run), out, episodes=episodes)
        typer.echo(f"{path}: {frames} frames")


@app.command("list")
def list_configs(debug: Debug = False) -> None:
    """List the configs that can be trained."""
    with _reported(debug):
        from zoo.registry import config_names, find_config

        table = Table("name", "env", "steps", "bar", "description", box=None, pad_edge=False)
        for name in config_names():
            config = find_config(name)
            bar = "-" if config.target is None else f"{config.target:g}"
            table.add_row(name, config.env.id, f"{config.total_steps:,}", bar, config.description)
        # A pipe has no width of its own: lines stay whole there, for grep and the like.
        Console(width=None if sys.stdout.isatty() else 200).print(table)


@app.command()
def benchmark(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A config of `zoo list`, or a YAML file.")],
    override: Overrides = None,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="How many seeds, counted from 0.")] = 10,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="How many run at a time.")] = 2,
    at_least: Annotated[float | None, typer.Option("--at-least", help="Another bar than the config's.")] = None,
    out: Out = Path("runs"),
    debug: Debug = False,
) -> None:
    """Train several seeds, and print what every one of them reached."""
    with _reported(debug):
        from zoo.benchmark import SeedResult, benchmark
        from zoo.registry import find_config
        from zoo.stopping import Interrupted

        config = find_config(name, override or [])

        def show(result: SeedResult) -> None:
            typer.echo(f"seed {result.seed}: {result.score:.1f} ± {result.std:.1f}, {result.training_seconds:.1f} s")

        typer.echo(f"{config.name}, {config.total_steps:,} steps, seeds 0 to {seeds - 1}, {jobs} at a time")
        try:
            result = benchmark(config, seeds=seeds, jobs=jobs, root=out, at_least=at_least, progress=show)
        except Interrupted as interruption:
            typer.echo(f"{interruption}; the seeds that were running have written checkpoints", err=True)
            raise typer.Exit(interruption.exit_code) from None
        summary = result.summary
        low, high = summary.iqm_interval
        typer.echo(
            f"mean {summary.mean:.1f} ± {summary.std:.1f} over {seeds} seeds, worst {summary.worst:.1f}, "
            f"IQM {summary.iqm:.1f} [{low:.1f}, {high:.1f}], "
            f"{config.eval.episodes} episodes per seed, wall time {result.seconds:.1f} s"
        )
        if summary.target is not None:
            typer.echo(f"{summary.reached} of {seeds} seeds reach the bar of {summary.target:g}")
        typer.echo(f"written to {result.file}")


def _progress(total_steps: int, quiet: bool) -> Quiet:
    from zoo.progress import LiveBar, PlainLines, Quiet

    if quiet:
        return Quiet()
    console = Console()
    return LiveBar(total_steps, console) if console.is_terminal else PlainLines(total_steps, typer.echo)


def _next_steps(path: Path) -> str:
    return f"  zoo eval {path}\n  zoo video {path}\n  tensorboard --logdir {path}"


def main() -> None:
    """Run the ``zoo`` command."""
    # Windows consoles may not know ±; a replacement character beats a traceback.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    app()


if __name__ == "__main__":
    main()
