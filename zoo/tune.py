"""Searching for settings: every trial is trained with several seeds, and the median of their scores counts."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from agents.yaml_data import dump_yaml
from envkit.errors import MissingDependencyError
from zoo.config import RunConfig, config_data, config_from_yaml, config_to_yaml
from zoo.errors import ConfigError, UsageError
from zoo.run import RunFolder
from zoo.search_range import SearchRange
from zoo.train import train

if TYPE_CHECKING:
    import optuna

__all__ = ["FIRST_EVALUATION_SEED", "FIRST_SEED", "TuneResult", "tune"]

FIRST_SEED = 1_000
"""First seed that trials are trained with: those of benchmarks, which count from 0, are left for the judgement."""

FIRST_EVALUATION_SEED = 20_000
"""First start seed that policies of trials are judged from, apart from those of benchmarks for the same reason."""


@dataclass(frozen=True)
class TuneResult:
    """What a search found.

    Attributes:
        score: The best median over seeds.
        settings: The values that gave it, by dotted name.
        complete: How many trials were trained with every seed.
        pruned: How many were given up after fewer.
        failed: How many had settings that the config refuses.
    """

    score: float
    settings: dict[str, Any]
    complete: int
    pruned: int
    failed: int

    @property
    def snippet(self) -> str:
        """The settings as entries of a config file.

        Example:
            >>> print(TuneResult(1.0, {"agent.lr": 0.001, "agent.epochs": 4, "env.num_envs": 8}, 1, 0, 0).snippet)
            agent:
              lr: 0.001
              epochs: 4
            env:
              num_envs: 8
            <BLANKLINE>
        """
        return dump_yaml(_nested(self.settings))


def tune(
    config: RunConfig,
    *,
    trials: int,
    seeds: int = 3,
    study: Path | None = None,
    progress: Callable[[int, dict[str, Any], Sequence[float]], None] | None = None,
) -> TuneResult:
    """Search the ranges in the ``tune`` section of a config by TPE, giving up trials below the median of the others.

    A trial is trained with one seed after another; after each, the median of its scores so far is compared with those
    that other trials had after as many seeds. Same ranges, trials and seeds give the same search.

    Args:
        config: What to train; its own values are the first trial.
        trials: How many settings are tried, besides those of the study so far.
        seeds: How many seeds each is trained with.
        study: A file that keeps the trials; if it exists the search goes on from there.
        progress: Called after each trial with its number, its settings, and the score of each seed.

    Raises:
        UsageError: There are no ranges, or fewer than one trial or seed.
        MissingDependencyError: Optuna is not installed.
    """
    if not config.tune:
        raise UsageError(f"{config.name}: expected a tune section with ranges to search, found none")
    if trials < 1 or seeds < 1:
        raise UsageError(f"expected at least one trial and one seed, found {trials} and {seeds}")
    try:
        import optuna
        from optuna.storages.journal import JournalFileBackend
    except ImportError as error:
        raise MissingDependencyError("zoo tune needs optuna: pip install 'envkit[tune]'") from error
    # Refused settings are counted; Optuna would print a traceback for each.
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = None
    if study is not None:
        storage = optuna.storages.JournalStorage(JournalFileBackend(str(study)))
    search = optuna.create_study(
        study_name=config.name,
        storage=storage,
        load_if_exists=True,
        direction="maximize",
        pruner=optuna.pruners.MedianPruner(n_startup_trials=5),
    )
    # Not the same seed where a search goes on: it would draw the settings of its first trials again.
    search.sampler = optuna.samplers.TPESampler(seed=len(search.trials))
    if not search.trials and (own := _own_settings(config)):
        search.enqueue_trial(own)

    def objective(trial: optuna.Trial) -> float:
        settings = {key: _suggest(trial, key, values) for key, values in config.tune.items()}
        trial.set_user_attr("settings", settings)
        scores: list[float] = []
        try:
            for seed in range(FIRST_SEED, FIRST_SEED + seeds):
                scores.append(_score(config, settings, seed))
                trial.report(median(scores), len(scores))
                if len(scores) < seeds and trial.should_prune():
                    raise optuna.TrialPruned
        finally:
            if progress is not None:
                progress(trial.number, settings, scores)
        return median(scores)

    # Some settings do not go together, such as a batch that is larger than the replay buffer.
    search.optimize(objective, n_trials=trials, catch=(ConfigError,))
    states = [trial.state.name for trial in search.trials]
    if "COMPLETE" not in states:
        raise UsageError(f"{config.name}: expected settings that can be trained, found none in {len(states)} trials")
    return TuneResult(
        score=search.best_value,
        settings=search.best_trial.user_attrs["settings"],
        complete=states.count("COMPLETE"),
        pruned=states.count("PRUNED"),
        failed=states.count("FAIL"),
    )


def _own_settings(config: RunConfig) -> dict[str, Any]:
    """The config's own values of what is searched, where the search may try them."""
    found = {}
    data = config_data(config)
    for key, values in config.tune.items():
        part, name = key.split(".")
        own = data[part][name]
        if values.choices is not None:
            if own in values.choices:
                found[key] = json.dumps(own)
        elif own is not None and values.low <= own <= values.high:
            found[key] = own
    return found


def _suggest(trial: optuna.Trial, key: str, values: SearchRange) -> Any:
    if values.choices is not None:
        # As text: Optuna keeps scalars only, and widths of layers are a list.
        return json.loads(trial.suggest_categorical(key, [json.dumps(choice) for choice in values.choices]))
    suggest: Any = trial.suggest_int if values.whole else trial.suggest_float
    return suggest(key, values.low, values.high, log=values.log)


def _score(config: RunConfig, settings: Mapping[str, Any], seed: int) -> float:
    """Train with some settings, and return the mean return of the final policy."""
    changes = {**settings, "seed": seed, "eval.first_seed": FIRST_EVALUATION_SEED, "eval.points": 0}
    overrides = [f"{key}={json.dumps(value)}" for key, value in changes.items()]
    with tempfile.TemporaryDirectory() as parent:
        return train(
            config_from_yaml(config_to_yaml(config), overrides), RunFolder.create(Path(parent), "run")
        ).score.mean


def _nested(settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    nested: dict[str, dict[str, Any]] = {}
    for key, value in settings.items():
        part, name = key.split(".")
        nested.setdefault(part, {})[name] = value
    return nested
