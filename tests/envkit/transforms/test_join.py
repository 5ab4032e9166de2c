from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensordict import TensorDict

from envkit import (
    Bounded,
    Categorical,
    CatTensors,
    Composite,
    EnvBase,
    GymWrapper,
    MultiCategorical,
    OneHot,
    RewardSum,
    SpecError,
    Stack,
    StepCounter,
    TransformedEnv,
    Unbounded,
    check_env_specs,
)

few = settings(deadline=None, max_examples=40, derandomize=True)


class Two(EnvBase):
    """Two observations of one dtype, and a third of another."""

    def __init__(self, stateless: bool = False) -> None:
        super().__init__()
        self.observation_spec = Composite(
            b=Bounded(0.0, 9.0, (2,)), a=Composite(x=Unbounded((1,))), n=Categorical(9, (1,))
        )
        self.action_spec = Bounded(-1.0, 1.0, (1,))
        if stateless:
            self.state_spec = Composite(b=Bounded(0.0, 9.0, (2,)))
        self.count = 0

    def _set_seed(self, seed):
        pass

    def _observe(self):
        t = float(self.count)
        return {
            "b": torch.tensor([t, t + 1]),
            "a": TensorDict({"x": torch.tensor([-t])}),
            "n": torch.tensor([self.count]),
        }

    def _reset(self, tensordict=None):
        self.count = 0
        return TensorDict(self._observe())

    def _step(self, tensordict):
        self.count += 1
        ends = torch.tensor([self.count >= 4])
        return TensorDict({**self._observe(), "reward": tensordict["action"].clone(), "terminated": ends})


class TestCatTensors:
    @pytest.mark.parametrize("options", [{}, {"del_keys": False}, {"sort": False, "out_key": ("deep", "all")}])
    def test_promises(self, kit, options):
        kit.all(Two, lambda: CatTensors(["b", ("a", "x")], **options))

    def test_on_rows(self, kit, dict_obs):
        make = lambda: GymWrapper(dict_obs())
        transform = lambda: CatTensors(["camera"], "c", dim=-2, del_keys=False)
        kit.all(make, transform)
        assert kit.on_rows(TransformedEnv(make(), transform()))

    def test_order(self):
        data = TensorDict({"b": torch.ones(2), "a": {"x": torch.zeros(1)}})
        keys = ["b", ("a", "x")]
        assert CatTensors(keys, sort=False)(data.clone())["observation_vector"].tolist() == [1, 1, 0]
        assert CatTensors(keys)(data.clone())["observation_vector"].tolist() == [0, 1, 1]
        assert set(CatTensors(keys)(data.clone()).keys(True, True)) == {"observation_vector"}

    def test_spec(self):
        env = TransformedEnv(Two(), CatTensors(["b", ("a", "x")], "all"))
        inf = torch.inf
        assert env.observation_spec["all"] == Bounded(torch.tensor([-inf, 0, 0]), torch.tensor([inf, 9, 9]), (3,))
        assert env.observation_keys == ["all", "n"]

    def test_everything(self, scripted):
        env = TransformedEnv(scripted(observations=[[1.0, 2.0]]), CatTensors())
        assert env.observation_spec["observation_vector"] == Unbounded((2,))
        assert env.rollout(2)["observation_vector"].tolist() == [[1, 2], [1, 2]]

    def test_in_place_of_one_of_them(self):
        env = TransformedEnv(Two(), CatTensors(["b", ("a", "x")], "b"))
        assert env.observation_spec["b"].shape == (3,)
        check_env_specs(env)

    @few
    @given(data=st.data())
    def test_output_is_in_its_spec(self, kit, data):
        leaf = data.draw(kit.leaf_specs)
        other = data.draw(st.sampled_from([leaf.clone(), Unbounded(leaf.shape, dtype=leaf.dtype)]))
        if leaf.dtype is torch.bool:
            other = leaf.clone()
        specs = kit.specs_with(leaf)
        specs["observation"]["other"] = other
        transform = CatTensors(["observation", "other"], "both")
        outer = transform.transform_specs(specs)["observation"]
        for _ in range(5):
            value = specs["observation"].rand()
            expected = torch.cat([value["observation"], value["other"]], -1)
            out = transform(value)
            assert torch.equal(out["both"], expected)
            assert outer.is_in(out), outer.violations(out)

    def test_bounds_of_categories(self, kit):
        specs = kit.specs_with(Categorical(3, (1,)))
        specs["observation"].update(Composite(more=MultiCategorical([2, 5]), hot=OneHot(2, dtype=torch.int64)))
        joined = CatTensors(["observation", "more", "hot"], "all", sort=False).transform_specs(specs)["observation"][
            "all"
        ]
        assert joined.high.tolist() == [2, 1, 4, 1, 1]
        assert not joined.low.any()

    def test_refused(self):
        with pytest.raises(SpecError, match=r"CatTensors: expected tensors of one dtype.*'b'.*float32 \[2\].*int64"):
            TransformedEnv(Two(), CatTensors(["b", "n"]))
        with pytest.raises(SpecError, match="CatTensors: unknown key 'oops' in in_keys"):
            TransformedEnv(Two(), CatTensors(["oops"]))
        with pytest.raises(SpecError, match="CatTensors: expected no entry 'n' in the env inside, found one"):
            TransformedEnv(Two(), CatTensors(["b"], "n"))
        with pytest.raises(SpecError, match="CatTensors: expected 'b' to stay, as the next step"):
            TransformedEnv(Two(stateless=True), CatTensors(["b"]))
        with pytest.raises(ValueError, match="CatTensors: dim: expected a negative number"):
            CatTensors(["b"], dim=0)
        with pytest.raises(ValueError, match="CatTensors: expected in_keys, or an env"):
            CatTensors()(TensorDict({"a": torch.ones(1)}))


def agents(**kwargs):
    names = ["agent0", "agent1"]
    return Stack(names, "agents", in_keys_inv=names, **kwargs)


class TestStackOfAgents:
    def test_promises(self, kit, two_agents):
        kit.all(lambda: two_agents(lengths=(2, 3)), agents)

    def test_shown(self, two_agents, tools):
        env = TransformedEnv(two_agents(lengths=(2, 3)), agents())
        assert env.action_key == ("agents", "action")
        assert env.reward_key == ("agents", "reward")
        assert env.done_key == ("agents", "done")
        assert env.full_action_spec["agents"].shape == (2,)
        plain = two_agents(lengths=(2, 3))
        env.set_seed(0)
        data = env.rollout(7, break_when_any_done=False)
        assert data["agents"].batch_size == (7, 2)
        actions = [
            TensorDict({f"agent{i}": {"action": action} for i, action in enumerate(row)})
            for row in data["agents", "action"]
        ]
        expected = plain.rollout(7, tools.FixedPolicy(actions), break_when_any_done=False)
        for i in range(2):
            for key in ("val", "reward", "done"):
                assert torch.equal(data["next", "agents", key][:, i], expected["next", f"agent{i}", key])

    def test_before_other_transforms(self, two_agents):
        env = TransformedEnv(two_agents(lengths=(2, 9)), [agents(), StepCounter(max_steps=3), RewardSum()])
        data = env.rollout(7, break_when_any_done=False)
        assert data["agents", "step_count"][..., 0].tolist() == [[0, 0], [1, 1], [0, 2], [1, 0], [0, 1], [1, 2], [0, 0]]
        check_env_specs(env)


class TestStackOfEntries:
    def test_promises(self, kit, walk):
        class Pair(walk):
            """Its action, and what it shows of it, come in two parts."""

            def __init__(self):
                super().__init__()
                self.full_action_spec = Composite(left=Bounded(-1.0, 1.0, (2,)), right=Bounded(0.0, 2.0, (2,)))
                self.observation_spec = self.observation_spec.clone().set("far", Unbounded((2,)))

            def _reset(self, tensordict=None):
                out = super()._reset(tensordict)
                return out.set("far", 2 * out["position"])

            def _step(self, tensordict):
                out = super()._step(tensordict.copy().set("action", tensordict["left"] - tensordict["right"]))
                return out.set("far", 2 * out["position"])

        def transform():
            return Stack(["position", "far"], "both", ["left", "right"], "action", dim=-2, del_keys=False)

        kit.all(Pair, transform)
        env = TransformedEnv(Pair(), transform())
        assert env.action_spec.shape == (2, 2)
        assert env.action_spec.low[1].tolist() == [0, 0]
        data = env.rollout(2)
        assert torch.equal(data["both"][:, 1], data["far"])

    def test_what_is_reset_by_itself_stays_so(self, two_agents):
        with pytest.raises(SpecError, match=r"expected 'vals' beside or below the done flags of .*'agent0', 'val'"):
            TransformedEnv(two_agents(), Stack([("agent0", "val"), ("agent1", "val")], "vals"))
        with pytest.raises(SpecError, match=r"CatTensors: expected 'vals' beside or below the done flags"):
            TransformedEnv(two_agents(), CatTensors([("agent0", "val"), ("agent1", "val")], "vals"))

    def test_refused(self, two_agents):
        with pytest.raises(SpecError, match="Stack: unknown key 'oops' in in_keys"):
            TransformedEnv(two_agents(), Stack(["oops"], "all"))
        with pytest.raises(SpecError, match=r"expected all of .* among the observation specs, found that \[\('agent1'"):
            TransformedEnv(two_agents(), Stack([("agent0", "val"), ("agent1", "reward")], "all"))
        with pytest.raises(ValueError, match="Stack: dim: expected a negative number"):
            Stack(["a"], "b", dim=1)

    def test_inverse_outside_of_envs(self):
        transform = Stack(["a", "b"], "both", ["a", "b"])
        td = TensorDict({"a": torch.ones(3), "b": torch.zeros(3)})
        back = transform.inv(transform(td.clone()))
        assert set(back.keys()) == {"a", "b"}
        assert torch.equal(back["a"], td["a"])
