import io

from rich.console import Console

from zoo.progress import LiveBar, PlainLines, describe


def test_describe_before_the_first_episode():
    text = describe({"steps": 256, "steps_per_second": 0.0, "return_mean": float("nan")}, 1000)
    assert text == "256/1,000 steps | 0 steps/s | return -"


def test_plain_lines_are_seconds_apart_but_the_last_one_is_always_written():
    lines = []
    with PlainLines(1000, lines.append, seconds=60) as show:
        for steps in (250, 500, 750, 1000):
            show({"steps": steps, "steps_per_second": 100.0, "return_mean": 1.0})
    assert [line.split(" ")[0] for line in lines] == ["250/1,000", "1,000/1,000"]


def test_live_bar_shows_the_numbers():
    terminal = io.StringIO()
    with LiveBar(1000, Console(file=terminal, force_terminal=True, width=120)) as show:
        show({"steps": 500, "steps_per_second": 100.0, "return_mean": 12.5})
    assert "500/1,000 steps | 100 steps/s | return 12.5 | 0:00:05 left" in terminal.getvalue()
