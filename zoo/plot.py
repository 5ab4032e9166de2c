"""The learning curve of a run as a picture."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from zoo.files import replacing

__all__ = ["plot_learning_curve"]


def plot_learning_curve(
    records: Iterable[Mapping[str, Any]], path: Path, *, title: str = "", target: float | None = None
) -> int:
    """Draw the mean return of finished training episodes, and that of evaluations, over environment steps.

    Args:
        records: Metrics with ``steps``, ``return_mean`` and ``eval_return_mean``; where a return is missing, null
            or nan, no point is drawn.
        path: The PNG file to write.
        title: Title of the plot.
        target: The bar to draw as a dashed line.

    Returns:
        How many points were drawn of training episodes.

    Example:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> file = Path(folder.name) / "curve.png"
        >>> plot_learning_curve([{"steps": 256, "return_mean": 21.5}], file)
        1
        >>> folder.cleanup()
    """
    records = list(records)
    drawn, evaluations = _points(records, "return_mean"), _points(records, "eval_return_mean")
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    for points, label in ((drawn, "training, last 100 episodes"), (evaluations, "evaluation, deterministic")):
        if points:
            axes.plot(*zip(*points, strict=True), marker="." if len(points) < 3 else None, label=label)
    if target is not None:
        axes.axhline(target, color="grey", linestyle="--", linewidth=1, label=f"bar {target:g}")
    if axes.get_legend_handles_labels()[1]:
        axes.legend(loc="lower right")
    axes.set(xlabel="environment steps", ylabel="mean return", title=title)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.grid(alpha=0.3)
    with replacing(path) as temporary:
        FigureCanvasAgg(figure).print_png(str(temporary))
    return len(drawn)


def _points(records: Iterable[Mapping[str, Any]], key: str) -> list[tuple[int, float]]:
    points = [(record["steps"], record.get(key)) for record in records]
    return [(steps, value) for steps, value in points if value is not None and value == value]
