"""The centre: what an environment is, what follows from its specs, and how it is run and checked."""

from envkit.core.checks import Finding, check_env_specs
from envkit.core.env import EnvBase
from envkit.core.exploration import ExplorationType, exploration_type, set_exploration_type
from envkit.core.policies import RandomPolicy
from envkit.core.seeding import seed_generator
from envkit.core.step_mdp import step_mdp

__all__ = [
    "EnvBase",
    "ExplorationType",
    "Finding",
    "RandomPolicy",
    "check_env_specs",
    "exploration_type",
    "seed_generator",
    "set_exploration_type",
    "step_mdp",
]
