import numpy as np
import pytest
import torch
from tensordict import LazyStackedTensorDict, NonTensorData, TensorDict

from envkit import Composite, EnvBase, NonTensor, SerialEnv, SpecError, TransformedEnv, Unbounded, check_env_specs
from envkit.record import TensorDictRecorder


class TextEnv(EnvBase):
    """Shows a tensor whose size may change, and an object."""

    def __init__(self, grows=False, make=str):
        super().__init__()
        self.grows, self.make = grows, make
        self.observation_spec = Composite(text=NonTensor(()), numbers=Unbounded((-1 if grows else 2,)))
        self.action_spec = Unbounded((1,))

    def _data(self):
        size = 2 + self.count * self.grows
        return {"text": NonTensorData(self.make(self.count)), "numbers": torch.full((size,), float(self.count))}

    def _reset(self, tensordict=None):
        self.count = 0
        return TensorDict(self._data())

    def _step(self, tensordict):
        self.count += 1
        return TensorDict({**self._data(), "reward": torch.zeros(1), "done": torch.zeros(1, dtype=torch.bool)})

    def _set_seed(self, seed):
        pass


def test_every_step_comes_back_as_it_was(walk, tmp_path, tools):
    env = TransformedEnv(walk(), TensorDictRecorder(tmp_path / "steps", skip=1))
    env.set_seed(0)
    rollout = env.rollout(20, break_when_any_done=False)
    path = env.transform[0].dump()
    assert path == tmp_path / "steps_0"
    tools.assert_same(TensorDictRecorder.load(path), rollout["next"])


def test_one_row_in_four_is_kept_by_default(scripted, tmp_path):
    env = TransformedEnv(scripted(), TensorDictRecorder(tmp_path / "steps"))
    env.rollout(10)
    saved = TensorDictRecorder.load(env.transform[0].dump())
    assert saved["observation"].flatten().tolist() == [1, 5, 9]


def test_resets_are_kept_on_demand_and_earn_nothing(scripted, tmp_path):
    env = scripted(rewards=[7.0], terminated=[False, True])
    env = TransformedEnv(env, TensorDictRecorder(tmp_path / "steps", skip_reset=False, skip=1))
    env.rollout(4, break_when_any_done=False)
    saved = TensorDictRecorder.load(env.transform[0].dump())
    assert saved["observation"].flatten().tolist() == [0, 1, 2, 0, 1, 2]
    assert saved["reward"].flatten().tolist() == [0, 7, 7, 0, 7, 7]


def test_elements_that_a_reset_leaves_alone_stay_as_they_were(scripted, tmp_path):
    ends = [[False] * length + [True] for length in (1, 3)]
    env = SerialEnv(2, [lambda end=end: scripted(terminated=end) for end in ends])
    recorder = TensorDictRecorder(tmp_path / "steps", skip_reset=False, skip=1, in_keys=["observation"])
    TransformedEnv(env, recorder).rollout(4, break_when_any_done=False)
    saved = TensorDictRecorder.load(recorder.dump())
    assert saved["observation"][..., 0].T.tolist() == [[0, 1, 2, 0, 1, 2], [0, 1, 2, 2, 3, 4]]


def test_elements_that_are_not_stepped_earn_nothing(scripted, tmp_path):
    ends = [[False] * length + [True] for length in (0, 2)]
    env = SerialEnv(2, [lambda end=end: scripted(terminated=end, rewards=[5.0]) for end in ends])
    recorder = TensorDictRecorder(tmp_path / "steps", skip=1)
    rollout = TransformedEnv(env, recorder).rollout(5, break_when_any_done=False, break_when_all_done=True)
    saved = TensorDictRecorder.load(recorder.dump())
    assert saved["reward"][..., 0].T.tolist() == [[5, 0, 0], [5, 5, 5]]
    assert torch.equal(saved["observation"], rollout["next", "observation"].transpose(0, 1))


def test_only_what_is_asked_for_is_kept(walk, tmp_path):
    env = TransformedEnv(walk(), TensorDictRecorder(tmp_path / "steps", skip=1, in_keys=[("nested", "clock"), "done"]))
    env.rollout(3)
    saved = TensorDictRecorder.load(env.transform[0].dump())
    assert set(saved.keys(True, True)) == {("nested", "clock"), "done"}
    with pytest.raises(SpecError, match="unknown key 'clock' in in_keys"):
        TransformedEnv(walk(), TensorDictRecorder(tmp_path / "steps", in_keys=["clock"]))


def test_recordings_never_replace_each_other(scripted, tmp_path):
    recorder = TensorDictRecorder(tmp_path / "deep" / "steps", skip=1)
    env = TransformedEnv(scripted(), recorder)
    names = []
    for suffix in (None, None, "eval"):
        env.rollout(2)
        names.append(recorder.dump(suffix).name)
    assert names == ["steps_0", "steps_1", "steps_eval"]
    assert recorder.dump() is None
    env.rollout(3)
    with pytest.raises(FileExistsError, match="steps_eval: expected a name that is free"):
        recorder.dump("eval")
    with pytest.raises(ValueError, match=r"suffix: expected .* found '\.\.'"):
        recorder.dump("..")
    assert len(TensorDictRecorder.load(recorder.dump())) == 3
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == [
        "steps_0",
        "steps_1",
        "steps_2",
        "steps_eval",
    ]


def test_closing_the_env_saves_what_is_left(scripted, tmp_path):
    env = TransformedEnv(scripted(), TensorDictRecorder(tmp_path / "steps", skip=1))
    env.rollout(2)
    env.close()
    assert len(TensorDictRecorder.load(tmp_path / "steps_0")) == 2


def test_checks_are_no_part_of_the_recording(scripted, tmp_path):
    env = TransformedEnv(scripted(), TensorDictRecorder(tmp_path / "steps", skip=1))
    env.rollout(2)
    check_env_specs(env)
    assert len(TensorDictRecorder.load(env.transform[0].dump())) == 2


@pytest.mark.parametrize("grows", [False, True])
def test_strings_and_changing_sizes_come_back(tmp_path, grows):
    env = TransformedEnv(TextEnv(grows), TensorDictRecorder(tmp_path / "steps", skip=1))
    env.rollout(3)
    saved = TensorDictRecorder.load(env.transform[0].dump())
    assert isinstance(saved, LazyStackedTensorDict) is grows
    assert [row["text"] for row in saved] == ["1", "2", "3"]
    assert [row["numbers"].tolist() for row in saved] == [[t] * (2 + t * grows) for t in (1, 2, 3)]


@pytest.mark.parametrize(("make", "found"), [(np.array, "ndarray"), (lambda t: [{t: "a"}], "dict")])
def test_objects_that_would_have_to_be_pickled_are_refused(tmp_path, make, found):
    env = TransformedEnv(TextEnv(make=make), TensorDictRecorder(tmp_path / "steps", skip=1))
    with pytest.raises(TypeError, match=rf"\('text',\): expected tensors or what JSON can hold, found .* {found};"):
        env.rollout(3)


def test_plain_data_is_not_pickled(tmp_path):
    env = TransformedEnv(TextEnv(make=lambda t: {"a": [t, None], "b": (0.5, True)}), TensorDictRecorder(tmp_path / "x"))
    env.rollout(1)
    path = env.transform[0].dump()
    assert not list(path.rglob("*.pkl"))
    assert TensorDictRecorder.load(path)[0]["text"] == {"a": [1, None], "b": [0.5, True]}


def test_nothing_is_unpickled(tmp_path):
    TensorDict({"a": NonTensorData(np.zeros(2))}).memmap(tmp_path / "theirs")
    assert list(tmp_path.rglob("*.pickle"))
    with pytest.raises(RuntimeError, match="Refusing to load pickled"):
        TensorDictRecorder.load(tmp_path / "theirs")
    with pytest.raises(FileNotFoundError, match="nowhere: expected a recording, found none"):
        TensorDictRecorder.load(tmp_path / "nowhere")


def test_it_belongs_in_an_env(scripted, tmp_path):
    with pytest.raises(NotImplementedError, match="records an env"):
        TensorDictRecorder(tmp_path / "steps")(scripted().rollout(2))
