"""QMIX: monotonic value function factorisation (Rashid et al. 2018, https://arxiv.org/abs/1803.11485).

:class:`~agents.algorithms.vdn.VDN` with a mixing network in the place of the sum, whose weights come from the state.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from agents.algorithms.vdn import VDN, VDNConfig
from agents.nn.mixers import Mixer, QMixer

__all__ = ["QMIX", "QMIXConfig"]


@dataclass
class QMIXConfig(VDNConfig):
    """Hyper-parameters of :class:`QMIX`; steps and batch sizes count steps of the env."""

    mixing_embed_dim: int = 32
    """Width of the mixing network's hidden layer."""

    @staticmethod
    def ranges() -> dict[str, tuple[float, float]]:
        """Lowest and highest value of the numbers."""
        return {**VDNConfig.ranges(), "mixing_embed_dim": (1, math.inf)}


class QMIX(VDN):
    """An agent that learns by QMIX; arguments and errors are those of :class:`~agents.algorithms.vdn.VDN`.

    Examples:
        >>> from envkit import VmasEnv  # doctest: +SKIP
        >>> env = VmasEnv("balance", num_envs=4, continuous_actions=False)  # doctest: +SKIP
        >>> QMIX(env).train(max_steps=2_000)["iteration"]  # doctest: +SKIP
        2.0
    """

    Config = QMIXConfig
    config: QMIXConfig

    def _default_mixer(self) -> Mixer:
        return QMixer((self.spaces.state_width(),), self.config.mixing_embed_dim, self.spaces.team.numel())
