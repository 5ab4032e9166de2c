"""Losses, as functions and as modules over TensorDicts."""

from agents.objectives.ppo import (
    ClipPPOLoss,
    approximate_kl,
    clip_fraction,
    clipped_surrogate,
    effective_sample_size,
    value_loss,
)

__all__ = [
    "ClipPPOLoss",
    "approximate_kl",
    "clip_fraction",
    "clipped_surrogate",
    "effective_sample_size",
    "value_loss",
]
