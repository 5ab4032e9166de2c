"""Evaluations over environment steps as a picture: the mean over seeds and how sure it is."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from zoo.curve import LearningCurve
from zoo.errors import UsageError
from zoo.files import replacing
from zoo.metrics import read_metrics
from zoo.result import Result, read_result
from zoo.run import RunFolder
from zoo.summary import mean_interval

__all__ = ["SeedCurves", "curves_svg", "load_curves", "plot_curves"]


@dataclass(frozen=True)
class SeedCurves:
    """The evaluations of some seeds of one config, at the same steps.

    Attributes:
        label: What to call them.
        steps: Steps at each evaluation.
        returns: Mean return of each evaluation, one list per seed.
        target: The bar, or None.
    """

    label: str
    steps: list[int]
    returns: list[list[float]]
    target: float | None = None

    @classmethod
    def of(cls, result: Result) -> SeedCurves:
        """Take the curves out of the result of a benchmark."""
        label = f"{result.name} ({len(result.seeds)} seeds)"
        return cls(label, result.seeds[0].curve_steps, [entry.curve for entry in result.seeds], result.target)


def load_curves(path: Path) -> SeedCurves:
    """Read the curves of a run or of a benchmark.

    Args:
        path: A run folder, a benchmark folder, or the JSON file of a result.

    Raises:
        UsageError: It is none of these, or there were no evaluations amid training.
    """
    file = path / "benchmark.json" if path.is_dir() else path
    if file.is_file():
        curves = SeedCurves.of(read_result(file))
    elif RunFolder(path).metrics.is_file():
        config = RunFolder(path).load_config()
        curve = LearningCurve.of(read_metrics(RunFolder(path).metrics))
        curves = SeedCurves(f"{config.name} (seed {config.seed})", curve.steps, [curve.returns], config.target)
    else:
        raise UsageError(f"{path}: expected a run folder, a benchmark folder or the file of a result")
    if not curves.steps:
        raise UsageError(f"{path}: expected evaluations amid training (eval.points), found none")
    return curves


def plot_curves(curves: Sequence[SeedCurves], path: Path) -> None:
    """Draw the mean over seeds of every config, with its 95 % interval, into a PNG file.

    Example:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> plot_curves([SeedCurves("a", [10, 20], [[1.0, 2.0], [3.0, 4.0]])], Path(folder.name) / "curves.png")
        >>> folder.cleanup()
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        FigureCanvasAgg(_figure(curves)).print_png(str(temporary))


def curves_svg(curves: Sequence[SeedCurves]) -> str:
    """Draw the same as an SVG element to put into a page; the same curves always give the same text.

    Example:
        >>> curves_svg([SeedCurves("a", [10, 20], [[1.0, 2.0], [3.0, 4.0]])]).startswith("<svg")
        True
    """
    text = io.StringIO()
    # The salt tells pictures of one page apart: what is clipped is referred to by an id.
    salt = "".join(entry.label for entry in curves)
    with matplotlib.rc_context({"svg.hashsalt": salt, "svg.fonttype": "none"}):
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        FigureCanvasSVG(_figure(curves)).print_svg(text, metadata=nothing)
    return text.getvalue()[text.getvalue().index("<svg") :]


def _figure(curves: Sequence[SeedCurves]) -> Figure:
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    for entry in curves:
        returns = np.asarray(entry.returns, dtype=np.float64)
        (line,) = axes.plot(entry.steps, returns.mean(axis=0), label=entry.label)
        if len(returns) > 1:
            axes.fill_between(entry.steps, *mean_interval(returns), color=line.get_color(), alpha=0.2, linewidth=0)
    for target in sorted({entry.target for entry in curves if entry.target is not None}):
        axes.axhline(target, color="grey", linestyle="--", linewidth=1, label=f"bar {target:g}")
    axes.set(xlabel="environment steps", ylabel="return, mean and 95 % interval over seeds")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.grid(alpha=0.3)
    axes.legend(loc="best")
    return figure
