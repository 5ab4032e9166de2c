"""Verdicts on envs: what they return, and how they behave."""

from envkit.checks.doctor import CHECKS, Diagnosis, check_env_specs, diagnose
from envkit.checks.findings import Finding

__all__ = ["CHECKS", "Diagnosis", "Finding", "check_env_specs", "diagnose"]
