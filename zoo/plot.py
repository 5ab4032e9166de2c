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
    """Draw the mean return of finished training episodes over environment steps.

    Args:
        records: Metrics with ``steps`` and ``return_mean``; where the return is missing, null or nan, no
            point is drawn.
        path: The PNG file to write.
        title: Title of the plot.
        target: The bar to draw as a dashed line.

    Returns:
        How many points were drawn.

    Example:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> file = Path(folder.name) / "curve.png"
        >>> plot_learning_curve([{"steps": 256, "return_mean": 21.5}], file)
        1
        >>> folder.cleanup()
    """
    points = [(record["steps"], record.get("return_mean")) for record in records]
    drawn = [(steps, value) for steps, value in points if value is not None and value == value]
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([steps for steps, _ in drawn], [value for _, value in drawn], marker="." if len(drawn) < 3 else None)
    if target is not None:
        axes.axhline(target, color="grey", linestyle="--", linewidth=1, label=f"bar {target:g}")
        axes.legend(loc="lower right")
    axes.set(xlabel="environment steps", ylabel="return (mean of the last 100 episodes)", title=title)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.grid(alpha=0.3)
    with replacing(path) as temporary:
        FigureCanvasAgg(figure).print_png(str(temporary))
    return len(drawn)
