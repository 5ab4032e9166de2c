import signal
import threading

import pytest

from zoo.stopping import Interrupted, StopSignals


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_signal_waits_for_a_check(signum, code):
    before = signal.getsignal(signum)
    with StopSignals() as stop:
        signal.raise_signal(signum)
        with pytest.raises(Interrupted) as caught:
            stop.check()
    assert caught.value.exit_code == code
    assert signal.getsignal(signum) is before


def test_the_same_signal_again_does_not_wait():
    with StopSignals():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_ignored_signals_stay_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with StopSignals() as stop:
            signal.raise_signal(signal.SIGINT)
            stop.check()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_may_use_it():
    errors = []

    def work():
        try:
            with StopSignals() as stop:
                stop.check()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert errors == []
