"""Networks for the agents of a group: one for all of them or one each, of their own input or of everybody's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from agents.nn.convnet import IMAGE_DIMS, ConvNet
from agents.nn.mlp import MLP
from envkit.core.inlined_layers import on_tensors

__all__ = ["MultiAgentConvNet", "MultiAgentMLP", "MultiAgentNetwork"]


class MultiAgentNetwork(nn.Module):
    """Applies networks to the agents of a group, which stand in a dimension of their inputs.

    Shapes: input ``[*batch, n_agents, *features]``, output ``[*batch, n_agents, *out]``.

    ==================  ==================================================  ======================================
    ..                  ``share_params=True``                               ``share_params=False``
    ==================  ==================================================  ======================================
    ``centralized=``    one network, of the input of each agent             a network each, of the agent's input
    ``False``
    ``centralized=``    one network of all inputs; its output is that of    a network each, of all inputs
    ``True``            every agent
    ==================  ==================================================  ======================================

    Args:
        make: returns a new network from the features of one agent, or of all agents joined, to ``[*batch, *out]``.
        n_agents: number of agents.
        centralized: whether a network sees the inputs of all agents, joined along the first dimension of the features.
        share_params: whether there is one network for all agents.
        feature_dims: number of dimensions of the features of one agent.

    Attributes:
        agent_networks: the networks: one, or one for each agent.

    Raises:
        ValueError: ``n_agents`` is not positive; on a call, if the input has another number of agents.

    Example:
        >>> net = MultiAgentNetwork(lambda: nn.Linear(6, 2), n_agents=3, centralized=True, share_params=False)
        >>> net(torch.ones(5, 3, 2)).shape
        torch.Size([5, 3, 2])
    """

    def __init__(
        self,
        make: Callable[[], nn.Module],
        n_agents: int,
        *,
        centralized: bool = False,
        share_params: bool = True,
        feature_dims: int = 1,
    ) -> None:
        super().__init__()
        if n_agents < 1:
            raise ValueError(f"{type(self).__name__}: n_agents: expected at least 1, found {n_agents}")
        self.n_agents, self.centralized, self.share_params = n_agents, centralized, share_params
        self._dims = feature_dims
        self.agent_networks = nn.ModuleList(make() for _ in range(1 if share_params else n_agents))

    def forward(self, *inputs: Tensor) -> Tensor:
        """Outputs for the inputs, joined along the last dimension when there are several."""
        joined = inputs[0] if len(inputs) == 1 else torch.cat(inputs, -1)
        self._check(joined)
        return self._run(joined, list(self.agent_networks))

    def each(self, inputs: Tensor) -> Tensor:
        """What the network of each agent makes of an input of its own, ``[*batch, n_agents, *features]``.

        For a centralized network, ``features`` are those of all agents joined: here they may differ between agents, as
        where each agent asks what another action of its own would be worth.

        Example:
            >>> net = MultiAgentMLP(2, 1, 3, centralized=True, share_params=False)
            >>> seen = torch.randn(5, 3, 2)
            >>> torch.equal(net.each(seen.flatten(1).unsqueeze(1).expand(5, 3, 6)), net(seen))
            True
        """
        self._check(inputs)
        return self._each(inputs, list(self.agent_networks))

    def on_tensors(self) -> Callable[..., Tensor]:
        """The same without the price of calling modules; see ``on_tensors`` in ``envkit/core/inlined_layers.py``."""
        networks = [on_tensors(network) for network in self.agent_networks]

        def run(*inputs: Tensor) -> Tensor:
            return self._run(inputs[0] if len(inputs) == 1 else torch.cat(inputs, -1), networks)

        return run

    def _run(self, joined: Tensor, networks: Sequence[Callable[[Tensor], Tensor]]) -> Tensor:
        if not self.centralized:
            return self._each(joined, networks)
        everything = joined.flatten(-self._dims - 1, -self._dims)
        outputs = [network(everything) for network in networks]
        return torch.stack(outputs * self.n_agents if self.share_params else outputs, joined.ndim - self._dims - 1)

    def _each(self, inputs: Tensor, networks: Sequence[Callable[[Tensor], Tensor]]) -> Tensor:
        if self.share_params:
            return networks[0](inputs)
        dim = inputs.ndim - self._dims - 1
        return torch.stack([network(own) for network, own in zip(networks, inputs.unbind(dim), strict=True)], dim)

    def _check(self, inputs: Tensor) -> None:
        if inputs.ndim <= self._dims or inputs.shape[-self._dims - 1] != self.n_agents:
            features = ", *features" if self._dims > 1 else ", features"
            raise ValueError(
                f"{type(self).__name__}: expected shape [*batch, {self.n_agents}{features}] for {self.n_agents} "
                f"agents, found {list(inputs.shape)}"
            )


class MultiAgentMLP(MultiAgentNetwork):
    """An :class:`MLP` for the agents of a group; see :class:`MultiAgentNetwork`.

    A policy of cooperating agents is usually decentralized with shared parameters; a critic that is used in training
    only may be centralized (MAPPO, Yu et al. 2022, https://arxiv.org/abs/2103.01955; MADDPG, Lowe et al. 2017,
    https://arxiv.org/abs/1706.02275).

    Shapes: inputs ``[*batch, n_agents, n]`` whose widths add up to ``n_agent_inputs``, output
    ``[*batch, n_agents, n_agent_outputs]``.

    Args:
        n_agent_inputs: number of input features of one agent; ``None`` infers it from the first call.
        n_agent_outputs: number of output features of one agent.
        n_agents: number of agents.
        centralized: whether the network sees the inputs of all agents.
        share_params: whether there is one network for all agents.
        device: device of the parameters.
        depth: number of hidden layers, see :class:`MLP`.
        num_cells: width of the hidden layers, one for all or one each.
        activation_class: module (or function that makes one) placed after each hidden layer.
        kwargs: further arguments of :class:`MLP`.

    Raises:
        ValueError: ``n_agents`` is not positive; on a call, if the input has another number of agents.

    Example:
        >>> policy = MultiAgentMLP(4, 2, n_agents=3, centralized=False, share_params=True, num_cells=[16])
        >>> observation = torch.randn(5, 3, 4)
        >>> policy(observation).shape, len(policy.agent_networks)
        (torch.Size([5, 3, 2]), 1)
        >>> critic = MultiAgentMLP(6, 1, n_agents=3, centralized=True, share_params=False, num_cells=[16])
        >>> critic(observation, policy(observation)).shape, len(critic.agent_networks)
        (torch.Size([5, 3, 1]), 3)
    """

    def __init__(
        self,
        n_agent_inputs: int | None,
        n_agent_outputs: int,
        n_agents: int,
        *,
        centralized: bool,
        share_params: bool,
        device: torch.device | str | int | None = None,
        depth: int | None = None,
        num_cells: int | Sequence[int] | None = None,
        activation_class: Callable[..., nn.Module] = nn.Tanh,
        **kwargs: Any,
    ) -> None:
        width = n_agent_inputs
        if width is not None and centralized:
            width *= n_agents

        def make() -> MLP:
            return MLP(
                width,
                n_agent_outputs,
                depth=depth,
                num_cells=num_cells,
                activation_class=activation_class,
                device=device,
                **kwargs,
            )

        super().__init__(make, n_agents, centralized=centralized, share_params=share_params)


class MultiAgentConvNet(MultiAgentNetwork):
    """A :class:`ConvNet` for the agents of a group, each of which sees an image; see :class:`MultiAgentNetwork`.

    Shapes: input ``[*batch, n_agents, channels, height, width]``, output ``[*batch, n_agents, features]``. Where the
    network is centralized, the images of all agents are joined along their channels.

    Args:
        n_agents: number of agents.
        centralized: whether the network sees the images of all agents.
        share_params: whether there is one network for all agents.
        in_features: number of channels of one agent's image; ``None`` infers it from the first call.
        device: device of the parameters.
        num_cells: channels of the layers, one for all (default 32) or one each.
        kernel_sizes: sizes of the kernels, one for all or one each.
        strides: likewise.
        paddings: likewise.
        activation_class: module (or function that makes one) placed after each layer.
        kwargs: further arguments of :class:`ConvNet`.

    Raises:
        ValueError: ``n_agents`` is not positive; on a call, if the input is no image or of another number of agents.

    Example:
        >>> net = MultiAgentConvNet(n_agents=3, centralized=True, share_params=True, num_cells=[4, 8])
        >>> net(torch.randn(5, 3, 2, 32, 32)).shape
        torch.Size([5, 3, 200])
    """

    def __init__(
        self,
        n_agents: int,
        centralized: bool,
        share_params: bool,
        *,
        in_features: int | None = None,
        device: torch.device | str | int | None = None,
        num_cells: int | Sequence[int] | None = None,
        kernel_sizes: int | Sequence[Any] = 5,
        strides: int | Sequence[Any] = 2,
        paddings: int | Sequence[Any] = 0,
        activation_class: Callable[..., nn.Module] = nn.ELU,
        **kwargs: Any,
    ) -> None:
        channels = in_features
        if channels is not None and centralized:
            channels *= n_agents

        def make() -> ConvNet:
            return ConvNet(
                channels,
                num_cells=num_cells,
                kernel_sizes=kernel_sizes,
                strides=strides,
                paddings=paddings,
                activation_class=activation_class,
                device=device,
                **kwargs,
            )

        super().__init__(make, n_agents, centralized=centralized, share_params=share_params, feature_dims=IMAGE_DIMS)
