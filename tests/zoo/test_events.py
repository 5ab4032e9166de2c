import math

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from zoo.events import EventsFolder


def test_metrics_become_curves_over_steps(tmp_path):
    with EventsFolder(tmp_path) as events:
        events.write({"steps": 128, "time": 1.0, "return_mean": math.nan})
        events.write({"steps": 256, "time": 2.0, "return_mean": 21.5, "eval_return_mean": 30.0})
    reader = EventAccumulator(str(tmp_path)).Reload()
    assert sorted(reader.Tags()["scalars"]) == ["eval/return_mean", "train/return_mean"]
    assert [(point.step, point.value) for point in reader.Scalars("train/return_mean")] == [(256, 21.5)]
