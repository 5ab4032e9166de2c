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

from agents.nn.action_linear import ActionLinear
from agents.nn.action_space import ActionSpace, action_space_of
from agents.nn.actor_critic import ActorCriticOperator, ActorCriticWrapper, ActorValueOperator
from agents.nn.actors import Actor, ProbabilisticActor
from agents.nn.batch_renorm import BatchRenorm1d
from agents.nn.convnet import ConvNet, SquashDims
from agents.nn.ddpg import DdpgCnnActor, DdpgCnnQNet, DdpgMlpActor, DdpgMlpQNet
from agents.nn.distributional import DistributionalDQNnet, DistributionalQValueActor, DistributionalQValueModule
from agents.nn.distributions import (
    Categorical,
    Delta,
    IndependentNormal,
    LeanDistribution,
    MaskedCategorical,
    MaskedOneHotCategorical,
    OneHotCategorical,
    OneHotOrdinal,
    Ordinal,
    TanhDelta,
    TanhNormal,
    TruncatedNormal,
)
from agents.nn.dueling import DuelingCnnDQNet, DuelingMlpDQNet
from agents.nn.ensemble import Ensemble
from agents.nn.flat import flat_parameter
from agents.nn.flatten_linear import FlattenLinear
from agents.nn.from_config import auto_input_shape, get_module_list, nn_from_config
from agents.nn.mixers import Mixer, QMixer, VDNMixer
from agents.nn.mlp import MLP
from agents.nn.multi_agent import MultiAgentConvNet, MultiAgentMLP, MultiAgentNetwork
from agents.nn.noisy import NoisyLazyLinear, NoisyLinear, reset_noise
from agents.nn.q_value import QValueActor, QValueModule
from agents.nn.recurrent import GRUModule, LSTMModule, RecurrentModule, get_primers_from_module, set_recurrent_mode
from agents.nn.safe import SafeModule, SafeProbabilisticModule, SafeProbabilisticTensorDictSequential, SafeSequential
from agents.nn.sampling import take_sample
from agents.nn.value_operator import ValueOperator
from agents.nn.vmap import VmapModule

__all__ = [
    "MLP",
    "ActionLinear",
    "ActionSpace",
    "Actor",
    "ActorCriticOperator",
    "ActorCriticWrapper",
    "ActorValueOperator",
    "BatchRenorm1d",
    "Categorical",
    "ConvNet",
    "DdpgCnnActor",
    "DdpgCnnQNet",
    "DdpgMlpActor",
    "DdpgMlpQNet",
    "Delta",
    "DistributionalDQNnet",
    "DistributionalQValueActor",
    "DistributionalQValueModule",
    "DuelingCnnDQNet",
    "DuelingMlpDQNet",
    "Ensemble",
    "FlattenLinear",
    "GRUModule",
    "IndependentNormal",
    "InteractionType",
    "LSTMModule",
    "LeanDistribution",
    "MaskedCategorical",
    "MaskedOneHotCategorical",
    "Mixer",
    "MultiAgentConvNet",
    "MultiAgentMLP",
    "MultiAgentNetwork",
    "NoisyLazyLinear",
    "NoisyLinear",
    "NormalParamExtractor",
    "OneHotCategorical",
    "OneHotOrdinal",
    "Ordinal",
    "ProbabilisticActor",
    "ProbabilisticTensorDictModule",
    "ProbabilisticTensorDictSequential",
    "QMixer",
    "QValueActor",
    "QValueModule",
    "RecurrentModule",
    "SafeModule",
    "SafeProbabilisticModule",
    "SafeProbabilisticTensorDictSequential",
    "SafeSequential",
    "SquashDims",
    "TanhDelta",
    "TanhNormal",
    "TensorDictModule",
    "TensorDictModuleBase",
    "TensorDictSequential",
    "TruncatedNormal",
    "VDNMixer",
    "ValueOperator",
    "VmapModule",
    "action_space_of",
    "auto_input_shape",
    "flat_parameter",
    "get_module_list",
    "get_primers_from_module",
    "nn_from_config",
    "reset_noise",
    "set_interaction_type",
    "set_recurrent_mode",
    "take_sample",
]
