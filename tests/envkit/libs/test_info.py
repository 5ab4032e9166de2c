from __future__ import annotations

import numpy as np
import pytest
import torch
from tensordict import TensorDict

from envkit import (
    Bounded,
    Categorical,
    Composite,
    EnvDataError,
    GymEnv,
    GymWrapper,
    ResetNeededError,
    SerialEnv,
    Unbounded,
    check_env_specs,
    default_info_dict_reader,
)
from envkit.libs.info import infer_info_spec


class TestReader:
    def test_floats_by_default(self):
        reader = default_info_dict_reader(["lives", "score"])
        assert reader.info_spec == Composite(lives=Unbounded(()), score=Unbounded(()))
        read = reader({"lives": 3, "score": 0.5, "other": 1}, TensorDict())
        assert {key: value.item() for key, value in read.items()} == {"lives": 3.0, "score": 0.5}

    @pytest.mark.parametrize(
        "spec",
        [
            {"lives": Categorical(4), "place": Unbounded((2,))},
            [Categorical(4), Unbounded((2,))],
            Composite(lives=Categorical(4), place=Unbounded((2,)), unused=Unbounded(())),
        ],
    )
    def test_specs_can_be_given(self, spec):
        reader = default_info_dict_reader(["lives", "place"], spec)
        assert reader.info_spec == Composite(lives=Categorical(4), place=Unbounded((2,)))
        read = reader({"lives": 3, "place": np.array([1.0, 2.0], np.float32)}, TensorDict())
        assert read["lives"].dtype is torch.int64
        assert read["place"].tolist() == [1.0, 2.0]

    def test_what_is_absent_reads_as_zero(self):
        reader = default_info_dict_reader(["place"], [Bounded(1, 2, (2,))])
        assert reader({}, TensorDict())["place"].tolist() == reader.info_spec["place"].zero().tolist()

    def test_as_many_specs_as_keys(self):
        with pytest.raises(ValueError, match="shorter"):
            default_info_dict_reader(["a", "b"], [Unbounded(())])

    def test_writes_into_what_it_is_given(self):
        td = TensorDict({"mine": torch.ones(())})
        assert default_info_dict_reader(["a"])({"a": 1}, td) is td
        assert set(td.keys()) == {"mine", "a"}


class TestInference:
    def test_numeric_entries(self):
        info = {
            "count": 3,
            "speed": 0.5,
            "won": True,
            "place": np.zeros(2, np.float32),
            "image": np.zeros((2, 2), np.uint8),
            "text": "no number",
            "nothing": None,
            "nested": {"a": 1},
            "_private": 1,
            7: 1,
        }
        assert infer_info_spec([info]) == Composite(
            count=Unbounded((), dtype=torch.int64),
            speed=Unbounded((), dtype=torch.float64),
            won=Unbounded((), dtype=torch.bool),
            place=Unbounded((2,)),
            image=Unbounded((2, 2), dtype=torch.uint8),
        )

    def test_private_entries_by_option(self):
        assert set(infer_info_spec([{"_a": 1}], ignore_private=False).keys()) == {"_a"}

    def test_the_first_info_with_an_entry_decides(self):
        assert infer_info_spec([{}, {"a": 1}, {"a": 0.5, "b": 2.0}]) == Composite(
            a=Unbounded((), dtype=torch.int64), b=Unbounded((), dtype=torch.float64)
        )


class TestInEnvs:
    def test_entries_are_observations(self, dict_obs):
        env = GymWrapper(dict_obs()).set_info_dict_reader(default_info_dict_reader(["left"]))
        assert env.observation_spec["left"] == Unbounded(())
        assert env.is_spec_locked
        env.set_seed(0)
        data = env.rollout(30, break_when_any_done=False)
        left, following = data["left"], data["next", "left"]
        assert torch.equal(following, left - 1)
        assert torch.equal(following == 0, data["next", "done"].squeeze(-1))
        check_env_specs(env)

    def test_values_are_the_simulators(self, dict_obs):
        env, raw = GymWrapper(dict_obs()).auto_register_info_dict(), dict_obs()
        assert env.observation_spec["left"] == Unbounded((), dtype=torch.int64)
        env.set_seed(3)
        td = env.reset()
        assert td["left"].item() == raw.reset(seed=3)[1]["left"]
        td = env.rand_step(td)
        assert td["next", "left"].item() == raw.step(td["action"].numpy())[4]["left"]

    def test_the_env_needs_a_reset_after_looking(self, line):
        env = GymWrapper(line())
        env.reset()
        env.auto_register_info_dict()
        with pytest.raises(ResetNeededError, match=r"expected reset\(\) before the first step\(\)"):
            env.rand_step(TensorDict())

    def test_entries_that_appear_later_read_as_zero_before(self, line):
        env = GymWrapper(line()).auto_register_info_dict()
        data = env.rollout(3)
        assert data["count"].tolist() == [0, 1, 2]
        assert data["next", "count"].tolist() == [1, 2, 3]

    def test_readers_add_up(self, dict_obs):
        env = GymWrapper(dict_obs()).set_info_dict_reader(default_info_dict_reader(["left"]))
        env.set_info_dict_reader(lambda info, td: td.set("twice", td["left"] * 2), Composite(twice=Unbounded(())))
        data = env.rollout(3)
        assert torch.equal(data["twice"], 2 * data["left"])

    def test_beside_pixels_alone(self):
        env = GymEnv("CartPole-v1", from_pixels=True)
        reader = lambda info, td: td.set("size", torch.tensor(float(len(info))))
        env.set_info_dict_reader(reader, Composite(size=Unbounded(())))
        assert set(env.rollout(1)["next"].keys()) == {"pixels", "size", "reward", "done", "terminated", "truncated"}

    def test_in_a_batch(self, dict_obs):
        env = SerialEnv(2, lambda: GymWrapper(dict_obs()).auto_register_info_dict())
        data = env.rollout(4)
        assert torch.equal(data["next", "left"], data["left"] - 1)

    def test_a_reader_without_spec(self, line):
        with pytest.raises(TypeError, match="expected info_spec, or a reader with an info_spec attribute"):
            GymWrapper(line()).set_info_dict_reader(lambda info, td: td)

    @pytest.mark.parametrize(
        ("read", "message"),
        [
            ({}, "'place' is missing from what the info readers"),
            ({"place": torch.ones(1)}, r"'place' written by an info reader.*expected shape \[2\], found \[1\]"),
            ({"place": torch.ones(3)}, r"'place' written by an info reader.*expected shape \[2\], found \[3\]"),
        ],
    )
    def test_readers_are_held_to_their_spec(self, line, read, message):
        env = GymWrapper(line()).set_info_dict_reader(
            lambda info, td: td.update(read), Composite(place=Unbounded((2,)))
        )
        with pytest.raises(EnvDataError, match=message):
            env.reset()
