"""Specs: what every tensor may be."""

from envkit.specs.base import TensorSpec, Violation
from envkit.specs.boxes import BinaryBox, BoxList, CategoricalBox, ContinuousBox, TextBox
from envkit.specs.choice import Choice
from envkit.specs.composite import Composite
from envkit.specs.continuous import Bounded, Unbounded
from envkit.specs.discrete import Categorical, OneHot
from envkit.specs.from_tensordict import make_composite_from_td
from envkit.specs.heterogeneous import check_no_exclusive_keys, consolidate_spec, contains_lazy_spec
from envkit.specs.multi import Binary, MultiCategorical, MultiOneHot
from envkit.specs.nontensor import NonTensor
from envkit.specs.spaces import register_gym_spec_conversion, space_from_spec, spec_from_space
from envkit.specs.stacked import Stacked
from envkit.specs.stacked_composite import StackedComposite
from envkit.specs.stacking import stack as _stack  # noqa: F401 - makes torch.stack take specs

__all__ = [
    "Binary",
    "BinaryBox",
    "Bounded",
    "BoxList",
    "Categorical",
    "CategoricalBox",
    "Choice",
    "Composite",
    "ContinuousBox",
    "MultiCategorical",
    "MultiOneHot",
    "NonTensor",
    "OneHot",
    "Stacked",
    "StackedComposite",
    "TensorSpec",
    "TextBox",
    "Unbounded",
    "Violation",
    "check_no_exclusive_keys",
    "consolidate_spec",
    "contains_lazy_spec",
    "make_composite_from_td",
    "register_gym_spec_conversion",
    "space_from_spec",
    "spec_from_space",
]
