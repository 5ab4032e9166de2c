"""All results found on one static page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from agents.yaml_data import dump_yaml
from zoo.curves_plot import SeedCurves, curves_svg
from zoo.files import write_text
from zoo.result import Result, find_results, stored_results
from zoo.table import COLUMNS, number, results_page, table_row, tried, version_sets

__all__ = ["collect", "write_markdown", "write_page"]


def collect(root: Path | None) -> list[tuple[str, Result]]:
    """Gather the results that come with the zoo, and after them those of benchmarks in a folder.

    Returns:
        Where each was found, and the result.
    """
    found = [(f"zoo/results/{result.name}.json", result) for result in stored_results()]
    if root is not None:
        found += [(str(path), result) for path, result in find_results(root)]
    return found


def write_page(found: Sequence[tuple[str, Result]], folder: Path) -> Path:
    """Write ``index.html`` into a folder; it holds everything it shows, and asks for nothing from elsewhere.

    Args:
        found: From :func:`collect`.
        folder: Created if need be.
    """
    # Names and descriptions come from files: whatever stands in them is shown as text.
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    letters = version_sets([result for _, result in found])
    entries = [
        {
            "id": f"result-{n}",
            "source": source,
            "result": result,
            "row": table_row(result, letters),
            "svg": curves_svg([SeedCurves.of(result)]) if result.seeds[0].curve_steps else "",
            "settings": dump_yaml(result.config),
            "tried": tried(result),
        }
        for n, (source, result) in enumerate(found)
    ]
    template = environment.get_template("report.html.j2")
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / "index.html"
    write_text(page, template.render(results=entries, columns=COLUMNS, letters=letters, number=number))
    return page


def write_markdown(path: Path) -> None:
    """Write the page of the docs about the results that come with the zoo."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, results_page(stored_results()))
