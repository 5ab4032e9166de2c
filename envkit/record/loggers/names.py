"""Names that become files: one rule for all loggers."""

from __future__ import annotations

import uuid
from datetime import datetime
from pathlib import PureWindowsPath

__all__ = ["check_log_name", "generate_exp_name"]


def check_log_name(name: str, what: str = "name") -> str:
    """Returns ``name`` if it stays below the folder of its logger.

    Args:
        name: parts of printable characters, separated by slashes, such as ``"train/reward"``.
        what: what to call it in the message.

    Raises:
        ValueError: it is an absolute path, or leads elsewhere by ``..`` or a backslash, or a part of it is empty.

    Examples:
        >>> check_log_name("train/reward")
        'train/reward'
        >>> check_log_name("../elsewhere")
        Traceback (most recent call last):
        ...
        ValueError: name: expected ..., found '../elsewhere'
    """
    strange = {"", ".", ".."} & set(name.split("/")) or "\\" in name or PureWindowsPath(name).drive
    if strange or not name.isprintable():
        raise ValueError(
            f"{what}: expected printable characters, with slashes between parts if need be, no absolute path, and no "
            f"part that is empty, '.' or '..', found {name!r}"
        )
    return name


def generate_exp_name(model_name: str, experiment_name: str) -> str:
    """A name no other experiment has: the two names, the date and time, and eight random letters and digits.

    Examples:
        >>> generate_exp_name("PPO", "CartPole")
        'PPO_CartPole_..._...'
    """
    return f"{model_name}_{experiment_name}_{datetime.now():%y_%m_%d-%H_%M_%S}_{uuid.uuid4().hex[:8]}"
