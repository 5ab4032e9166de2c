from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from envkit.batched.launch import START_METHODS, Ends, check_start_method, launch, send_descriptors

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")


@pytest.fixture
def ends():
    """A process that does what it is told, by its connection; it leads a group."""
    ours, theirs = multiprocessing.Pipe()
    context = multiprocessing.get_context("fork")
    process = context.Process(target=_follow, args=(theirs,))
    process.start()
    theirs.close()
    one = Ends(process, ours, os.open(os.devnull, os.O_WRONLY))
    ours.recv()
    yield one
    one.kill()
    assert one.gone(5.0)
    one.release()


def _follow(connection):
    os.setpgid(0, 0)
    connection.send("ready")
    while True:
        what = connection.recv()
        if what == "leave":
            os._exit(7)
        elif what == "fork":
            pid = os.fork()
            if pid == 0:
                time.sleep(1000)
            connection.send(pid)
        elif what == "stay":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            connection.send("staying")


class TestStartMethods:
    def test_default_is_the_first_that_is_there(self, monkeypatch):
        assert check_start_method(None) == START_METHODS[0]
        monkeypatch.setattr(multiprocessing, "get_all_start_methods", lambda: ["spawn"])
        assert check_start_method(None) == "spawn"

    @pytest.mark.parametrize("method", START_METHODS)
    def test_known(self, method):
        assert check_start_method(method) == method

    def test_unknown(self):
        with pytest.raises(ValueError, match=r"mp_start_method: expected one of \[.*\], found 'thread'"):
            check_start_method("thread")


class TestEnds:
    def test_of_a_process_that_leaves(self, ends):
        assert not ends.gone()
        ends.connection.send("leave")
        assert ends.gone(5.0)
        assert ends.exit_code() == 7

    def test_of_one_that_is_killed(self, ends, faults):
        ends.kill()
        assert ends.gone(5.0)
        assert ends.exit_code() == -signal.SIGKILL
        ends.send_signal(signal.SIGTERM)  # nobody else gets it
        ends.kill()
        ends.end_children()

    def test_of_one_that_takes_no_hint(self, ends):
        ends.connection.send("stay")
        ends.connection.recv()
        ends.send_signal(signal.SIGTERM)
        assert not ends.gone(0.1)
        ends.kill()
        assert ends.gone(5.0)

    def test_of_one_whose_child_holds_all_it_held(self, ends, faults):
        ends.connection.send("fork")
        child = ends.connection.recv()
        ends.connection.send("leave")
        assert ends.gone(5.0)
        assert ends.exit_code() == 7
        assert faults.alive(child)
        ends.end_children()
        assert faults.soon(lambda: not faults.alive(child))

    def test_kill_takes_children_along(self, ends, faults):
        ends.connection.send("fork")
        child = ends.connection.recv()
        ends.kill()
        assert faults.soon(lambda: not faults.alive(child))

    def test_limits_messages(self, ends):
        ends.send_signal(signal.SIGSTOP)
        ends.limit(0.2)
        begun = time.monotonic()
        with pytest.raises(BlockingIOError):
            ends.connection.send_bytes(b"x" * 10_000_000)
        assert time.monotonic() - begun < 2.0


class TestLaunch:
    def test_leaves_everything_as_it_was(self, faults):
        main, mask = sys.modules["__main__"], signal.pthread_sigmask(signal.SIG_BLOCK, [])
        before = faults.descriptors()
        found = []
        threads = [threading.Thread(target=lambda: found.append(_launched())) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sys.modules["__main__"] is main
        assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == mask
        assert found == [0, 0, 0]  # they have heard nothing, and that their caller is gone
        assert faults.descriptors() == before

    def test_that_fails_leaves_nothing(self, faults, monkeypatch):
        before = faults.descriptors()

        def refuse():
            raise BlockingIOError("too many processes")

        monkeypatch.setattr(os, "fork", refuse)
        bell = os.open(os.devnull, os.O_WRONLY)
        with pytest.raises(BlockingIOError, match="too many processes"):
            launch("fork", "worker", bell)
        os.close(bell)
        left = faults.descriptors() - before
        assert all("pipe:" in one for one in left)  # those of multiprocessing itself
        assert len(left) <= 4


def _launched():
    ends = launch("fork", "worker", os.open(os.devnull, os.O_WRONLY))
    ends.connection.close()
    assert ends.gone(10.0)
    code = ends.exit_code()
    ends.release()
    return code


def test_descriptors_are_handed_over():
    ours, theirs = multiprocessing.Pipe()
    read, write = os.pipe()
    process = subprocess.Popen(
        [
            sys.executable,
            "-S",
            "-c",
            "import os, socket, sys\n"
            "one = socket.socket(fileno=int(sys.argv[1]))\n"
            "_, (fd,), _, _ = socket.recv_fds(one, 1, 1)\n"
            "os.write(fd, b'here')",
            str(theirs.fileno()),
        ],
        pass_fds=[theirs.fileno()],
    )
    send_descriptors(ours, [write])
    assert os.read(read, 10) == b"here"
    assert process.wait() == 0
    for fd in (read, write):
        os.close(fd)
    ours.close()
    theirs.close()
