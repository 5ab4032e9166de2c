"""Results as the rows of a table, and as the page of the docs that is made of them."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from typing import Any

from zoo.config import RunConfig, config_hash
from zoo.registry import config_names, find_config
from zoo.result import Result

__all__ = ["COLUMNS", "number", "results_page", "table_row", "tried", "version_sets"]

COLUMNS = {
    "config": "Name of the config, whose file holds its settings.",
    "algorithm": "The learning algorithm.",
    "steps": "Environment steps of training, summed over all copies, those before the first update included.",
    "bar": "The mean return that counts as solved.",
    "protocol": "How the final policy is judged: deterministic episodes, by their start seeds.",
    "n": "Seeds, counted from 0; every one counts.",
    "mean ± std": "Mean and sample standard deviation over seeds of the mean return of the final policy.",
    "published": "The best number others have published for as many steps, its protocol (FE final policy, TR and MX as "
    "below), and whether ours in the same protocol beats it, meets it (inside one standard error), or falls short.",
    "IQM [95 %]": "Interquartile mean over seeds, with its 95 % interval (bootstrap).",
    "worst": "The lowest seed.",
    "reached": "Seeds at the bar or above.",
    "TR": "Mean return of the last 100 training episodes, with exploration; mean over seeds.",
    "MX": "Highest point of the mean over seeds of the evaluations amid training.",
    "steps to bar": "Steps at the first evaluation amid training that passes the bar, as the next two do: the median "
    "of the seeds that got there, and how many did.",
    "CPU s": "CPU seconds of training, mean over seeds; evaluations are not counted.",
    "config hash": "SHA-256 of the config, its first 12 digits; * marks a config that was changed since.",
    "commit": "The commit of this project that it was made with.",
    "made with": "Versions and platform, below.",
}
"""What stands in each column."""


def number(value: float | None) -> str:
    """Write a return with as many digits as it takes to compare it.

    Example:
        >>> number(499.96), number(-69.1), number(2.345), number(None)
        ('500.0', '-69.1', '2.35', '-')
    """
    if value is None:
        return "-"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"


def version_sets(results: Sequence[Result]) -> dict[str, str]:
    """Give a letter to each set of versions that results were made with.

    Returns:
        The letters by the words for the set, in the order of the results.
    """
    found = dict.fromkeys(_words(result.versions) for result in results)
    return {words: string.ascii_uppercase[n] if n < 26 else f"V{n}" for n, words in enumerate(found)}


def table_row(result: Result, letters: Mapping[str, str]) -> dict[str, str]:
    """Return the text of each of :data:`COLUMNS` for a result."""
    summary, threshold, evaluation = result.summary, result.threshold, result.config["eval"]
    count, (low, high) = len(result.seeds), summary.iqm_interval
    first, episodes = evaluation["first_seed"], evaluation["episodes"]
    bar = result.target is not None
    return {
        "config": result.name,
        "algorithm": result.config["algorithm"],
        "steps": f"{result.config['total_steps']:,}",
        "bar": f"{result.target:g}" if bar else "-",
        "protocol": f"{episodes} episodes, {first} to {first + episodes - 1}",
        "n": str(count),
        "mean ± std": f"{number(summary.mean)} ± {number(summary.std)}",
        "published": _comparison(result),
        "IQM [95 %]": f"{number(summary.iqm)} [{number(low)}, {number(high)}]",
        "worst": number(summary.worst),
        "reached": f"{summary.reached}/{count}" if bar else "-",
        "TR": number(result.in_protocol("TR")),
        "MX": number(result.in_protocol("MX")),
        "steps to bar": f"{threshold['median_steps']:,} ({threshold['reached']}/{count})"
        if threshold["reached"]
        else "-",
        "CPU s": f"{result.cpu_seconds:.0f}",
        "config hash": result.config_hash[:12] + ("" if _is_current(result) else "*"),
        "commit": result.commit or "-",
        "made with": letters[_words(result.versions)],
    }


def results_page(results: Sequence[Result]) -> str:
    """Write the page of all results in Markdown: the table, what its columns mean, and every seed."""
    letters = version_sets(results)
    rows = [table_row(result, letters) for result in results]
    missing = [name for name in config_names() if name not in {result.name for result in results}]
    parts = ["# Results of the zoo", "Written by `zoo report --markdown docs/zoo-results.md` from `zoo/results`."]
    if rows:
        parts.append(_markdown([list(COLUMNS), *(list(row.values()) for row in rows)]))
        parts.append("\n".join(f"- **{name}**: {meaning}" for name, meaning in COLUMNS.items()))
        parts.append("Made with:\n\n" + "\n".join(f"- **{letter}**: {words}" for words, letter in letters.items()))
        parts.append("## Every seed")
        scores = [
            [result.name, f"`{result.command}`", ", ".join(number(entry.score) for entry in result.seeds)]
            for result in results
        ]
        parts.append(_markdown([["config", "command", "score of seed 0, 1, ..."], *scores]))
        others = [f"- {result.name}: {'; '.join(lines)}." for result in results if (lines := tried(result))]
        if others:
            parts.append("What else was tried:\n\n" + "\n".join(others))
        parts.append("`zoo verify NAME` trains a seed again and compares its score and its curve, bit for bit.")
    if missing:
        parts.append("## Not run yet\n\n" + "\n".join(f"- {name}" for name in missing))
    return "\n\n".join(parts) + "\n"


def tried(result: Result) -> list[str]:
    """Say what other settings were tried, by the config as it is now, and what each gave."""
    config = _config_now(result)
    return [] if config is None else config.tried


def _comparison(result: Result) -> str:
    published = result.config["published"]
    if published is None:
        return "-"
    score, protocol = published["score"], published["protocol"]
    ours = result.in_protocol(protocol)
    error = result.summary.std / len(result.seeds) ** 0.5
    if ours is None:
        verdict = "not measured"
    elif ours > score:
        verdict = "beaten"
    else:
        verdict = "met" if ours >= score - error else "short"
    return f"{score:g} {protocol}, {published['source']}: {verdict}"


def _is_current(result: Result) -> bool:
    config = _config_now(result)
    return config is not None and config_hash(config) == result.config_hash


def _config_now(result: Result) -> RunConfig | None:
    """The config that the zoo has under the name of a result, if any."""
    return find_config(result.name) if result.name in config_names() else None


def _words(versions: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _markdown(lines: Sequence[Sequence[str]]) -> str:
    head, *body = (f"| {' | '.join(line)} |" for line in lines)
    return "\n".join([head, f"|{'---|' * len(lines[0])}", *body])
