"""Training: the loop around an algorithm, and what is done beside it."""

from agents.trainer.checkpoint import CheckpointHook
from agents.trainer.early_stop import EarlyStopHook
from agents.trainer.evaluation import EvaluationHook
from agents.trainer.hook import Hook, Metrics
from agents.trainer.learner import Learner
from agents.trainer.log import CallbackHook, LoggerHook
from agents.trainer.loss_learner import LossLearner
from agents.trainer.table import TableHook
from agents.trainer.table_logger import TableLogger
from agents.trainer.trainer import Trainer

__all__ = [
    "CallbackHook",
    "CheckpointHook",
    "EarlyStopHook",
    "EvaluationHook",
    "Hook",
    "Learner",
    "LoggerHook",
    "LossLearner",
    "Metrics",
    "TableHook",
    "TableLogger",
    "Trainer",
]
