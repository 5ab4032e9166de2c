"""The table of docs/transforms/README.md names every transform, and says what its class says."""

from __future__ import annotations

import contextlib
import inspect
import re
from pathlib import Path
from unittest.mock import create_autospec

import pytest
import torch
from tensordict.nn import TensorDictModule
from torch import nn

import envkit.record
import envkit.transforms
from envkit import Transform, Unbounded

FOLDER = Path(__file__).parents[2] / "docs/transforms"
INDEX = FOLDER / "README.md"
ROW = re.compile(r"^\| \[`(\w+)`\]\((\w+\.md)\) \| (.+) \| (.+) \| (.+) \| (.+) \|$", re.M)

# What others are made of has no properties of its own.
BUILDING_BLOCKS = {"Transform", "Compose", "ObservationTransform"}

MODULE = TensorDictModule(nn.Identity(), ["a"], ["b"])


class Actor(nn.Module):
    def get_dist(self, tensordict):
        return torch.distributions.Categorical(torch.ones(2))


ARGUMENTS = {
    "ActionChunkTransform": (3,),
    "ActionDiscretizer": (3,),
    "BatchSizeTransform": ([2],),
    "BurnInTransform": (TensorDictModule(nn.Identity(), ["a"], [("next", "a")]), 2),
    "CatFrames": (4, -3),
    "CatTensors": (["a", "b"],),
    "CenterCrop": (8,),
    "ClipTransform": (["a"],),
    "ConditionalPolicySwitch": (nn.Identity(), bool),
    "ConditionalSkip": (bool,),
    "Crop": (8,),
    "DTypeCastTransform": (torch.float32, torch.float16),
    "DataLoadingPrimer": ([{"goal": torch.zeros(1)}],),
    "DelayObservation": (2,),
    "DeviceCastTransform": ("cpu",),
    "DiscreteActionProjection": (2, 5),
    "DoneTransform": (("agents", "reward"),),
    "ExcludeTransform": ("a",),
    "ExpandAs": ("a", "b", "c"),
    "FunctionTransform": (abs,),
    "Hash": ("a", "b"),
    "KLRewardTransform": (Actor(),),
    "LineariseRewards": ("reward",),
    "MultiAction": (2,),
    "MultiStepTransform": (3, 0.9),
    "ObservationDiscretizer": (3,),
    "PermuteTransform": ((-1, -2), ["a"]),
    "PolicyAgeFilter": (1, 0),
    "RandomCropTensorDict": (3,),
    "RandomTruncationTransform": (1, 2),
    "RenameTransform": ("a", "b"),
    "Resize": (8,),
    "RewardClipping": (0.0,),
    "RewardScaling": (0.0, 1.0),
    "SelectTransform": ("a",),
    "SqueezeTransform": (-1, ["a"]),
    "Stack": (["a", "b"], "c"),
    "TargetReturn": (1.0,),
    "TensorDictRecorder": ("steps",),
    "TerminateTransform": (bool,),
    "UnsqueezeTransform": (-1, ["a"]),
    "gSDENoise": (3,),
}
NAMED_ARGUMENTS = {
    "ClipTransform": {"low": 0.0},
    "ModuleTransform": {"module": MODULE},
    "TensorDictPrimer": {"hidden": Unbounded((1,))},
    "Tokenizer": {"tokenizer": object(), "max_length": 4, "vocab_size": 10, "pad_token_id": 0},
    "UnaryTransform": {"in_keys": ["a"], "fn": abs},
    "VideoRecorder": {"logger": create_autospec(envkit.record.Logger, instance=True), "tag": "video"},
}


def kinds() -> dict[str, type[Transform]]:
    """Every public transform, recorders included, by name."""
    public = {name: getattr(module, name) for module in (envkit.transforms, envkit.record) for name in module.__all__}
    return {
        name: value
        for name, value in public.items()
        if inspect.isclass(value) and issubclass(value, Transform) and name not in BUILDING_BLOCKS
    }


def rows() -> dict[str, tuple[str, ...]]:
    return {name: rest for name, *rest in ROW.findall(INDEX.read_text())}


def inverse_of(kind: type[Transform]) -> str:
    options = inspect.signature(kind).parameters
    # Encoders are too large to be filled with numbers here.
    without_numbers = torch.device("meta") if kind.__module__.endswith("encoders") else contextlib.nullcontext()
    with without_numbers:
        transform = kind(*ARGUMENTS.get(kind.__name__, ()), **NAMED_ARGUMENTS.get(kind.__name__, {}))
    if "inverse" in options and not transform.invertible:
        return "`inverse=True`"
    decides_itself = kind.invertible is not Transform.invertible
    if decides_itself or "in_keys_inv" not in options or transform.in_keys_inv:
        return "yes" if transform.invertible else "no"
    hooks = ("_inv_call", "_inv_apply_transform")
    return "`in_keys_inv`" if any(getattr(kind, hook) is not getattr(Transform, hook) for hook in hooks) else "no"


def buffer_of(kind: type[Transform]) -> str:
    return "no" if kind.env_only else "yes"


def env_of(kind: type[Transform]) -> str:
    return "none" if kind.data_only else {"either": "any", "single": "single", "batch": "whole batch"}[kind.placement]


def test_every_public_transform_has_a_row():
    assert list(rows()) == sorted(kinds())
    assert all(f"`{name}`" in INDEX.read_text() for name in BUILDING_BLOCKS)


@pytest.mark.parametrize("name", kinds())
def test_rows_say_what_the_class_says(name):
    page, what, *told = rows()[name]
    kind = kinds()[name]
    assert told == [inverse_of(kind), buffer_of(kind), env_of(kind)]
    assert what.endswith(".")
    assert re.search(rf"`{name}[`(]", (FOLDER / page).read_text())


def test_every_family_is_linked():
    assert {row[0] for row in rows().values()} == {page.name for page in FOLDER.glob("*.md")} - {INDEX.name}
