from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict

from agents import LazyTensorStorage, ReplayBuffer
from envkit import (
    ActionChunkTransform,
    GymEnv,
    NextObservationDelta,
    NextStateReconstructor,
    PolicyAgeFilter,
    SerialEnv,
    SpecError,
    TransformedEnv,
)


def recorded(steps=12, length=5):
    env = SerialEnv(2, lambda: GymEnv("Pendulum-v1", max_episode_steps=length))
    env.set_seed(0)
    data = env.rollout(steps, break_when_any_done=False)
    data.names = None
    return data


class TestActionChunk:
    def test_chunks(self):
        data = recorded()
        out = ActionChunkTransform(3)(data.clone())
        assert out["action_chunk"].shape == (2, 12, 3, 1)
        assert torch.equal(out["action_chunk"][:, :, 0], data["action"])
        assert torch.equal(out["action_chunk"][:, 0, 1], data["action"][:, 1])
        assert torch.equal(out["action_chunk"][:, 4, 2], data["action"][:, 4])
        assert out["action_is_pad"][0, :5].tolist() == [
            [False] * 3,
            [False] * 3,
            [False] * 3,
            [False, False, True],
            [False, True, True],
        ]

    def test_in_a_buffer(self):
        buffer = ReplayBuffer(transform=ActionChunkTransform(4, chunk_key=("plan", "actions"), pad_key="pad"))
        buffer.extend(recorded())
        assert buffer.sample(5)["plan", "actions"].shape == (5, 12, 4, 1)


class TestNextObservationDelta:
    @pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
    def test_in_a_buffer(self, dtype):
        data = recorded().reshape(-1)
        buffer = ReplayBuffer(LazyTensorStorage(100), transform=NextObservationDelta(delta_dtype=dtype))
        buffer.extend(data)
        stored = buffer.storage.get(torch.arange(24))
        assert stored["next", "observation"].dtype is dtype
        batch, info = buffer.sample(100, return_info=True)
        expected = data[info["index"]]
        delta = (expected["next", "observation"] - expected["observation"]).to(dtype).float()
        assert torch.equal(batch["next", "observation"], expected["observation"] + delta)
        assert torch.allclose(batch["next", "observation"], expected["next", "observation"], atol=1e-2)

    def test_what_is_written_is_left_alone(self):
        data = recorded()
        before = data.clone()
        NextObservationDelta().inv(data)
        assert (data == before).all()

    def test_refused(self):
        with pytest.raises(ValueError, match=r"'n': expected floating-point, found torch\.int64"):
            NextObservationDelta("n").inv(TensorDict({"n": torch.tensor(1), "next": {"n": torch.tensor(2)}}))
        with pytest.raises(ValueError, match="delta_dtype: expected floating-point"):
            NextObservationDelta(delta_dtype=torch.int8)


class TestNextStateReconstructor:
    def test_from_the_steps_after(self):
        data = recorded()
        made = NextStateReconstructor()(data.exclude(("next", "observation")))["next", "observation"]
        known = ~data["next", "done"].squeeze(-1)
        known[:, -1] = False
        assert torch.equal(made[known], data["next", "observation"][known])
        assert made[~known].isnan().all()

    def test_trajectories_without_flags(self):
        td = TensorDict({"x": torch.arange(4.0), "traj": torch.tensor([0, 0, 1, 1])}, [4])
        td["next", "done"] = torch.zeros(4, 1, dtype=torch.bool)
        out = NextStateReconstructor("x", traj_key="traj", fill_value=-1.0)(td)
        assert out["next", "x"].tolist() == [1, -1, 3, -1]
        assert not td["next", "done"].any()

    def test_strict(self):
        with pytest.raises(ValueError, match=r"expected sequences without ends \(strict\)"):
            NextStateReconstructor(strict=True)(recorded())
        assert "observation" in NextStateReconstructor(strict=True)(recorded(5))["next"].keys()


class TestPolicyAgeFilter:
    def test_in_a_buffer(self):
        now = [5]
        data = TensorDict({"policy_version": torch.tensor([3, 4, 5]), "x": torch.arange(3)}, [3])
        buffer = ReplayBuffer(LazyTensorStorage(100), transform=PolicyAgeFilter(1, lambda: now[0]))
        buffer.extend(data)
        assert len(buffer) == 2
        now[0] = 6
        assert buffer.sample(50)["policy_version"].unique().tolist() == [5]

    def test_rows_are_as_old_as_their_oldest_step(self):
        data = TensorDict({"policy_version": torch.tensor([[1, 2], [2, 2], [3, 1]])}, [3, 2])
        assert len(PolicyAgeFilter(0, 2)(data)) == 1

    def test_refused(self):
        with pytest.raises(ValueError, match="expected rows in the first batch dimension"):
            PolicyAgeFilter(0, 2)(TensorDict({"policy_version": torch.tensor(1)}))
        with pytest.raises(ValueError, match="max_age: expected at least 0"):
            PolicyAgeFilter(-1, 2)


@pytest.mark.parametrize(
    "transform",
    [ActionChunkTransform(2), NextObservationDelta(), NextStateReconstructor(), PolicyAgeFilter(1, 1)],
)
def test_not_in_envs(transform):
    with pytest.raises(SpecError, match=type(transform).__name__):
        TransformedEnv(GymEnv("Pendulum-v1"), transform)
