"""Networks, distributions and the modules that connect them to TensorDicts."""

from tensordict.nn import (
    InteractionType,
    NormalParamExtractor,
    ProbabilisticTensorDictModule,
    ProbabilisticTensorDictSequential,
    TensorDictModule,
    TensorDictModuleBase,
    TensorDictSequential,
    set_interaction_type,
)

from agents.nn.actors import Actor, ProbabilisticActor
from agents.nn.distributions import Categorical, IndependentNormal, LeanDistribution, TanhNormal
from agents.nn.flat import flat_parameter
from agents.nn.mlp import MLP
from agents.nn.sampling import take_sample
from agents.nn.value_operator import ValueOperator

__all__ = [
    "MLP",
    "Actor",
    "Categorical",
    "IndependentNormal",
    "InteractionType",
    "LeanDistribution",
    "NormalParamExtractor",
    "ProbabilisticActor",
    "ProbabilisticTensorDictModule",
    "ProbabilisticTensorDictSequential",
    "TanhNormal",
    "TensorDictModule",
    "TensorDictModuleBase",
    "TensorDictSequential",
    "ValueOperator",
    "flat_parameter",
    "set_interaction_type",
    "take_sample",
]
