"""Imagination in latent space, after Dreamer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from tensordict import NestedKey, TensorDict, TensorDictBase
from torch import nn

from envkit.core.env import EnvBase
from envkit.errors import SpecError
from envkit.model_based.base import ModelBasedEnvBase
from envkit.specs import Composite, Unbounded
from envkit.transforms import Transform

__all__ = ["DreamerDecoder", "DreamerEnv"]


class DreamerEnv(ModelBasedEnvBase):
    """An env that lives in the latent space of a recurrent state-space model.

    From Hafner, Lillicrap, Ba and Norouzi, "Dream to control: learning behaviors by latent imagination" (2020): the
    state of the world is a stochastic part, ``state``, drawn from the prior, and a deterministic one, ``belief``.

    ============== ====================================== =========================================================
    entry          dtype and shape                        content
    ============== ====================================== =========================================================
    state          float32 ``[*batch, *prior_shape]``     stochastic part, read and written by the world model
    belief         float32 ``[*batch, *belief_shape]``    deterministic part, alike
    reward         float32 ``[*batch, 1]``                written by the world model
    action                                                as ``action_spec``, or :meth:`set_specs_from_env`, says
    ============== ====================================== =========================================================

    A reset starts from the ``state`` and ``belief`` in its input (those that were inferred from real data), if there
    are any and it is not the reset of elements that ended, and from zeros otherwise.

    Args:
        world_model: reads ``state``, ``belief`` and the action, writes the next ``state`` and ``belief`` and the
            ``reward``.
        prior_shape: shape of ``state``.
        belief_shape: shape of ``belief``.
        obs_decoder: from ``state`` and ``belief`` to observations; needed by :meth:`decode_obs` and
            :class:`DreamerDecoder`.
        device: device of inputs, outputs and the modules.
        batch_size: a batch size of the env's own; without one it goes by that of its input.
    """

    def __init__(
        self,
        world_model: nn.Module,
        prior_shape: int | Sequence[int],
        belief_shape: int | Sequence[int],
        obs_decoder: nn.Module | None = None,
        device: torch.device | str | int | None = None,
        batch_size: Sequence[int] | torch.Size | None = None,
    ) -> None:
        super().__init__(world_model, device, batch_size)
        self.obs_decoder = obs_decoder if obs_decoder is None or self.device is None else obs_decoder.to(self.device)
        latent = Composite(
            state=Unbounded(prior_shape, dtype=torch.float32), belief=Unbounded(belief_shape, dtype=torch.float32)
        )
        self.observation_spec_unbatched = latent
        self.state_spec_unbatched = latent.clone()

    def set_specs_from_env(self, env: EnvBase) -> DreamerEnv:
        """Takes the actions and rewards of the real env; the observations are the latent ones. Returns self.

        Raises:
            SpecError: its batch size is not the one of this env.
        """
        self.full_action_spec, self.full_reward_spec = env.full_action_spec.clone(), env.full_reward_spec.clone()
        return self

    def _reset(self, tensordict: TensorDictBase | None = None) -> TensorDictBase:
        size = self.batch_size if tensordict is None else tensordict.batch_size
        out = TensorDict({}, size, device=self.device)
        given = tensordict is not None and "_reset" not in tensordict
        for key in ("state", "belief"):
            value = tensordict.get(key, None) if given and tensordict is not None else None
            out.set(key, self.plan_for(size).root_spec[key].zero() if value is None else value)
        return out

    def decode_obs(self, tensordict: TensorDictBase, compute_latents: bool = False) -> TensorDictBase:
        """Writes the observations that belong to ``state`` and ``belief``, and returns the TensorDict.

        Args:
            tensordict: with ``state`` and ``belief``.
            compute_latents: first have the world model predict them, from those before and the action.

        Raises:
            ValueError: there is no decoder.
        """
        if self.obs_decoder is None:
            raise ValueError("decode_obs: expected an obs_decoder, found none; hand one to DreamerEnv")
        if compute_latents:
            tensordict = self.world_model(tensordict)
        return self.obs_decoder(tensordict)


class DreamerDecoder(Transform):
    """Shows what an env imagines: the observations that its decoder makes of its latents, to look at or to record.

    They are added to what a :class:`DreamerEnv` shows, under the decoder's ``out_keys``.

    Examples:
        >>> from tensordict.nn import TensorDictModule
        >>> world = TensorDictModule(lambda s, b: (s, b, b.sum(-1, keepdim=True)), ["state", "belief"],
        ...     ["state", "belief", "reward"])
        >>> decoder = TensorDictModule(nn.Linear(3, 8), in_keys=["belief"], out_keys=["pixels"])
        >>> env = DreamerEnv(world, prior_shape=2, belief_shape=3, obs_decoder=decoder)
        >>> env.action_spec = Unbounded((1,))
        >>> env.append_transform(DreamerDecoder()).rollout(5)["next", "pixels"].shape
        torch.Size([5, 8])
    """

    def _call(self, next_tensordict: TensorDictBase) -> TensorDictBase:
        with torch.no_grad():
            shown = self._decoder()(next_tensordict.copy())
        for key in self._shown():
            next_tensordict.set(key, shown.get(key))
        return next_tensordict

    def _decoder(self) -> nn.Module:
        decoder = getattr(getattr(self.container, "base_env", None), "obs_decoder", None)
        if decoder is None:
            raise SpecError("DreamerDecoder: expected a DreamerEnv with an obs_decoder inside, found none")
        return decoder

    def _shown(self) -> list[NestedKey]:
        return list(self._decoder().out_keys)  # type: ignore[arg-type]

    def transform_observation_spec(self, observation_spec: Composite) -> Composite:
        """Adds what the decoder makes of zeros."""
        with torch.no_grad():
            sample = self._decoder()(observation_spec.zero())
        out = observation_spec.clone()
        for key in self._shown():
            value = sample.get(key)
            out[key] = Unbounded(value.shape, dtype=value.dtype, device=observation_spec.device)
        return out
