"""Tuned configs, honest results and the ``zoo`` command.

The command line is a thin layer over functions that take a :class:`zoo.config.RunConfig`, a
:class:`zoo.run.RunFolder` or a :class:`zoo.result.Result`: :func:`zoo.train.train`, :func:`zoo.evaluate.evaluate`,
:func:`zoo.video.record_video`, :func:`zoo.benchmark.benchmark`, :func:`zoo.report.write_page`,
:func:`zoo.verify.verify`, :func:`zoo.tune.tune`. Import them from their own files: importing ``zoo`` alone loads
nothing, so that ``zoo --help`` answers at once.
"""

from __future__ import annotations

__all__: list[str] = []
