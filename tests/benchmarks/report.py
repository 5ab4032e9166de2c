"""Turns the runs of a case into table rows, rows into text, and names the machine they came from."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from statistics import median

from measure import Case

PACKAGES = (
    "envkit",
    "envpool",
    "gymnasium",
    "jax",
    "mujoco",
    "numpy",
    "opencv-python-headless",
    "pufferlib",
    "sbx-rl",
    "stable-baselines3",
    "tensordict",
    "torch",
    "torchrl",
    "torchvision",
)
COLUMNS = (
    *("case", "implementation", "median", "min..max", "by cpu"),
    *("ratio", "by cpu", "target", "met", "note"),
)
NOTABLE = 0.05  # a figure by CPU time is shown where it differs from that by wall time by more than this share


def rows(name: str, case: Case, results: dict[str, list[dict]]) -> list[dict]:
    """One row per implementation; a peer's ratios are ours / peer, paired by round."""
    main = next(iter(case.ours))
    out = []
    for implementation, runs in results.items():
        row: dict = {"case": name, "implementation": implementation, "unit": case.unit}
        row["note"] = _note(runs[-1])
        if values := _values(runs, "value"):
            row |= {"median": median(values), "min": min(values), "max": max(values)}
        if by_cpu := _values(runs, "cpu_value"):
            row["cpu_median"] = median(by_cpu)
        if implementation == main:
            limits = _values(runs, "limit")
            target, measured = median(limits) if limits else case.limit, row.get("median")
        else:
            target = case.targets.get(implementation)
            measured = row["ratio"] = _paired_ratio(results[main], runs, "value")
            row["cpu_ratio"] = _paired_ratio(results[main], runs, "cpu_value")
        if target is not None:
            row |= {"target": target, "sense": "<=" if case.lower_is_better else ">="}
            row["met"] = None if measured is None else case.meets(measured, target)
        out.append(row)
    return out


def table(report: list[dict]) -> str:
    """The rows as aligned text."""
    cells = [COLUMNS, *map(_cells, report)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(COLUMNS))]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in cells)


def machine() -> dict:
    """The processor, the interpreter and the versions of all packages that took part."""
    return {
        "processor": _processor(),
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
    }


def _cells(row: dict) -> tuple[str, ...]:
    value, cpu = row.get("median"), row.get("cpu_median")
    ratio, cpu_ratio = row.get("ratio"), row.get("cpu_ratio")
    return (
        row["case"],
        row["implementation"],
        f"{_number(value)} {row['unit']}" if value is not None else "-",
        f"{_number(row['min'])}..{_number(row['max'])}" if value is not None else "",
        _number(cpu) if _notable(cpu, value) else "",
        f"{ratio:.3g}" if ratio else "",
        f"{cpu_ratio:.3g}" if _notable(cpu_ratio, ratio) else "",
        f"{row['sense']} {row['target']:.3g}" if "target" in row else "",
        {True: "yes", False: "no", None: ""}[row.get("met")],
        row["note"],
    )


def _values(runs: list[dict], which: str) -> list[float]:
    return [run[which] for run in runs if run.get(which)]


def _paired_ratio(ours: list[dict], theirs: list[dict], which: str) -> float | None:
    pairs = zip(ours, theirs, strict=False)  # one that crashed has fewer rounds
    ratios = [a[which] / b[which] for a, b in pairs if a.get(which) and b.get(which)]
    return median(ratios) if ratios else None


def _note(run: dict) -> str:
    if "crash" in run:
        return f"crashed: {run['crash']}"
    return f"not installed: {run['missing']}" if "missing" in run else run["note"]


def _notable(by_cpu: float | None, by_wall: float | None) -> bool:
    return bool(by_cpu and by_wall and abs(by_cpu / by_wall - 1) > NOTABLE)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
