"""States in the place of the global generators."""

import random

import numpy as np
import pytest
import torch

from envkit.core.global_generators import call_with, seeded_states

NAMES = ("random", "numpy", "torch")


def drawn():
    return random.random(), np.random.rand(), torch.rand(()).item()


def test_seeded_states_are_those_that_the_libraries_seed_themselves():
    found = call_with(seeded_states(7, NAMES), drawn)
    outside = seeded_states(7, NAMES)

    def seeded():
        random.seed(7)
        np.random.seed(7)
        torch.manual_seed(7)
        return drawn()

    assert call_with(outside, seeded) == found


def test_what_is_drawn_inside_leaves_the_global_states_alone():
    states = seeded_states(1, NAMES)
    everything = seeded_states(2, NAMES)  # so that this test disturbs no other

    def inside():
        before = drawn()
        call_with(states, drawn)
        return before, drawn()

    def alone():
        return drawn(), drawn()

    assert call_with(everything, inside) == call_with(seeded_states(2, NAMES), alone)


def test_states_go_on_from_call_to_call():
    one, other = seeded_states(3, NAMES), seeded_states(3, NAMES)
    assert [call_with(one, drawn), call_with(one, drawn)] == call_with(other, lambda: [drawn(), drawn()])


def test_an_exception_puts_the_global_states_back():
    def fails():
        drawn()
        raise RuntimeError("on purpose")

    def guarded():
        with pytest.raises(RuntimeError, match="on purpose"):
            call_with(seeded_states(1, NAMES), fails)
        return drawn()

    assert call_with(seeded_states(5, NAMES), guarded) == call_with(seeded_states(5, NAMES), drawn)


def test_without_states_the_global_ones_are_used():
    assert call_with(seeded_states(5, NAMES), lambda: call_with({}, drawn)) == call_with(seeded_states(5, NAMES), drawn)


def test_arguments_are_handed_on_whatever_they_are_called():
    assert call_with({}, lambda *args, **kwargs: (args, kwargs), 1, states=2, function=3) == (
        (1,),
        {"states": 2, "function": 3},
    )
