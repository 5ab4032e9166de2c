"""Commands about several seeds: benchmarks, curves, reports and searches."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from zoo.cli_common import Debug, Out, Overrides, Quietly, app, reported, shown_progress

__all__ = ["benchmark", "plot", "report", "tune", "verify"]


@app.command("bench")
@app.command("benchmark", hidden=True)
def benchmark(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="A config of `zoo list`, or a YAML file.")
    ] = None,
    override: Overrides = None,
    seeds: Annotated[int | None, typer.Option("--seeds", min=1, help="How many seeds, counted from 0 (10).")] = None,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="How many run at a time.")] = 2,
    at_least: Annotated[float | None, typer.Option("--at-least", help="Another bar than the config's.")] = None,
    out: Out = Path("runs"),
    going_on: Annotated[
        Path | None,
        typer.Option("--continue", metavar="FOLDER", help="Go on with a benchmark that was interrupted."),
    ] = None,
    save: Annotated[
        Path | None, typer.Option("--save", metavar="DIR", help="Keep the result as DIR/<name>.json too.")
    ] = None,
    debug: Debug = False,
) -> None:
    """Train several seeds, and print what every one of them reached."""
    with reported(debug):
        from zoo.benchmark import benchmark, continue_benchmark
        from zoo.errors import UsageError
        from zoo.registry import find_config
        from zoo.result import SeedResult, result_path
        from zoo.stopping import Interrupted

        if (name is None) == (going_on is None) or (going_on is not None and (override or at_least is not None)):
            raise UsageError(
                "expected NAME with its options, or --continue FOLDER with --seeds, --jobs and --save only"
            )

        def show(result: SeedResult) -> None:
            typer.echo(f"seed {result.seed}: {result.score:.1f} ± {result.std:.1f}, {result.training_seconds:.1f} s")

        try:
            if name is not None:
                config, count = find_config(name, override or []), seeds or 10
                typer.echo(f"{config.name}, {config.total_steps:,} steps, seeds 0 to {count - 1}, {jobs} at a time")
                file, result = benchmark(config, seeds=count, jobs=jobs, root=out, at_least=at_least, progress=show)
            else:
                assert going_on is not None
                file, result = continue_benchmark(going_on, seeds=seeds, jobs=jobs, progress=show)
        except Interrupted as interruption:
            typer.echo(
                f"{interruption}; the seeds that were running have written checkpoints, "
                "`zoo bench --continue` with the folder goes on",
                err=True,
            )
            raise typer.Exit(interruption.exit_code) from None
        summary = result.summary
        low, high = summary.iqm_interval
        typer.echo(
            f"mean {summary.mean:.1f} ± {summary.std:.1f} over {len(result.seeds)} seeds, worst {summary.worst:.1f}, "
            f"IQM {summary.iqm:.1f} [{low:.1f}, {high:.1f}], {result.config['eval']['episodes']} episodes per seed, "
            f"wall time {result.seconds:.1f} s, CPU time {result.cpu_seconds:.1f} s per seed"
        )
        if summary.target is not None:
            typer.echo(f"{summary.reached} of {len(result.seeds)} seeds reach the bar of {summary.target:g}")
        typer.echo(f"written to {file}")
        if save is not None:
            result.write(result_path(result.name, save))
            typer.echo(f"kept as {result_path(result.name, save)}")


@app.command()
def plot(
    sources: Annotated[
        list[Path], typer.Argument(metavar="RUN_OR_BENCH...", help="Run folders, benchmark folders, files of results.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The PNG file.")] = Path("curves.png"),
    debug: Debug = False,
) -> None:
    """Draw evaluations over steps: the mean over seeds, and its 95 % interval."""
    with reported(debug):
        from zoo.curves_plot import load_curves, plot_curves

        plot_curves([load_curves(source) for source in sources], out)
        typer.echo(str(out))


@app.command()
def report(
    folder: Annotated[
        Path | None, typer.Argument(metavar="[DIR]", help="Folder to look for benchmarks in, besides the zoo's own.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the page.")] = Path("site"),
    markdown: Annotated[
        Path | None,
        typer.Option("--markdown", metavar="FILE", help="Write the zoo's own results as Markdown instead."),
    ] = None,
    debug: Debug = False,
) -> None:
    """Write all results on one page: tables, curves, every seed, exact commands."""
    with reported(debug):
        from zoo.errors import UsageError
        from zoo.report import collect, write_markdown, write_page

        if folder is not None and (markdown is not None or not folder.is_dir()):
            raise UsageError(f"{folder}: expected a folder, and no --markdown, which shows the zoo's own results only")
        if markdown is not None:
            write_markdown(markdown)
            typer.echo(str(markdown))
        else:
            found = collect(folder)
            typer.echo(f"{write_page(found, out)}: {len(found)} results")


@app.command()
def verify(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A config of `zoo list` that has a result.")],
    seed: Annotated[int, typer.Option("--seed", min=0, help="Which seed of the result.")] = 0,
    results: Annotated[
        Path | None, typer.Option("--results", metavar="DIR", help="Folder of results (the zoo's own).")
    ] = None,
    quiet: Quietly = False,
    debug: Debug = False,
) -> None:
    """Train a seed of a published result again: exit code 0 if it comes out the same, bit for bit, else 1."""
    with reported(debug):
        from zoo.registry import find_config
        from zoo.result import STORED
        from zoo.verify import verify

        config = find_config(name)
        with shown_progress(config.total_steps, quiet) as progress:
            outcome = verify(config, seed=seed, results=results or STORED, progress=progress)
        for package, (then, now) in outcome.changed.items():
            typer.echo(f"{package}: {then} then, {now} now")
        for difference in outcome.differences:
            typer.echo(difference)
        typer.echo(
            f"{name} seed {seed}: {'differs' if outcome.differences else f'{outcome.found.score!r}, as published'}"
        )
        if outcome.differences:
            raise typer.Exit(1)


@app.command()
def tune(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A config with a tune section, or a YAML file.")],
    override: Overrides = None,
    trials: Annotated[int, typer.Option("--trials", min=1, help="How many settings to try.")] = 20,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="How many seeds each, whose median counts.")] = 3,
    study: Annotated[
        Path | None, typer.Option("--study", metavar="FILE", help="Keep the trials, or go on from them.")
    ] = None,
    debug: Debug = False,
) -> None:
    """Search better settings with Optuna, and print the best as part of a config (needs the tune extra)."""
    with reported(debug):
        from zoo.registry import find_config
        from zoo.tune import tune

        def show(number: int, settings: dict, scores: Sequence[float]) -> None:
            typer.echo(f"trial {number}: {json.dumps(settings)}: {[round(score, 1) for score in scores]}")

        result = tune(find_config(name, override or []), trials=trials, seeds=seeds, study=study, progress=show)
        typer.echo(
            f"{result.complete} trials complete, {result.pruned} given up early, {result.failed} refused; "
            f"best median over {seeds} seeds: {result.score:.1f}\n{result.snippet}"
        )
