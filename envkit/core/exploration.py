"""How a stochastic policy turns its distribution into an action.

The switch is tensordict's own, so that every probabilistic module obeys it; the names are those of the RL world.
"""

from __future__ import annotations

from tensordict.nn import InteractionType as ExplorationType
from tensordict.nn import interaction_type as exploration_type
from tensordict.nn import set_interaction_type as set_exploration_type

__all__ = ["ExplorationType", "exploration_type", "set_exploration_type"]
