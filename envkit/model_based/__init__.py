"""Envs whose steps a module predicts."""

from envkit.model_based.base import ModelBasedEnvBase
from envkit.model_based.dreamer import DreamerDecoder, DreamerEnv

__all__ = ["DreamerDecoder", "DreamerEnv", "ModelBasedEnvBase"]
