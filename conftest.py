"""What all tests need, those in docstrings too."""

import os
import random
import secrets
import signal

import numpy as np
import pytest
import torch

# A run in the background (`nohup`, `&`) is started with Ctrl-C ignored, which tests of Ctrl-C would wait for in vain.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def same_draws(monkeypatch):
    """Start each test from the same seeds, so that what passes once passes always: an unseeded env draws too."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    here, drawn = os.getpid(), random.Random(0)

    def randbits(bits):
        """Same here; workers that are forked, which would all go on with the same draws, differ as ever."""
        return drawn.getrandbits(bits) if os.getpid() == here else secrets.randbits(bits)

    # Where NumPy's generators get their seed from, if they are given none, as those of Gymnasium's envs are.
    monkeypatch.setattr("numpy.random.bit_generator.randbits", randbits)
