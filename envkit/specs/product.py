"""All combinations of the members of several specs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from envkit.errors import SpecError

__all__ = ["MAX_ENUMERATION", "product_rows"]

# Beyond this, a table of all members is a mistake rather than a plan.
MAX_ENUMERATION = 10_000_000


def product_rows(counts: Sequence[int], device: torch.device | None) -> list[Tensor]:
    """Return, for each spec, which of its ``counts[i]`` members each combination takes; the last varies fastest.

    Raises:
        SpecError: if there are more than ten million combinations.

    >>> [rows.tolist() for rows in product_rows([2, 3], None)]
    [[0, 0, 0, 1, 1, 1], [0, 1, 2, 0, 1, 2]]
    """
    total = math.prod(counts)
    if total > MAX_ENUMERATION:
        raise SpecError(f"expected at most {MAX_ENUMERATION} members, found {total}")
    rows = []
    period = total
    for count in counts:
        period //= count
        rows.append(torch.arange(total, device=device) // period % count)
    return rows
