from __future__ import annotations

from envkit import specs


def test_exports_are_sorted_and_complete():
    assert specs.__all__ == sorted(specs.__all__)
    modules = [
        specs.base,
        specs.boxes,
        specs.choice,
        specs.composite,
        specs.continuous,
        specs.discrete,
        specs.from_tensordict,
    ]
    modules += [specs.heterogeneous, specs.multi, specs.nontensor, specs.spaces, specs.stacked]
    modules += [specs.stacked_composite]
    assert set(specs.__all__) == {name for module in modules for name in module.__all__}
