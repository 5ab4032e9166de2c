"""Agents that learn in envs, and the parts they are made of, usable alone.

Everything public is here: ``from agents import PPO, ClipPPOLoss, GAE, ReplayBuffer``.
"""

from agents.algorithms import PPO, BaseAgent, PPOConfig
from agents.checkpoint import load_checkpoint, optimizer_tensors, restore_optimizer, save_checkpoint
from agents.evaluation import Evaluation, evaluate
from agents.legacy import NormalParamWrapper
from agents.nn import (
    MLP,
    Actor,
    Categorical,
    IndependentNormal,
    InteractionType,
    LeanDistribution,
    NormalParamExtractor,
    ProbabilisticActor,
    ProbabilisticTensorDictModule,
    ProbabilisticTensorDictSequential,
    TanhNormal,
    TensorDictModule,
    TensorDictModuleBase,
    TensorDictSequential,
    ValueOperator,
    flat_parameter,
    set_interaction_type,
    take_sample,
)
from agents.objectives import (
    ClipPPOLoss,
    approximate_kl,
    clip_fraction,
    clipped_surrogate,
    effective_sample_size,
    value_loss,
)
from agents.replay import (
    LazyTensorStorage,
    ListStorage,
    RandomSampler,
    ReplayBuffer,
    Sampler,
    SamplerWithoutReplacement,
    Storage,
)
from agents.returns import GAE, gae, standardize

__all__ = [
    "GAE",
    "MLP",
    "PPO",
    "Actor",
    "BaseAgent",
    "Categorical",
    "ClipPPOLoss",
    "Evaluation",
    "IndependentNormal",
    "InteractionType",
    "LazyTensorStorage",
    "LeanDistribution",
    "ListStorage",
    "NormalParamExtractor",
    "NormalParamWrapper",
    "PPOConfig",
    "ProbabilisticActor",
    "ProbabilisticTensorDictModule",
    "ProbabilisticTensorDictSequential",
    "RandomSampler",
    "ReplayBuffer",
    "Sampler",
    "SamplerWithoutReplacement",
    "Storage",
    "TanhNormal",
    "TensorDictModule",
    "TensorDictModuleBase",
    "TensorDictSequential",
    "ValueOperator",
    "approximate_kl",
    "clip_fraction",
    "clipped_surrogate",
    "effective_sample_size",
    "evaluate",
    "flat_parameter",
    "gae",
    "load_checkpoint",
    "optimizer_tensors",
    "restore_optimizer",
    "save_checkpoint",
    "set_interaction_type",
    "standardize",
    "take_sample",
    "value_loss",
]
