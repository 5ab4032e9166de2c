"""What the fork server imports, once, for all workers that it starts.

It is started with Ctrl-C blocked, which is not its business while it imports either. What it starts may be other than
workers, and is to know nothing of that.
"""

from __future__ import annotations

import os
import signal

import envkit.batched.worker  # noqa: F401 - that is what for

__all__: list[str] = []

os.register_at_fork(after_in_child=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT]))
