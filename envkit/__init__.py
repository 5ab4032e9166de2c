"""Environments described by specs: one vocabulary for their data, their storage, their checks and their transforms.

Everything public is here: ``from envkit import GymEnv, TransformedEnv, check_env_specs``.
"""

from envkit.batched import SerialEnv
from envkit.collectors import Collector
from envkit.core.checks import check_env_specs
from envkit.core.env import EnvBase
from envkit.core.exploration import ExplorationType, exploration_type, set_exploration_type
from envkit.core.policies import RandomPolicy
from envkit.core.seeding import seed_generator
from envkit.core.step_mdp import step_mdp
from envkit.errors import *
from envkit.legacy import *  # noqa: F403
from envkit.libs import GymEnv, GymWrapper, default_info_dict_reader
from envkit.specs import *  # noqa: F403
from envkit.transforms import *  # noqa: F403
