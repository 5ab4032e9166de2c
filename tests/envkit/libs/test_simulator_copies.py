from __future__ import annotations

import pygame
import pytest

from envkit.libs.simulator_copies import is_drawn_on, simulator_copied


class Pond:
    """Copies itself as a new one, which loses its state."""

    def __init__(self):
        self.ducks, self.screen = [1], None

    def __reduce__(self):
        return Pond, ()

    def draw(self):
        self.screen = pygame.Surface((2, 2))
        self.later = pygame.Surface((1, 1))


def copied(bare):
    return simulator_copied(bare, {})[id(bare)]


def test_state_is_copied():
    pond = Pond()
    pond.ducks.append(2)
    twin = copied(pond)
    assert type(twin) is Pond
    assert twin.ducks == [1, 2]
    twin.ducks.append(3)
    assert pond.ducks == [1, 2]


def test_a_copy_has_not_drawn_yet():
    pond = Pond()
    pond.draw()
    twin = copied(pond)
    assert twin.screen is None  # as __init__ says
    assert not hasattr(twin, "later")
    twin.draw()
    assert pond.screen is not twin.screen


def test_once_only():
    pond, memo = Pond(), {}
    first = simulator_copied(pond, memo)[id(pond)]
    assert simulator_copied(pond, memo)[id(pond)] is first


@pytest.mark.parametrize(
    ("value", "drawn_on"),
    [(3, False), ([1, 2], False), ({"a": None}, False), ((), False), (pygame.Surface((1, 1)), True)],
)
def test_is_drawn_on(value, drawn_on):
    assert is_drawn_on(value) is drawn_on
    assert is_drawn_on([[value]]) is drawn_on
    assert is_drawn_on({"images": (value,)}) is drawn_on
