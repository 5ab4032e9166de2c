"""Specs: what every tensor may be."""

from envkit.specs.base import TensorSpec, Violation
from envkit.specs.boxes import BinaryBox, BoxList, CategoricalBox, ContinuousBox, TextBox
from envkit.specs.composite import Composite
from envkit.specs.continuous import Bounded, Unbounded
from envkit.specs.discrete import Categorical, OneHot
from envkit.specs.from_tensordict import make_composite_from_td
from envkit.specs.multi import Binary, MultiCategorical, MultiOneHot
from envkit.specs.nontensor import NonTensor
from envkit.specs.spaces import register_gym_spec_conversion, space_from_spec, spec_from_space

__all__ = [
    "Binary",
    "BinaryBox",
    "Bounded",
    "BoxList",
    "Categorical",
    "CategoricalBox",
    "Composite",
    "ContinuousBox",
    "MultiCategorical",
    "MultiOneHot",
    "NonTensor",
    "OneHot",
    "TensorSpec",
    "TextBox",
    "Unbounded",
    "Violation",
    "make_composite_from_td",
    "register_gym_spec_conversion",
    "space_from_spec",
    "spec_from_space",
]
