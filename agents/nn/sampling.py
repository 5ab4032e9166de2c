"""How a value is taken from a distribution: by chance, or deterministically."""

from __future__ import annotations

from tensordict.nn import InteractionType
from torch import Tensor
from torch.distributions import Distribution

__all__ = ["take_sample"]


def take_sample(dist: Distribution, interaction: InteractionType) -> Tensor:
    """Return one value of ``dist``, shape ``[*batch_shape, *event_shape]``.

    ``RANDOM`` draws a value (reparameterised where the distribution can), ``MODE``, ``MEAN`` and ``MEDIAN``
    read the attribute of that name, and ``DETERMINISTIC`` reads ``deterministic_sample``, or without one the
    mode where values are discrete and the mean elsewhere. The mean of a discrete distribution is no value it
    can take, so ``MEAN`` gives the mode there.

    Raises:
        NotImplementedError: if the distribution does not define what ``interaction`` asks for.

    Example:
        >>> import torch
        >>> from torch.distributions import Categorical
        >>> take_sample(Categorical(probs=torch.tensor([0.3, 0.7])), InteractionType.DETERMINISTIC)
        tensor(1)
    """
    if interaction is InteractionType.RANDOM:
        return dist.rsample() if dist.has_rsample else dist.sample()
    if interaction is InteractionType.DETERMINISTIC:
        value = getattr(dist, "deterministic_sample", None)
        if value is not None:
            return value
        interaction = InteractionType.MEAN
    if interaction is InteractionType.MEAN and dist.support is not None and dist.support.is_discrete:
        interaction = InteractionType.MODE
    try:
        return getattr(dist, interaction.value)
    except (AttributeError, NotImplementedError) as error:
        raise NotImplementedError(f"{type(dist).__name__} does not define its {interaction.value}") from error
