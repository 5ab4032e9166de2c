"""Drawing on machines without a display."""

from __future__ import annotations

import ctypes
import os
import sys

__all__ = ["draw_without_display"]


def draw_without_display() -> None:
    """Has pygame draw in memory and MuJoCo by EGL, where there is no display and nothing else was chosen.

    Sets ``SDL_VIDEODRIVER`` and ``MUJOCO_GL`` of the process. Simulators look at them when they are imported, or first
    draw. Without EGL, MuJoCo takes what there is.
    """
    if sys.platform != "linux" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")):
        return
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    if "MUJOCO_GL" not in os.environ and _has_egl():
        os.environ["MUJOCO_GL"] = "egl"


def _has_egl() -> bool:
    try:
        ctypes.CDLL("libEGL.so.1")
    except OSError:
        return False
    return True
