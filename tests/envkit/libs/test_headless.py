from __future__ import annotations

import os
import sys

import pytest

from envkit import GymEnv
from envkit.libs import headless
from envkit.libs.headless import draw_without_display

NAMES = ("MUJOCO_GL", "SDL_VIDEODRIVER")


@pytest.fixture(autouse=True)
def unset(monkeypatch):
    for name in (*NAMES, "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.setenv(name, "")  # so that what is set here is undone
        monkeypatch.delenv(name)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(headless.ctypes, "CDLL", lambda name: name)


def chosen():
    draw_without_display()
    return tuple(os.environ.get(name) for name in NAMES)


def test_in_memory_without_a_display():
    assert chosen() == ("egl", "dummy")


def test_what_is_set_stays(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    monkeypatch.setenv("SDL_VIDEODRIVER", "x11")
    assert chosen() == ("osmesa", "x11")


@pytest.mark.parametrize("name", ["DISPLAY", "WAYLAND_DISPLAY"])
def test_nothing_is_chosen_with_a_display(name, monkeypatch):
    monkeypatch.setenv(name, ":0")
    assert chosen() == (None, None)


def test_nothing_is_chosen_on_other_systems(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert chosen() == (None, None)


def test_without_egl_mujoco_takes_what_there_is(monkeypatch):
    def missing(name):
        raise OSError(name)

    monkeypatch.setattr(headless.ctypes, "CDLL", missing)
    assert chosen() == (None, "dummy")


@pytest.mark.parametrize(("options", "expected"), [({}, None), ({"render_mode": "rgb_array"}, "egl")])
def test_gym_envs_that_draw_choose(options, expected):
    GymEnv("CartPole-v1", **options).close()
    assert os.environ.get("MUJOCO_GL") == expected
