"""Recorders, which are transforms, and the loggers that keep what they record."""

from envkit.record.loggers import (
    CSVLogger,
    Logger,
    MLflowLogger,
    TensorBoardLogger,
    WandbLogger,
    generate_exp_name,
    get_logger,
)
from envkit.record.pixel_render import PixelRenderTransform
from envkit.record.tensordict_recorder import TensorDictRecorder
from envkit.record.video_recorder import VideoRecorder

__all__ = [
    "CSVLogger",
    "Logger",
    "MLflowLogger",
    "PixelRenderTransform",
    "TensorBoardLogger",
    "TensorDictRecorder",
    "VideoRecorder",
    "WandbLogger",
    "generate_exp_name",
    "get_logger",
]
