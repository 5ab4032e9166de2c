import io
import math
import sys
import types

import pytest
import torch

from agents import Hook, Learner, TableHook, TableLogger, Trainer
from envkit import CSVLogger


class Counter(Learner):
    """Counts its iterations, of ten steps each."""

    steps_per_iteration = 10

    def step(self):
        self.iterations += 1
        self.steps += 10
        self.episodes += 2
        loss = {} if self.iterations % 2 else {"loss": float(self.iterations)}
        return {"iteration": float(self.iterations), "steps": float(self.steps), "return_mean": math.nan, **loss}


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still unless it is moved."""
    now = types.SimpleNamespace(seconds=100.0)
    fake = types.SimpleNamespace(monotonic=lambda: now.seconds)
    monkeypatch.setitem(TableLogger.timeit.__globals__, "time", fake)
    return now


@pytest.fixture
def plain(monkeypatch):
    for name in ("rich", "rich.console", "rich.table", "rich.text"):
        monkeypatch.setitem(sys.modules, name, None)


def rows(text):
    """The tables that were printed: header, and rows as a dict."""
    tables = []
    for line in text.splitlines():
        if line.startswith("iteration"):
            tables.append((line, {}))
        elif not line.startswith("-"):
            tables[-1][1].update([line.split()])
    return tables


def test_table_without_rich(clock, plain, capsys):
    table = TableLogger()
    table.timeit(1_000, 11_000)
    table.log()
    clock.seconds += 10
    for value in (1.0, math.nan, torch.tensor([2.0])):
        table.add_log("loss", value)
    table.add_log("big", 12_345.6, precision=None)
    table.add_log("small", 0.000123456, precision=None)
    table.add_log("none", math.nan)
    table.add_tf_only_log("hidden", 3.0)
    table.timeit(3_000, 11_000)
    table.log(header="iteration 3")
    first, second = capsys.readouterr().out.split("iteration 3\n")
    assert first.split("\n") == ["-" * 21, "steps    1,000/11,000", "elapsed       0:00:00", "-" * 21, ""]
    assert second.split("\n") == [
        "-" * 30,
        "steps             3,000/11,000",
        "elapsed                0:00:10",
        "left                   0:00:40",
        "loss                      1.50",
        "big                     12,346",
        "small                0.0001235",
        "none                         -",
        "steps_per_second           200",
        "-" * 30,
        "",
    ]


def test_table_of_rich_says_the_same_as_plain_text(clock, monkeypatch):
    pytest.importorskip("rich")
    said = {}
    for kind in ("rich", "plain"):
        if kind == "plain":
            monkeypatch.setitem(sys.modules, "rich.console", None)
        table = TableLogger(file=io.StringIO())
        table.timeit(10, 20)
        table.add_log("loss", 1.0, precision=1)
        table.add_log("[bold]loss", 2.0)
        table.log("iteration [1]")
        said[kind] = "".join(letter for letter in table.file.getvalue() if letter not in "┌─┬┐│└┴┘-").split()
    assert said["rich"] == said["plain"]
    assert "[bold]loss" in said["rich"]


def test_averages_begin_anew_after_each_table(plain):
    table = TableLogger(file=io.StringIO())
    for value in (1.0, 3.0):
        table.add_log("loss", value, precision=0)
        table.log("iteration")
    table.log("iteration")
    assert [found for _, found in rows(table.file.getvalue())] == [{"loss": "1"}, {"loss": "3"}, {}]


def test_a_logger_keeps_averages_and_histograms(clock, tmp_path):
    table = TableLogger(CSVLogger("run", log_dir=tmp_path), prefix="train/", file=io.StringIO())
    table.timeit(0)
    for step, value in ((10, 1.0), (20, 5.0)):
        clock.seconds += 2
        table.timeit(step)
        table.add_log("loss", value)
        table.add_log("loss", value + 1.0)
        table.add_tf_only_log("hidden", value)
        table.add_log("nothing", math.nan)
        table.add_log("far", math.inf)
        table.add_histogram("weights", torch.tensor([0.0, 1.0, 1.0]))
        table.log()
    kept = {str(file.relative_to(tmp_path / "run")): file.read_text() for file in tmp_path.rglob("*.csv")}
    histogram = kept.pop("histograms/train/weights.csv").splitlines()
    assert [line.split(",")[0] for line in histogram] == ["10"] * 30 + ["20"] * 30
    assert kept == {
        "scalars/train/loss.csv": "10,1.5\n20,5.5\n",
        "scalars/train/hidden.csv": "10,1.0\n20,5.0\n",
        "scalars/train/steps_per_second.csv": "10,5.0\n20,5.0\n",
    }


def test_hook_prints_every_so_often_and_what_is_left(clock, plain):
    file = io.StringIO()
    learner = Counter()
    learner.step()
    Trainer(learner, max_iters=6, hooks=[Slow(clock), TableHook(4, file=file)]).run()
    assert rows(file.getvalue()) == [
        (
            "iteration 4",
            {
                "steps": "40/60",
                "elapsed": "0:00:15",
                "left": "0:00:10",
                "loss": "3",
                "return_mean": "-",
                "steps_per_second": "2",
                "episodes": "8",
            },
        ),
        (
            "iteration 6",
            {
                "steps": "60/60",
                "elapsed": "0:00:25",
                "left": "0:00:00",
                "loss": "6",
                "return_mean": "-",
                "steps_per_second": "2",
                "episodes": "12",
            },
        ),
    ]


class Slow(Hook):
    """Has each iteration take five seconds."""

    def __init__(self, clock):
        self.clock = clock

    def after_iteration(self, trainer, metrics):
        self.clock.seconds += 5


class Adds(Hook):
    def after_iteration(self, trainer, metrics):
        metrics["extra"] = 7.0


def test_hook_shows_what_is_asked_for_and_logs_all(plain, tmp_path):
    file = io.StringIO()
    table = TableHook(2, names=["extra"], logger=CSVLogger("run", log_dir=tmp_path), precision=1, file=file)
    Trainer(Counter(), max_iters=2, hooks=[Adds(), table]).run()
    [(_, found)] = rows(file.getvalue())
    assert found["extra"] == "7.0"
    assert "loss" not in found
    assert (tmp_path / "run/scalars/train/loss.csv").read_text() == "20,2.0\n"


def test_a_training_without_known_length_has_no_time_left(plain):
    file = io.StringIO()
    Trainer(Counter(), max_episodes=4, hooks=[TableHook(file=file)]).run()
    assert [found["steps"] for _, found in rows(file.getvalue())] == ["10", "20"]
    assert all("left" not in found for _, found in rows(file.getvalue()))


def test_hook_that_never_started_prints_nothing(plain):
    class Fails(Hook):
        def start(self, trainer):
            raise RuntimeError("no")

    file = io.StringIO()
    with pytest.raises(RuntimeError, match="no"):
        Trainer(Counter(), max_iters=1, hooks=[Fails(), TableHook(file=file)]).run()
    assert file.getvalue() == ""


def test_a_frequency_below_one_is_refused():
    with pytest.raises(ValueError, match="every: expected at least 1, found 0"):
        TableHook(0)
