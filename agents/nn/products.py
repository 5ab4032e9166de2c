"""Matrix products by the quickest library for the processor, in the precision of their arguments."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

__all__ = ["multiply", "multiply_into", "onednn_pays"]

# Below so many multiplications a call of oneDNN costs more than it gains: 64 x 128 x 128 is about where both are equal.
ONEDNN_FROM = 64 * 128 * 128
# Results with fewer columns, from so many elements of the left factor on, are computed in their transposed form.
NARROW_BELOW, NARROW_FROM = 32, 64 * 128


def multiply(left: Tensor, right: Tensor, bias: Tensor | None = None, *, relu: bool = False) -> Tensor:
    """``left @ right + bias``, of shape ``[m, n]``, and its positive part with ``relu``. No gradient passes through.

    MKL, which PyTorch's own products use, does not take its AVX-512 path on processors of AMD; oneDNN does. Where such
    a processor computes 512 bits at a time (from Zen 5 on) that is twice as quick, see docs/performance.md. Float32
    stays float32; only the order of summation differs.

    Args:
        left: ``[m, k]``.
        right: ``[k, n]``.
        bias: ``[n]``.
        relu: whether negative results become zero.

    Example:
        >>> multiply(torch.ones(2, 3), torch.ones(3, 4), -torch.tensor([0.0, 1.0, 2.0, 4.0]), relu=True)
        tensor([[3., 2., 1., 0.],
                [3., 2., 1., 0.]])
    """
    if onednn_pays(left, right):
        return torch.ops.mkldnn._linear_pointwise(left, right.t(), bias, "relu" if relu else "none", [], "")
    if _is_narrow(left, right):
        sides = right.t(), left.t()
        product = (torch.mm(*sides) if bias is None else torch.addmm(bias.unsqueeze(1), *sides)).t()
    else:
        product = torch.mm(left, right) if bias is None else torch.addmm(bias, left, right)
    return product.relu_() if relu else product


def multiply_into(place: Tensor, left: Tensor, right: Tensor) -> None:
    """Write :func:`multiply` of ``left`` and ``right`` into ``place``, ``[m, n]``.

    Example:
        >>> place = torch.empty(2, 4)
        >>> multiply_into(place, torch.ones(2, 3), torch.ones(3, 4))
        >>> place.unique()
        tensor([3.])
    """
    if onednn_pays(left, right) or _is_narrow(left, right):
        place.copy_(multiply(left, right))
    else:
        torch.mm(left, right, out=place)


def onednn_pays(left: Tensor, right: Tensor) -> bool:
    """Whether ``left @ right`` (``[*, m, k]`` and ``[k, n]``) is worth a call of oneDNN, on this processor.

    Example:
        >>> onednn_pays(torch.ones(8, 64), torch.ones(64, 64))
        False
    """
    return (
        _onednn_is_quicker()
        and left.numel() * right.shape[1] >= ONEDNN_FROM
        and left.dtype is right.dtype is torch.float32
        and left.device.type == "cpu"
    )


def _is_narrow(left: Tensor, right: Tensor) -> bool:
    # MKL takes up to five times as long for a narrow result as for a flat one, but for the widths of its own blocks.
    return 1 < right.shape[1] < NARROW_BELOW and right.shape[1] != 16 and left.numel() >= NARROW_FROM


@cache
def _onednn_is_quicker() -> bool:
    # Told by the processor, rather than measured: the same machine must always give the same bits.
    try:
        told = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    family = re.search(r"^cpu family\s*: (\d+)", told, re.MULTILINE)
    full_width = "AuthenticAMD" in told and family is not None and int(family[1]) >= 26  # Zen 5: family 1Ah
    return full_width and torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
