from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict

from envkit import (
    Bounded,
    Categorical,
    Collector,
    Composite,
    GymEnv,
    SerialEnv,
    SpecError,
    TensorDictPrimer,
    TransformedEnv,
    Unbounded,
    check_env_specs,
)


def pendulum():
    return GymEnv("Pendulum-v1", max_episode_steps=5)


def primer(**kwargs):
    return TensorDictPrimer({"h": Unbounded((3,)), ("deep", "n"): Categorical(4)}, **kwargs)


class Recurrent:
    """Adds up what it sees in the entry that starts anew, and acts by it."""

    def __call__(self, td):
        memory = td["h"] + td["observation"]
        action = memory.sum(-1, keepdim=True).clamp(-2, 2)
        return TensorDict({"action": action, "next": TensorDict({"h": memory}, td.batch_size)}, td.batch_size)


class TestPromises:
    @pytest.mark.parametrize("default", [0.0, {"h": 2.5}, {("deep", "n"): lambda: torch.tensor(3)}])
    def test_with_defaults(self, kit, default):
        kit.all(pendulum, lambda: primer(default_value=default))
        assert kit.on_rows(TransformedEnv(pendulum(), primer(default_value=default)))

    def test_drawn(self, kit):
        kit.ports_agree(pendulum, lambda: primer(random=True))
        env = kit.seeded(TransformedEnv(SerialEnv(3, pendulum), primer(random=True)))
        first = env.reset()
        assert len(first["h"].unique()) == 9
        assert torch.equal(kit.seeded(env).reset()["h"], first["h"])
        check_env_specs(env)


def test_a_policy_keeps_its_memory(tools):
    """What it writes under "next" is what it finds, until an episode ends."""
    for make in (pendulum, lambda: SerialEnv(2, pendulum)):
        envs = [TransformedEnv(make(), TensorDictPrimer(h=Unbounded((3,)))) for _ in range(3)]
        for env in envs:
            env.set_seed(0)
        looped = envs[0].rollout(12, Recurrent(), break_when_any_done=False)
        collected = next(iter(Collector(envs[1], Recurrent(), frames_per_batch=12 * envs[1].numel(), total_frames=-1)))
        td, rows = envs[2].reset(), []
        for _ in range(12):
            row, td = envs[2].step_and_maybe_reset(td.update(Recurrent()(td)))
            rows.append(row)
        tools.assert_same(looped, torch.stack(rows, envs[2].batch_dims))
        tools.assert_same(collected.select(*looped.keys(True, True)), looped)
        starts = [0, 5, 10]
        flat = looped.reshape(-1, 12)
        assert not flat["h"][:, starts].any()
        after = flat["h"][:, starts] + flat["observation"][:, starts]
        assert torch.equal(flat["next", "h"][:, starts], after)
        assert torch.equal(flat["h"][:, [1, 6, 11]], after)


def test_a_spec_for_the_whole_batch():
    whole = Composite(task=Bounded(torch.tensor([[0.0], [5.0]]), torch.tensor([[1.0], [6.0]]), (2, 1)), shape=(2,))
    env = TransformedEnv(SerialEnv(2, pendulum), TensorDictPrimer(whole, random=True))
    assert env.observation_spec["task"] == whole["task"]
    assert (env.reset()["task"].flatten() >= torch.tensor([0, 5])).all()


def test_stored_data_keeps_what_it_has():
    td = TensorDict({"h": torch.ones(4, 3), "next": TensorDict({}, [4])}, [4])
    out = primer()(td)
    assert out["h"].all()
    assert out["deep", "n"].shape == (4,)
    assert not out["next", "h"].any()


def test_refused():
    with pytest.raises(
        SpecError, match="TensorDictPrimer: expected no observation 'observation' in the env inside, or"
    ):
        TransformedEnv(pendulum(), TensorDictPrimer(observation=Unbounded((1,))))
    with pytest.raises(SpecError, match=r"TensorDictPrimer: 'n': expected a default_value in Categorical.*found 5"):
        TransformedEnv(pendulum(), TensorDictPrimer(n=Categorical(3), default_value=5))
    with pytest.raises(TypeError, match="TensorDictPrimer: 'n': expected a spec, found int"):
        TensorDictPrimer(n=3)
