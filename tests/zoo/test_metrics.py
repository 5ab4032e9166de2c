import math

import pytest

from zoo.metrics import MetricsFile, read_metrics


def test_records_are_on_disk_before_the_file_is_closed(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with MetricsFile(path) as file:
        file.write({"steps": 1, "return_mean": math.nan, "loss": -math.inf})
        file.write({"steps": 2, "return_mean": 0.5})
        expected = [{"steps": 1, "return_mean": None, "loss": None}, {"steps": 2, "return_mean": 0.5}]
        assert read_metrics(path) == expected


def test_a_torn_last_line_is_left_out(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"steps": 1}\n{"steps": 2}\n{"ste')
    assert read_metrics(path) == [{"steps": 1}, {"steps": 2}]


@pytest.mark.parametrize("line", ["{broken", "[1]", "3"])
def test_damage_elsewhere_is_an_error_with_its_line(tmp_path, line):
    path = tmp_path / "metrics.jsonl"
    path.write_text(f'{{"steps": 1}}\n{line}\n{{"steps": 3}}\n')
    with pytest.raises(ValueError, match=r"metrics\.jsonl:2: "):
        read_metrics(path)


def test_metrics_of_two_runs_are_never_mixed(tmp_path):
    MetricsFile(tmp_path / "metrics.jsonl").close()
    with pytest.raises(FileExistsError):
        MetricsFile(tmp_path / "metrics.jsonl")
