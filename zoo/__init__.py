"""Tuned configs, honest results and the ``zoo`` command.

The command line is a thin layer over four functions: :func:`zoo.train.train`, :func:`zoo.evaluate.evaluate`,
:func:`zoo.video.record_video` and :func:`zoo.benchmark.benchmark`, which take a :class:`zoo.config.RunConfig`
or a :class:`zoo.run.RunFolder`. Import them from their own files: importing ``zoo`` alone loads nothing, so
that ``zoo --help`` answers at once.
"""

from __future__ import annotations

__all__: list[str] = []
