"""Losses, as functions and as modules over TensorDicts."""

from agents.objectives.a2c import A2CLoss
from agents.objectives.action_value import chosen_value, greedy_value
from agents.objectives.actor_critic import ActorCriticLoss
from agents.objectives.clip_ppo import ClipPPOLoss
from agents.objectives.cql import CQLLoss, conservative_penalty
from agents.objectives.crossq import CrossQLoss
from agents.objectives.ddpg import DDPGLoss
from agents.objectives.diagnostics import approximate_kl, clip_fraction, effective_sample_size
from agents.objectives.discrete_cql import DiscreteCQLLoss, discrete_conservative_penalty
from agents.objectives.discrete_sac import DiscreteSACLoss, discrete_soft_value
from agents.objectives.distributional_dqn import DistributionalDQNLoss, categorical_target, distributional_dqn_loss
from agents.objectives.dqn import DQNLoss, dqn_loss
from agents.objectives.frozen import frozen_copy, hold_out_net
from agents.objectives.iql import IQLLoss, advantage_weighted_loss, expectile_loss
from agents.objectives.kl_adaptive_lr import KLAdaptiveLR
from agents.objectives.kl_ppo import KLPENPPOLoss
from agents.objectives.loss_module import LossModule
from agents.objectives.max_entropy import MaxEntropyLoss, sac_actor_loss, soft_value
from agents.objectives.off_policy import OffPolicyLoss
from agents.objectives.policy_gradient import policy_gradient_loss
from agents.objectives.ppo import PPOLoss
from agents.objectives.q_learning import QLearningLoss
from agents.objectives.qmix import QMixerLoss
from agents.objectives.quantile_dqn import QuantileDQNLoss, quantile_huber_loss
from agents.objectives.redq import REDQLoss
from agents.objectives.reinforce import ReinforceLoss
from agents.objectives.sac import SACLoss
from agents.objectives.surrogate import clipped_surrogate, kl_penalty, surrogate
from agents.objectives.target_update import HardUpdate, SoftUpdate, TargetNetUpdater
from agents.objectives.td3 import TD3Loss, smoothed_action
from agents.objectives.temperature import Temperature, temperature_loss
from agents.objectives.value_loss import value_loss

__all__ = [
    "A2CLoss",
    "ActorCriticLoss",
    "CQLLoss",
    "ClipPPOLoss",
    "CrossQLoss",
    "DDPGLoss",
    "DQNLoss",
    "DiscreteCQLLoss",
    "DiscreteSACLoss",
    "DistributionalDQNLoss",
    "HardUpdate",
    "IQLLoss",
    "KLAdaptiveLR",
    "KLPENPPOLoss",
    "LossModule",
    "MaxEntropyLoss",
    "OffPolicyLoss",
    "PPOLoss",
    "QLearningLoss",
    "QMixerLoss",
    "QuantileDQNLoss",
    "REDQLoss",
    "ReinforceLoss",
    "SACLoss",
    "SoftUpdate",
    "TD3Loss",
    "TargetNetUpdater",
    "Temperature",
    "advantage_weighted_loss",
    "approximate_kl",
    "categorical_target",
    "chosen_value",
    "clip_fraction",
    "clipped_surrogate",
    "conservative_penalty",
    "discrete_conservative_penalty",
    "discrete_soft_value",
    "distributional_dqn_loss",
    "dqn_loss",
    "effective_sample_size",
    "expectile_loss",
    "frozen_copy",
    "greedy_value",
    "hold_out_net",
    "kl_penalty",
    "policy_gradient_loss",
    "quantile_huber_loss",
    "sac_actor_loss",
    "smoothed_action",
    "soft_value",
    "surrogate",
    "temperature_loss",
    "value_loss",
]
