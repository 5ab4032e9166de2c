"""Envs written here, one a file; most of them in tensors, for any number of elements at once and on any device."""

from envkit.native.acrobot import AcrobotEnv
from envkit.native.cartpole import CartPoleEnv
from envkit.native.chess import ChessEnv
from envkit.native.connect_four import ConnectFourEnv
from envkit.native.llm import LLMEnv
from envkit.native.llm_hashing import LLMHashingEnv
from envkit.native.minimax import minimax_values
from envkit.native.mountain_car import MountainCarEnv
from envkit.native.mountain_car_continuous import MountainCarContinuousEnv
from envkit.native.pendulum import PendulumEnv
from envkit.native.tictactoe import TicTacToeEnv

__all__ = [
    "AcrobotEnv",
    "CartPoleEnv",
    "ChessEnv",
    "ConnectFourEnv",
    "LLMEnv",
    "LLMHashingEnv",
    "MountainCarContinuousEnv",
    "MountainCarEnv",
    "PendulumEnv",
    "TicTacToeEnv",
    "minimax_values",
]
