"""The centre: what an environment is, what follows from its specs, and how it is run."""

from envkit.core.ends import terminated_or_truncated
from envkit.core.env import EnvBase
from envkit.core.exploration import ExplorationType, exploration_type, set_exploration_type
from envkit.core.groups import MarlGroupMapType, check_marl_grouping
from envkit.core.metadata import EnvMetaData
from envkit.core.plain_snapshot import plain_snapshot, restore_plain_snapshot
from envkit.core.policies import RandomPolicy
from envkit.core.seeding import seed_generator, spawn_seed
from envkit.core.step_mdp import step_mdp

__all__ = [
    "EnvBase",
    "EnvMetaData",
    "ExplorationType",
    "MarlGroupMapType",
    "RandomPolicy",
    "check_marl_grouping",
    "exploration_type",
    "plain_snapshot",
    "restore_plain_snapshot",
    "seed_generator",
    "set_exploration_type",
    "spawn_seed",
    "step_mdp",
    "terminated_or_truncated",
]
