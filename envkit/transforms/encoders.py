"""Pretrained image encoders: R3M, VIP and VC-1."""

from __future__ import annotations

import os
from typing import ClassVar

import torch
from tensordict import NestedKey, TensorDictBase
from torch import nn

from envkit.errors import SpecError
from envkit.specs import Composite, TensorSpec, Unbounded
from envkit.transforms.base import Transform
from envkit.transforms.functional.images import resize
from envkit.transforms.keys import Keys
from envkit.transforms.networks import RESNETS, ResNet, VisionTransformer
from envkit.transforms.pretrained import load_weights

__all__ = ["R3MTransform", "VC1Transform", "VIPRewardTransform", "VIPTransform"]

Weights = str | os.PathLike[str] | None


class _Encoder(Transform):
    """Images ``[..., H, W, 3]``, bytes or floats from 0 to 1, as vectors of a network's features."""

    in_dtypes = (torch.uint8, torch.float32)
    urls: ClassVar[dict[str, str]]
    mean: torch.Tensor
    std: torch.Tensor

    def __init__(
        self, network: nn.Module, name: str, keys: tuple[Keys, Keys], size: int, weights: Weights, download: bool
    ) -> None:
        super().__init__(*keys)
        if size < 1:
            raise ValueError(f"{type(self).__name__}: size: expected at least 1, found {size}")
        self.size, self.network = size, network.eval().requires_grad_(False)
        # Of the images of ImageNet, by channel.
        for attribute, levels in (("mean", (0.485, 0.456, 0.406)), ("std", (0.229, 0.224, 0.225))):
            self.register_buffer(attribute, torch.tensor(levels).reshape(3, 1, 1), persistent=False)
        if weights is None and download:
            weights = self.urls[name]
        if weights is not None:
            load_weights(network, weights)

    def train(self, mode: bool = True) -> _Encoder:
        """Changes nothing about the network, whose statistics are fixed."""
        super().train(mode)
        self.network.eval()
        return self

    @torch.no_grad()
    def _apply_transform(self, value: torch.Tensor) -> torch.Tensor:
        if value.ndim < 3 or value.shape[-1] != 3:
            raise ValueError(f"expected images [..., H, W, 3], found shape {list(value.shape)}")
        images = value.movedim(-1, -3).flatten(0, -4) if value.ndim > 3 else value.movedim(-1, -3).unsqueeze(0)
        levels = images.float() if value.is_floating_point() else images.float() / 255
        levels = (resize(levels, self.size, self.size) - self.mean) / self.std
        return self.network(levels).reshape(*value.shape[:-3], -1)

    def _transform_leaf(self, leaf: TensorSpec) -> TensorSpec:
        changed = self._apply_transform(leaf.zero())
        return Unbounded(changed.shape, dtype=changed.dtype, device=leaf.device)


class R3MTransform(_Encoder):
    """Images as the features of R3M, which was learnt from videos of people at work.

    Args:
        model_name: ``"resnet18"``, ``"resnet34"`` (512 features) or ``"resnet50"`` (2048).
        in_keys: images ``[..., H, W, 3]``, bytes or floats from 0 to 1; ``["pixels"]`` by default.
        out_keys: the vectors; ``["r3m_vec"]`` by default.
        size: width and height that images are brought to.
        weights: a file, or its URL; without it, and without ``download``, weights are random.
        download: take the published weights.

    Raises:
        CheckpointError: ``weights`` are not those of such a network.

    References:
        Nair et al., "R3M: A Universal Visual Representation for Robot Manipulation", CoRL 2022.

    Examples:
        >>> from tensordict import TensorDict
        >>> encoder = R3MTransform("resnet18", size=32)
        >>> encoder(TensorDict({"pixels": torch.zeros(48, 64, 3, dtype=torch.uint8)}))["r3m_vec"].shape
        torch.Size([512])
    """

    urls: ClassVar[dict[str, str]] = {
        f"resnet{depth}": f"https://pytorch.s3.amazonaws.com/models/rl/r3m/r3m_{depth}.pt" for depth in (18, 34, 50)
    }

    def __init__(
        self,
        model_name: str = "resnet50",
        in_keys: Keys = None,
        out_keys: Keys = None,
        size: int = 224,
        *,
        weights: Weights = None,
        download: bool = False,
    ) -> None:
        network = ResNet(_known(self, model_name, RESNETS))
        super().__init__(network, model_name, _keys(in_keys, out_keys, "r3m_vec"), size, weights, download)


class VIPTransform(_Encoder):
    """Images as the 1024 features of VIP, in which distances tell how far a goal is.

    Args:
        model_name: ``"resnet50"``.
        in_keys: images ``[..., H, W, 3]``, bytes or floats from 0 to 1; ``["pixels"]`` by default.
        out_keys: the vectors; ``["vip_vec"]`` by default.
        size: width and height that images are brought to.
        weights: a file, or its URL; without it, and without ``download``, weights are random.
        download: take the published weights.

    Raises:
        CheckpointError: ``weights`` are not those of such a network.

    References:
        Ma et al., "VIP: Towards Universal Visual Reward and Representation via Value-Implicit Pre-Training", ICLR 2023.

    Examples:
        >>> from tensordict import TensorDict
        >>> VIPTransform(size=32)(TensorDict({"pixels": torch.zeros(48, 64, 3, dtype=torch.uint8)}))["vip_vec"].shape
        torch.Size([1024])
    """

    urls: ClassVar[dict[str, str]] = {"resnet50": "https://pytorch.s3.amazonaws.com/models/rl/vip/model.pt"}

    def __init__(
        self,
        model_name: str = "resnet50",
        in_keys: Keys = None,
        out_keys: Keys = None,
        size: int = 224,
        *,
        weights: Weights = None,
        download: bool = False,
    ) -> None:
        network = ResNet(_known(self, model_name, self.urls), outputs=1024)
        super().__init__(network, model_name, _keys(in_keys, out_keys, "vip_vec"), size, weights, download)


class VIPRewardTransform(VIPTransform):
    """The features of VIP, and how much closer each step came to a goal, as the reward.

    The reward is ``|v - g| - |v' - g|``, for the vectors before and after the step and that of the goal image, which
    stands in the data as ``"goal_embedding"``.

    Args:
        goal_image: ``[H, W, 3]``; a reset may be given another one, as ``"goal_image"``.
        reward_key: the reward that is replaced, of shape ``[..., 1]``.
        **kwargs: see :class:`VIPTransform`; there is one ``in_key``.

    Raises:
        KeyError: (when reset) there is no goal image.

    Examples:
        >>> from tensordict import TensorDict
        >>> transform = VIPRewardTransform(torch.zeros(8, 8, 3, dtype=torch.uint8), size=32)
        >>> image = torch.full((8, 8, 3), 255, dtype=torch.uint8)
        >>> td = TensorDict({"pixels": image, "next": {"pixels": torch.zeros_like(image)}})
        >>> transform(td)["next", "reward"].item() > 0
        True
    """

    goal_image: torch.Tensor | None

    def __init__(
        self, goal_image: torch.Tensor | None = None, reward_key: NestedKey = "reward", **kwargs: object
    ) -> None:
        super().__init__(**kwargs)  # type: ignore[arg-type]
        if len(self.in_keys) != 1:
            raise ValueError(f"VIPRewardTransform: expected one in_key, found {self.in_keys}")
        self.reward_key = reward_key
        self.register_buffer("goal_image", goal_image)

    @property
    def memory_keys(self) -> list[NestedKey]:
        """The vectors of the last image, and of the goal."""
        return [*self.out_keys, "goal_embedding"]

    def _goal(self, tensordict: TensorDictBase | None, size: torch.Size) -> torch.Tensor:
        """The goal's vectors, by what is given or by default."""
        image = None if tensordict is None else tensordict.get("goal_image", None)
        if image is None and tensordict is not None and tensordict.get("goal_embedding", None) is not None:
            return tensordict.get("goal_embedding")
        image = self.goal_image if image is None else image
        if image is None:
            raise KeyError("VIPRewardTransform: expected a goal_image, when it is made or as 'goal_image' at resets")
        return self._apply_transform(image).expand(*size, -1).clone()

    def _gain(self, before: torch.Tensor, after: torch.Tensor, goal: torch.Tensor) -> torch.Tensor:
        return (before - goal).norm(dim=-1, keepdim=True) - (after - goal).norm(dim=-1, keepdim=True)

    def _step(self, tensordict: TensorDictBase, next_tensordict: TensorDictBase) -> TensorDictBase:
        next_tensordict, goal = self._call(next_tensordict), self._take(tensordict, "goal_embedding")
        gain = self._gain(self._take(tensordict, self.out_keys[0]), next_tensordict.get(self.out_keys[0]), goal)
        return next_tensordict.set(self.reward_key, gain).set("goal_embedding", goal)

    def _reset(self, tensordict: TensorDictBase | None, tensordict_reset: TensorDictBase) -> TensorDictBase:
        goal = self._goal(tensordict, tensordict_reset.batch_size)
        return self._call(tensordict_reset).set("goal_embedding", goal)

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Adds vectors, and where there are steps their rewards."""
        tensordict = super().forward(tensordict)
        following = tensordict.get("next", None)
        if following is not None:
            key, goal = self.out_keys[0], self._goal(tensordict, tensordict.batch_size)
            following.set(self.reward_key, self._gain(tensordict.get(key), following.get(key), goal))
        return tensordict

    def transform_specs(self, specs: dict[str, Composite]) -> dict[str, Composite]:
        """Adds the goal's vectors, and tells the reward anew."""
        out = super().transform_specs(specs)
        reward, observation = out["reward"].clone(), out["observation"].clone()
        leaf = reward.get(self.reward_key, None)
        if leaf is None or leaf.shape != (*reward.shape, 1):
            raise SpecError(f"VIPRewardTransform: {self.reward_key!r}: expected a reward of shape [1], found {leaf}")
        reward[self.reward_key] = Unbounded(leaf.shape, device=leaf.device)
        observation["goal_embedding"] = observation[self.out_keys[0]].clone()
        return {**out, "reward": reward, "observation": observation}


class VC1Transform(_Encoder):
    """Images as the features of VC-1, a vision transformer that was learnt from videos seen from the first person.

    Args:
        in_keys: images ``[..., H, W, 3]``, bytes or floats from 0 to 1; ``["pixels"]`` by default.
        out_keys: the vectors; ``["vc1_vec"]`` by default.
        model_name: ``"base"`` (768 features) or ``"large"`` (1024).
        weights: a file, or its URL; without it, and without ``download``, weights are random.
        download: take the published weights.

    Raises:
        CheckpointError: ``weights`` are not those of such a network.

    References:
        Majumdar et al., "Where are we in the search for an Artificial Visual Cortex for Embodied Intelligence?",
        NeurIPS 2023.

    Examples:
        >>> with torch.device("meta"):
        ...     VC1Transform(model_name="large").network.features
        1024
    """

    urls: ClassVar[dict[str, str]] = {
        "base": "https://dl.fbaipublicfiles.com/eai-vc/vc1_vitb.pth",
        "large": "https://dl.fbaipublicfiles.com/eai-vc/vc1_vitl.pth",
    }
    sizes: ClassVar[dict[str, tuple[int, int, int]]] = {"base": (768, 12, 12), "large": (1024, 24, 16)}

    def __init__(
        self,
        in_keys: Keys = None,
        out_keys: Keys = None,
        model_name: str = "base",
        *,
        weights: Weights = None,
        download: bool = False,
    ) -> None:
        network = VisionTransformer(*self.sizes[_known(self, model_name, self.sizes)])
        super().__init__(network, model_name, _keys(in_keys, out_keys, "vc1_vec"), 224, weights, download)


def _known(transform: Transform, name: str, names: dict) -> str:
    if name not in names:
        raise ValueError(f"{type(transform).__name__}: model_name: expected one of {list(names)}, found {name!r}")
    return name


def _keys(in_keys: Keys, out_keys: Keys, name: str) -> tuple[Keys, Keys]:
    if in_keys is None:
        in_keys = ["pixels"]
    return in_keys, [name] if out_keys is None else out_keys
