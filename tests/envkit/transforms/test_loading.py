from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict

from envkit import (
    DataLoadingPrimer,
    GymEnv,
    NonTensor,
    SerialEnv,
    TransformedEnv,
    Unbounded,
)


def pendulum(length=3):
    return GymEnv("Pendulum-v1", max_episode_steps=length)


def goals(count=100):
    return [{"goal": torch.tensor([float(i)])} for i in range(count)]


class TestGoals:
    def test_promises(self, kit, walk):
        for make in (pendulum, lambda: SerialEnv(3, [pendulum, lambda: pendulum(2), pendulum]), walk):
            kit.ports_agree(make, lambda: DataLoadingPrimer(goals()))

    def test_one_after_the_other(self):
        env = TransformedEnv(SerialEnv(2, [pendulum, lambda: pendulum(2)]), DataLoadingPrimer(goals()))
        data = env.rollout(7, break_when_any_done=False)
        assert data["goal"].squeeze(-1).tolist() == [[0, 0, 0, 3, 3, 3, 5], [1, 1, 2, 2, 4, 4, 6]]
        assert torch.equal(data["next", "goal"], data["goal"])
        assert env.observation_spec["goal"] == Unbounded((2, 1))

    @pytest.mark.parametrize(
        "loader",
        [
            TensorDict({"goal": torch.arange(3.0).unsqueeze(-1)}, [3]),
            torch.utils.data.DataLoader(
                torch.arange(3.0).unsqueeze(-1),
                batch_size=2,
                collate_fn=lambda items: TensorDict({"goal": torch.stack(items)}, [len(items)]),
            ),
        ],
    )
    def test_batches_again_and_again(self, loader):
        given = [loader] if isinstance(loader, TensorDict) else loader
        env = TransformedEnv(pendulum(1), DataLoadingPrimer(given, repeats=2))
        data = env.rollout(8, break_when_any_done=False)
        assert data["goal"].flatten().tolist() == [0, 0, 1, 1, 2, 2, 0, 0]


class TestPrompts:
    def test_text(self):
        prompts = [{"prompt": "one"}, {"prompt": "two"}]
        env = TransformedEnv(pendulum(1), DataLoadingPrimer(prompts))
        assert isinstance(env.observation_spec["prompt"], NonTensor)
        td = env.reset()
        assert td["prompt"] == "one"
        td = env.step_mdp(env.rand_step(td))
        assert td["prompt"] == "one"
        assert env.reset()["prompt"] == "two"

    def test_the_env_starts_from_them(self, walk):
        class FromGoal(walk):
            def _reset(self, tensordict=None):
                out = super()._reset(tensordict)
                return out.set("position", tensordict["position"].clone())

        starts = [{"position": torch.full((2,), float(i))} for i in range(3)]
        env = TransformedEnv(FromGoal(), DataLoadingPrimer(starts))
        assert env.observation_spec == FromGoal().observation_spec
        assert [env.reset()["position"][0].item() for _ in range(4)] == [0, 1, 2, 0]


def test_refused():
    with pytest.raises(ValueError, match="DataLoadingPrimer: expected data, found a data set without items"):
        DataLoadingPrimer([])
    with pytest.raises(ValueError, match="repeats: expected at least 1"):
        DataLoadingPrimer(goals(), repeats=0)
