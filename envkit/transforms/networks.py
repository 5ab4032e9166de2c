"""Image networks that pretrained weights are published for, under the names that those weights have.

Residual networks: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, as torchvision names them; the
vision transformer: Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021, as timm does.
"""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["RESNETS", "ResNet", "VisionTransformer"]


class _Basic(nn.Module):
    """Two convolutions around which the input is added."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = width * self.expansion
        for i, (size, before, after, step) in enumerate(self._layers(inputs, width, stride), start=1):
            conv = nn.Conv2d(before, after, size, step, padding=size // 2, bias=False)
            self.add_module(f"conv{i}", conv)
            self.add_module(f"bn{i}", nn.BatchNorm2d(after))
        self.count = i
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(outputs))

    def _layers(self, inputs: int, width: int, stride: int) -> list[tuple[int, int, int, int]]:
        """Kernel size, channels before and after, and stride of each convolution."""
        return [(3, inputs, width, stride), (3, width, width, 1)]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """From ``[N, inputs, H, W]`` to ``[N, width * expansion, H / stride, W / stride]``."""
        out = x
        for i in range(1, self.count + 1):
            out = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(out))
            if i < self.count:
                out = out.relu()
        return (out + (x if self.downsample is None else self.downsample(x))).relu()


class _Bottleneck(_Basic):
    expansion = 4

    def _layers(self, inputs: int, width: int, stride: int) -> list[tuple[int, int, int, int]]:
        return [(1, inputs, width, 1), (3, width, width, stride), (1, width, 4 * width, 1)]


RESNETS: dict[str, tuple[type[_Basic], tuple[int, int, int, int]]] = {
    "resnet18": (_Basic, (2, 2, 2, 2)),
    "resnet34": (_Basic, (3, 4, 6, 3)),
    "resnet50": (_Bottleneck, (3, 4, 6, 3)),
}
"""The kind of blocks, and how many there are at each of four resolutions."""


class ResNet(nn.Module):
    """A residual network.

    Args:
        name: one of :data:`RESNETS`.
        outputs: size of a linear last layer; None for the averaged features themselves, 512 or 2048.
        width: channels at the first resolution.

    Examples:
        >>> ResNet("resnet18", width=4).eval()(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 32])
    """

    def __init__(self, name: str, outputs: int | None = None, width: int = 64) -> None:
        super().__init__()
        block, counts = RESNETS[name]
        self.conv1 = nn.Conv2d(3, width, 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        channels = width
        for i, count in enumerate(counts):
            blocks = []
            for j in range(count):
                blocks.append(block(channels, width << i, 2 if i and not j else 1))
                channels = (width << i) * block.expansion
            self.add_module(f"layer{i + 1}", nn.Sequential(*blocks))
        self.features = channels if outputs is None else outputs
        self.fc: nn.Module = nn.Identity() if outputs is None else nn.Linear(channels, outputs)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """From ``[N, 3, H, W]`` to ``[N, features]``."""
        x = self.maxpool(self.bn1(self.conv1(images)).relu())
        for i in range(1, 5):
            x = getattr(self, f"layer{i}")(x)
        return self.fc(x.mean((-2, -1)))


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """From ``[N, tokens, width]`` to the same."""
        parts = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(*parts)
        return self.proj(mixed.transpose(1, 2).flatten(2))


class _Layer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.attn = _Attention(width, heads)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, 4 * width), "fc2": nn.Linear(4 * width, width)})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """From ``[N, tokens, width]`` to the same."""
        x = x + self.attn(self.norm1(x))
        return x + self.mlp["fc2"](nn.functional.gelu(self.mlp["fc1"](self.norm2(x))))


class VisionTransformer(nn.Module):
    """A vision transformer on patches of 16 x 16 pixels, whose answer is its class token.

    Args:
        width: size of a token.
        depth: number of layers.
        heads: of attention, a divisor of ``width``.
        size: width and height of images.

    Examples:
        >>> VisionTransformer(width=8, depth=1, heads=2, size=32)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 8])
    """

    def __init__(self, width: int = 768, depth: int = 12, heads: int = 12, size: int = 224) -> None:
        super().__init__()
        self.features = width
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, width, 16, 16)})
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + (size // 16) ** 2, width))
        self.blocks = nn.Sequential(*(_Layer(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """From ``[N, 3, size, size]`` to ``[N, width]``."""
        patches = self.patch_embed["proj"](images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls_token.expand(len(images), -1, -1), patches], 1) + self.pos_embed
        return self.norm(self.blocks(tokens))[:, 0]
