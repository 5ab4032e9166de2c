"""Which simulators there are wrappers for, and which can be used as things are."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

__all__ = ["LIBRARIES", "Library", "get_available_libraries"]


@dataclass(frozen=True)
class Library:
    """A library that envkit has wrappers for.

    Attributes:
        name: what people call it.
        module: the module that has to be importable.
        package: the distribution that brings it, whose version is told.
        install: how it is installed.
        envs: names of the classes, or functions, in ``envkit``.
        proof: what the tests run: ``"library"``, or ``"fake"`` where the library cannot be installed everywhere.
    """

    name: str
    module: str
    package: str
    install: str
    envs: tuple[str, ...]
    proof: str = "library"

    @property
    def installed(self) -> bool:
        """Whether it can be imported; it is not."""
        return find_spec(self.module) is not None

    @property
    def version(self) -> str | None:
        """The version that is installed; None if none is, or it does not say."""
        try:
            return version(self.package) if self.installed else None
        except PackageNotFoundError:
            return None


def _extra(name: str) -> str:
    return f"pip install 'envkit[{name}]'"


LIBRARIES = (
    Library(
        "gymnasium", "gymnasium", "gymnasium", "pip install envkit", ("GymEnv", "GymWrapper", "GymVectorWrapper")
    ),
    Library("mujoco", "mujoco", "mujoco", _extra("mujoco"), ("GymEnv",)),
    Library("box2d", "Box2D", "box2d", _extra("box2d"), ("GymEnv",)),
    Library("ale", "ale_py", "ale-py", _extra("atari"), ("GymEnv", "atari")),
    Library("gym", "gym", "gym", _extra("gym"), ("GymEnv", "GymWrapper")),
    Library("mo-gymnasium", "mo_gymnasium", "mo-gymnasium", _extra("mo-gymnasium"), ("MOGymEnv", "MOGymWrapper")),
    Library("pettingzoo", "pettingzoo", "pettingzoo", _extra("pettingzoo"), ("PettingZooEnv", "PettingZooWrapper")),
    Library("vmas", "vmas", "vmas", _extra("vmas"), ("VmasEnv", "VmasWrapper")),
    Library("dm_control", "dm_control", "dm-control", _extra("dm-control"), ("DMControlEnv", "DMControlWrapper")),
    Library("brax", "brax", "brax", _extra("brax"), ("BraxEnv", "BraxWrapper")),
    Library("jumanji", "jumanji", "jumanji", _extra("jumanji"), ("JumanjiEnv", "JumanjiWrapper")),
    Library("envpool", "envpool", "envpool", _extra("envpool"), ("MultiThreadedEnv", "MultiThreadedEnvWrapper")),
    Library("open_spiel", "pyspiel", "open_spiel", _extra("open-spiel"), ("OpenSpielEnv", "OpenSpielWrapper")),
    Library("openml", "sklearn", "scikit-learn", _extra("openml"), ("OpenMLEnv",)),
    Library("chess", "chess", "chess", _extra("chess"), ("ChessEnv",)),
    Library("ml-agents", "mlagents_envs", "mlagents-envs", "pip install mlagents-envs==0.28.0 'protobuf<3.21'",
            ("UnityMLAgentsEnv", "UnityMLAgentsWrapper"), "fake"),
    Library("meltingpot", "meltingpot", "dm-meltingpot", "github.com/google-deepmind/meltingpot",
            ("MeltingpotEnv", "MeltingpotWrapper"), "fake"),
    Library("smacv2", "smacv2", "smacv2", "github.com/oxwhirl/smacv2", ("SMACv2Env", "SMACv2Wrapper"), "fake"),
    Library("robohive", "robohive", "robohive", "github.com/vikashplus/robohive", ("RoboHiveEnv",), "fake"),
    Library("habitat", "habitat", "habitat-lab", "github.com/facebookresearch/habitat-lab", ("HabitatEnv",), "fake"),
    Library("isaacgym", "isaacgym", "isaacgym", "developer.nvidia.com/isaac-gym",
            ("IsaacGymEnv", "IsaacGymWrapper"), "fake"),
)  # fmt: skip


def get_available_libraries() -> list[str]:
    """Names of the installed libraries that envkit has wrappers for; none of them is imported.

    Examples:
        >>> "gymnasium" in get_available_libraries()
        True
    """
    return [library.name for library in LIBRARIES if library.installed]
