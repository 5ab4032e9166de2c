from __future__ import annotations

import pytest
import torch

import envkit
from envkit.errors import SpecError
from envkit.specs import Bounded, Unbounded


def test_names():
    assert envkit.CompositeSpec is envkit.Composite
    assert envkit.DiscreteTensorSpec is envkit.Categorical
    assert envkit.OneHotDiscreteTensorSpec is envkit.OneHot
    assert envkit.MultiDiscreteTensorSpec is envkit.MultiCategorical
    assert envkit.MultiOneHotDiscreteTensorSpec is envkit.MultiOneHot
    assert envkit.BinaryDiscreteTensorSpec is envkit.Binary
    assert envkit.NonTensorSpec is envkit.NonTensor
    assert envkit.LazyStackedTensorSpec is envkit.Stacked
    assert envkit.LazyStackedCompositeSpec is envkit.StackedComposite
    assert envkit.DiscreteBox is envkit.CategoricalBox
    assert envkit.BoundedContinuous is Bounded
    assert envkit.UnboundedContinuousTensorSpec is envkit.NdUnboundedContinuousTensorSpec is Unbounded
    assert envkit.UnboundedContinuous is Unbounded


@pytest.mark.parametrize("make", [envkit.BoundedTensorSpec, envkit.NdBoundedTensorSpec])
def test_bounds(make):
    ones = torch.ones(3)
    assert make(-ones, ones) == make(minimum=-ones, maximum=ones) == Bounded(-1, 1, (3,))
    with pytest.raises(SpecError, match="low: expected either low or minimum, found both"):
        make(-ones, ones, minimum=-ones)
    with pytest.raises(SpecError, match="high: expected either high or maximum, found neither"):
        make(-ones)
    with pytest.raises(TypeError):
        Bounded(minimum=-ones, maximum=ones)


def test_discrete_forms_default_to_integers():
    assert envkit.BoundedDiscrete(0, 3, (2,)) == Bounded(0, 3, (2,), dtype=torch.int64)
    for make in (
        envkit.UnboundedDiscrete,
        envkit.UnboundedDiscreteTensorSpec,
        envkit.NdUnboundedDiscreteTensorSpec,
    ):
        assert make((2,)) == Unbounded((2,), dtype=torch.int64)


def test_collectors_and_exploration():
    assert envkit.SyncDataCollector is envkit.Collector
    with envkit.set_exploration_mode("random"):
        assert envkit.exploration_type() is envkit.ExplorationType.RANDOM
