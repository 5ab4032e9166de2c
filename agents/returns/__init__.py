"""Advantages and value targets from recorded steps."""

from agents.returns.gae import gae
from agents.returns.gae_module import GAE
from agents.returns.standardize import standardize

__all__ = ["GAE", "gae", "standardize"]
