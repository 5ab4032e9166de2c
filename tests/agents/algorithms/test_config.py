import math
from dataclasses import dataclass

import pytest

from agents.algorithms.config import OffPolicyConfig, check_config


@dataclass
class Small:
    lr: float | None = 0.1
    hidden_sizes: tuple = (4,)
    activation: str = "relu"


RANGES = {"lr": (0.0, 1.0)}


def test_what_is_in_range_stays():
    config = Small(lr=None, hidden_sizes=[3, 5])
    check_config(config, RANGES)
    assert (config.lr, config.hidden_sizes) == (None, (3, 5))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lr": 2.0}, r"Small\.lr: expected a number from 0.0 to 1.0, found 2.0"),
        ({"lr": math.nan}, r"Small\.lr: expected a number from 0.0 to 1.0, found nan"),
        ({"lr": "1"}, r"Small\.lr: expected .* found '1'"),
        ({"hidden_sizes": (0,)}, r"Small\.hidden_sizes: expected positive integers, found \(0,\)"),
        ({"hidden_sizes": (1.5,)}, r"Small\.hidden_sizes: expected positive integers"),
        ({"activation": "relux"}, r"Small\.activation: expected one of \['elu', .* found 'relux'"),
    ],
)
def test_what_is_not(changes, message):
    with pytest.raises(ValueError, match=message):
        check_config(Small(**changes), RANGES)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_freq": 0}, "OffPolicyConfig.train_freq: expected at least 1, found 0"),
        ({"gamma": 1.1}, "OffPolicyConfig.gamma: expected a number from 0 to 1, found 1.1"),
        ({"learning_starts": -1}, "OffPolicyConfig.learning_starts: expected at least 0, found -1"),
        ({"buffer_size": 10}, "OffPolicyConfig.buffer_size: expected at least batch_size 256, found 10"),
    ],
)
def test_replay(changes, message):
    with pytest.raises(ValueError, match=message):
        OffPolicyConfig(**changes)
