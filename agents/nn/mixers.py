"""Networks that make the value of a team's joint action out of the values of its agents' actions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Mixer", "QMixer", "VDNMixer"]


class Mixer(nn.Module, ABC):
    """Base of mixers: modules from the values of the actions that agents chose to the value of all of them together.

    Shapes: values ``[*batch, n_agents, 1]``, state ``[*batch, *state_shape]`` for mixers that need one, output
    ``[*batch, 1]``. A mixer never falls where the value of an agent rises, so that the best joint action is made of the
    best actions of the agents. A subclass defines :meth:`mix`.

    Args:
        n_agents: number of agents.
        needs_state: whether the weights depend on the state of the env.
        state_shape: shape of the state, without batch; empty where none is needed.

    Raises:
        ValueError: ``n_agents`` is not positive; on a call, if an input has another shape, or the state is missing.
    """

    def __init__(self, n_agents: int, *, needs_state: bool, state_shape: Sequence[int] = ()) -> None:
        super().__init__()
        if n_agents < 1:
            raise ValueError(f"{type(self).__name__}: n_agents: expected at least 1, found {n_agents}")
        self.n_agents, self.needs_state, self.state_shape = n_agents, needs_state, torch.Size(state_shape)

    def forward(self, chosen_action_value: Tensor, state: Tensor | None = None) -> Tensor:
        """The value of the joint action, ``[*batch, 1]``."""
        name = type(self).__name__
        if chosen_action_value.shape[-2:] != (self.n_agents, 1):
            raise ValueError(
                f"{name}: expected values of shape [*batch, {self.n_agents}, 1], "
                f"found {list(chosen_action_value.shape)}"
            )
        if not self.needs_state:
            return self.mix(chosen_action_value, None)
        expected = (*chosen_action_value.shape[:-2], *self.state_shape)
        if state is None or state.shape != expected:
            found = "none" if state is None else list(state.shape)
            raise ValueError(f"{name}: expected a state of shape {list(expected)}, found {found}")
        return self.mix(chosen_action_value, state)

    @abstractmethod
    def mix(self, chosen_action_value: Tensor, state: Tensor | None) -> Tensor:
        """The value of the joint action; inputs have the shapes that :class:`Mixer` tells."""


class VDNMixer(Mixer):
    """The sum of the values (value decomposition networks, Sunehag et al. 2018, https://arxiv.org/abs/1706.05296).

    Args:
        n_agents: number of agents.

    Raises:
        ValueError: see :class:`Mixer`.

    Example:
        >>> VDNMixer(3)(torch.tensor([[[1.0], [2.0], [4.0]]]))
        tensor([[7.]])
    """

    def __init__(self, n_agents: int) -> None:
        super().__init__(n_agents, needs_state=False)

    def mix(self, chosen_action_value: Tensor, state: Tensor | None) -> Tensor:
        """See :meth:`Mixer.mix`."""
        return chosen_action_value.sum(-2)


class QMixer(Mixer):
    """A network whose weights come from the state and are never negative (QMIX, Rashid et al. 2018,
    https://arxiv.org/abs/1803.11485, section 4).

    With ``q`` the values of the agents and ``s`` the state::

        hidden = elu(|W1(s)| q + b1(s))
        value  = |w2(s)| . hidden + b2(s)

    ``W1``, ``b1`` and ``w2`` are linear in the state, ``b2`` is a perceptron with one hidden layer.

    Args:
        state_shape: shape of the state, without batch.
        mixing_embed_dim: width of the hidden layer.
        n_agents: number of agents.
        device: device of the parameters.

    Raises:
        ValueError: see :class:`Mixer`.

    Example:
        >>> mixer = QMixer(state_shape=(8,), mixing_embed_dim=32, n_agents=3)
        >>> mixer(torch.randn(5, 3, 1), torch.randn(5, 8)).shape
        torch.Size([5, 1])
    """

    def __init__(
        self,
        state_shape: Sequence[int],
        mixing_embed_dim: int,
        n_agents: int,
        device: torch.device | str | int | None = None,
    ) -> None:
        super().__init__(n_agents, needs_state=True, state_shape=state_shape)
        self.embed_dim = mixing_embed_dim
        width = self.state_shape.numel()
        self.hyper_w_1 = nn.Linear(width, mixing_embed_dim * n_agents, device=device)
        self.hyper_b_1 = nn.Linear(width, mixing_embed_dim, device=device)
        self.hyper_w_2 = nn.Linear(width, mixing_embed_dim, device=device)
        self.hyper_b_2 = nn.Sequential(
            nn.Linear(width, mixing_embed_dim, device=device),
            nn.ReLU(),
            nn.Linear(mixing_embed_dim, 1, device=device),
        )

    def mix(self, chosen_action_value: Tensor, state: Tensor | None) -> Tensor:
        """See :meth:`Mixer.mix`."""
        batch = chosen_action_value.shape[:-2]
        values = chosen_action_value.reshape(-1, 1, self.n_agents)
        flat = state.reshape(len(values), -1)  # type: ignore[union-attr]
        weight = self.hyper_w_1(flat).abs().view(-1, self.n_agents, self.embed_dim)
        hidden = functional.elu(torch.baddbmm(self.hyper_b_1(flat).unsqueeze(1), values, weight)).squeeze(1)
        value = (hidden * self.hyper_w_2(flat).abs()).sum(-1, keepdim=True) + self.hyper_b_2(flat)
        return value.reshape(*batch, 1)
