"""Loggers: where an experiment's numbers, videos and settings are kept."""

from envkit.record.loggers.base import Logger
from envkit.record.loggers.choice import get_logger
from envkit.record.loggers.csv import CSVLogger
from envkit.record.loggers.mlflow import MLflowLogger
from envkit.record.loggers.names import generate_exp_name
from envkit.record.loggers.tensorboard import TensorBoardLogger
from envkit.record.loggers.wandb import WandbLogger

__all__ = [
    "CSVLogger",
    "Logger",
    "MLflowLogger",
    "TensorBoardLogger",
    "WandbLogger",
    "generate_exp_name",
    "get_logger",
]
