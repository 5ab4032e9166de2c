"""Rewards that keep a policy close to a reference."""

from __future__ import annotations

from typing import Any

import torch
from tensordict import NestedKey, TensorDictBase
from torch import nn

from envkit.core.plan import path_of
from envkit.transforms.base import Transform

__all__ = ["KLRewardTransform"]


class KLRewardTransform(Transform):
    """Takes ``coef * (log pi(a|s) - log ref(a|s))`` from the reward, a sample of the KL divergence from a reference.

    For stored data, in a replay buffer or between collector and loss: an env does not see the log-probabilities of the
    policy that acts in it.

    Args:
        actor: the reference policy: a module whose ``get_dist(tensordict)`` returns a distribution of actions. It is
            not trained by what is computed here, and is no part of ``state_dict()``.
        coef: the weight of the divergence.
        in_keys: the reward, below ``"next"``; ``"reward"`` by default.
        out_keys: name of the result; the same by default.
        log_prob_key: log-probabilities of the actions under the policy that chose them, one for each reward.
        action_key: the actions.

    References:
        Ouyang et al., "Training language models to follow instructions with human feedback", NeurIPS 2022.

    Examples:
        >>> from tensordict import TensorDict
        >>> class Uniform(torch.nn.Module):
        ...     def get_dist(self, tensordict):
        ...         return torch.distributions.Categorical(torch.ones(*tensordict.batch_size, 4))
        >>> data = TensorDict({"action": torch.tensor([2]), "sample_log_prob": torch.zeros(1)}, [1])
        >>> data["next", "reward"] = torch.ones(1, 1)
        >>> KLRewardTransform(Uniform(), coef=0.5)(data)["next", "reward"]
        tensor([[0.3069]])
    """

    data_only = (
        "KLRewardTransform reads the policy's log-probabilities, which an env does not see: apply it to collected data"
    )

    def __init__(
        self,
        actor: nn.Module,
        coef: float = 1.0,
        in_keys: NestedKey = "reward",
        out_keys: NestedKey | None = None,
        *,
        log_prob_key: NestedKey = "sample_log_prob",
        action_key: NestedKey = "action",
    ) -> None:
        super().__init__(in_keys, out_keys)
        if not callable(getattr(actor, "get_dist", None)):
            raise TypeError(f"KLRewardTransform: expected an actor with get_dist, found {type(actor).__name__}")
        if len(self.in_keys) != 1:
            raise ValueError(f"KLRewardTransform: expected one reward, found {self.in_keys}")
        self.__dict__["actor"] = actor
        self.coef, self.log_prob_key, self.action_key = coef, log_prob_key, action_key

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Changes the reward under ``"next"``, in place.

        Raises:
            KeyError: the reward, the actions or their log-probabilities are missing.
        """
        actor: Any = self.__dict__["actor"]
        reward = self._take(tensordict, ("next", *path_of(self.in_keys[0])))
        chosen, action = self._take(tensordict, self.log_prob_key), self._take(tensordict, self.action_key)
        with torch.no_grad():
            reference = actor.get_dist(tensordict.copy()).log_prob(action)
        if chosen.numel() != reward.numel() or reference.numel() != reward.numel():
            raise ValueError(
                f"KLRewardTransform: expected one log-probability for each reward {list(reward.shape)}, found "
                f"{list(chosen.shape)}, and {list(reference.shape)} of the reference"
            )
        divergence = chosen.reshape(reward.shape) - reference.reshape(reward.shape)
        return tensordict.set(("next", *path_of(self.out_keys[0])), reward - self.coef * divergence)
