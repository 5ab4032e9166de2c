"""Rollouts, option by option."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from tensordict import LazyStackedTensorDict, TensorDict, TensorDictBase
from tensordict.nn import (
    InteractionType,
    ProbabilisticTensorDictModule,
    ProbabilisticTensorDictSequential,
    TensorDictModule,
)

from envkit import (
    Binary,
    Bounded,
    Choice,
    Composite,
    EnvBase,
    ExplorationType,
    GymEnv,
    NonTensor,
    RandomPolicy,
    SerialEnv,
    StepCounter,
    TransformedEnv,
    Unbounded,
    check_env_specs,
    exploration_type,
    set_exploration_type,
)
from envkit.errors import NonFiniteError, PolicyError

LENGTH = (False, False, True)


class EnvWithDynamicSpec(EnvBase):
    def __init__(self, max_count=5):
        super().__init__(batch_size=())
        self.observation_spec = Composite(
            observation=Unbounded(shape=(3, -1, 2)),
        )
        self.action_spec = Bounded(low=-1, high=1, shape=(2,))
        self.full_done_spec = Composite(
            done=Binary(1, shape=(1,), dtype=torch.bool),
            terminated=Binary(1, shape=(1,), dtype=torch.bool),
            truncated=Binary(1, shape=(1,), dtype=torch.bool),
        )
        self.reward_spec = Unbounded((1,), dtype=torch.float)
        self.count = 0
        self.max_count = max_count

    def _reset(self, tensordict=None):
        self.count = 0
        data = TensorDict(
            {
                "observation": torch.full(
                    (3, self.count + 1, 2),
                    self.count,
                    dtype=self.observation_spec["observation"].dtype,
                )
            }
        )
        data.update(self.done_spec.zero())
        return data

    def _step(
        self,
        tensordict: TensorDictBase,
    ) -> TensorDictBase:
        self.count += 1
        done = self.count >= self.max_count
        observation = TensorDict(
            {
                "observation": torch.full(
                    (3, self.count + 1, 2),
                    self.count,
                    dtype=self.observation_spec["observation"].dtype,
                )
            }
        )
        done = self.full_done_spec.zero() | done
        reward = self.full_reward_spec.zero()
        return observation.update(done).update(reward)

    def _set_seed(self, seed):
        self.manual_seed = seed
        return seed


class Talking(EnvBase):
    """Observes a sentence and a number."""

    def __init__(self):
        super().__init__()
        self.observation_spec = Composite(text=NonTensor(()), x=Unbounded((1,)))
        self.action_spec = Unbounded((1,))
        self.count = 0

    def _reset(self, tensordict=None):
        self.count = 0
        return TensorDict({"text": "start", "x": torch.zeros(1)})

    def _step(self, tensordict):
        self.count += 1
        done = torch.tensor([self.count == 3])
        return TensorDict({"text": f"step {self.count}", "x": torch.ones(1), "reward": torch.ones(1), "done": done})

    def _set_seed(self, seed):
        self.seed = seed


class TestLength:
    def test_stops_when_anything_is_done(self, scripted):
        data = scripted(terminated=LENGTH).rollout(10)
        assert data.batch_size == torch.Size([3])
        assert data["next", "done"].flatten().tolist() == list(LENGTH)

    def test_goes_on_over_ends(self, scripted):
        data = scripted(terminated=LENGTH).rollout(8, break_when_any_done=False)
        assert data["observation"].flatten().tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
        assert data["next", "observation"].flatten().tolist() == [1, 2, 3, 1, 2, 3, 1, 2]
        assert not data["done"].any()

    def test_max_steps(self, scripted):
        env = scripted()
        assert env.rollout(1).batch_size == torch.Size([1])
        assert env.rollout(5).batch_size == torch.Size([5])
        with pytest.raises(ValueError, match="max_steps: expected at least 1, found 0"):
            env.rollout(0)

    @pytest.mark.parametrize("length", [255, 256, 257, 600, 1000])
    def test_growth(self, scripted, length):
        ends = [False] * (length - 1) + [True]
        data = scripted(rewards=[float(i) for i in range(length)], terminated=ends).rollout(1000)
        assert data.batch_size == torch.Size([length])
        assert data["observation"].flatten().tolist() == list(range(length))
        assert data["next", "reward"].flatten().tolist() == list(range(length))
        assert data["next", "done"].flatten().tolist() == ends

    def test_growth_keeps_what_the_policy_wrote(self, scripted):
        count = iter(range(1000))

        def policy(td):
            td["action"] = torch.tensor(0)
            td["extra", "count"] = torch.tensor(next(count))
            return td

        assert scripted().rollout(700, policy)["extra", "count"].tolist() == list(range(700))

    def test_a_batch_stops_at_the_first_end(self, scripted):
        env = SerialEnv(2, [lambda: scripted(terminated=LENGTH), lambda: scripted(terminated=(False,))])
        assert env.rollout(10).batch_size == torch.Size([2, 3])

    def test_break_when_all_done(self, scripted):
        assert scripted(terminated=LENGTH).rollout(10, break_when_all_done=True).batch_size == torch.Size([3])
        with pytest.raises(TypeError, match="at most one of them"):
            scripted().rollout(10, break_when_any_done=True, break_when_all_done=True)

    @pytest.mark.parametrize("transformed", [False, True])
    def test_what_is_done_is_skipped_until_all_is(self, scripted, transformed):
        lengths = (2, 4, 3)
        env = SerialEnv(3, [lambda n=n: scripted(terminated=[False] * (n - 1) + [True]) for n in lengths])
        subs = env._envs
        if transformed:
            env = TransformedEnv(env, StepCounter())
        data = env.rollout(10, break_when_all_done=True)
        assert data.batch_size == torch.Size([3, 4])
        assert [sub.steps for sub in subs] == list(lengths)
        assert data["next", "observation"].squeeze(-1).tolist() == [[1, 2, 2, 2], [1, 2, 3, 4], [1, 2, 3, 3]]
        assert data["observation"].squeeze(-1).tolist() == [[0, 1, 2, 2], [0, 1, 2, 3], [0, 1, 2, 3]]
        assert data["next", "reward"].squeeze(-1).tolist() == [[1, 1, 0, 0], [1, 1, 1, 1], [1, 1, 1, 0]]
        done = [[t >= n - 1 for t in range(4)] for n in lengths]
        assert data["next", "done"].squeeze(-1).tolist() == done
        assert data["done"].squeeze(-1).tolist() == [[False, *flags[:-1]] for flags in done]
        if transformed:
            assert data["next", "step_count"].squeeze(-1).tolist() == [[1, 2, 2, 2], [1, 2, 3, 4], [1, 2, 3, 3]]

    def test_agents_that_are_done_are_skipped(self, two_agents):
        data = two_agents(lengths=(2, 4)).rollout(10, break_when_all_done=True)
        assert data.batch_size == torch.Size([4])
        assert data["next", "agent0", "val"][:, 0].tolist() == [1, 2, 2, 2]
        assert data["next", "agent1", "val"][:, 0].tolist() == [1, 2, 3, 4]
        assert data["next", "agent0", "reward"][2:].flatten().tolist() == [0, 0]


class TestLayout:
    def test_time_is_the_last_batch_dimension(self):
        data = GymEnv("CartPole-v1").rollout(4)
        assert (data.batch_size, data.names) == (torch.Size([4]), ["time"])
        data = SerialEnv(3, lambda: SerialEnv(2, lambda: GymEnv("CartPole-v1"))).rollout(4)
        assert (data.batch_size, data.names) == (torch.Size([3, 2, 4]), [None, None, "time"])
        assert data["observation"].shape == torch.Size([3, 2, 4, 4])
        assert data["next", "reward"].shape == torch.Size([3, 2, 4, 1])
        assert data["next"].batch_size == torch.Size([3, 2, 4])

    def test_rows_follow_each_other(self):
        data = GymEnv("Pendulum-v1").rollout(10)
        assert torch.equal(data["observation"][1:], data["next", "observation"][:-1])

    def test_is_a_plain_tensordict_without_gradients(self):
        data = GymEnv("Pendulum-v1").rollout(3, TensorDictModule(torch.nn.Linear(3, 1), ["observation"], ["action"]))
        assert type(data) is TensorDict
        assert not any(value.requires_grad for value in data.values(True, True))

    def test_rollouts_share_no_memory(self, scripted):
        env = scripted()
        first = env.rollout(3)
        copy = first.clone()
        env.rollout(3)
        assert bool((first == copy).all())

    def test_storing_device(self):
        assert GymEnv("CartPole-v1").rollout(3, storing_device="cpu").device == torch.device("cpu")

    def test_out(self, scripted):
        env = scripted()
        out = env.rollout(4).zero_()
        assert env.rollout(4, out=out) is out
        assert out["next", "observation"].flatten().tolist() == [1, 2, 3, 4]


class TestDynamicSpecs:
    def test_lazy_stack(self):
        data = EnvWithDynamicSpec().rollout(5, return_contiguous=False)
        assert isinstance(data, LazyStackedTensorDict)
        assert isinstance(data["next"], LazyStackedTensorDict)
        assert (data.batch_size, data.names, data.stack_dim) == (torch.Size([5]), ["time"], 0)
        assert data["action"].shape == torch.Size([5, 2])
        assert data["next", "done"].flatten().tolist() == [False] * 4 + [True]
        assert [data[t]["observation"].shape[1] for t in range(5)] == [1, 2, 3, 4, 5]
        assert [data[t]["next", "observation"].shape[1] for t in range(5)] == [2, 3, 4, 5, 6]

    def test_is_found_out(self):
        assert EnvWithDynamicSpec().has_dynamic_specs
        assert isinstance(EnvWithDynamicSpec().rollout(2), LazyStackedTensorDict)

    def test_contiguous_is_refused_with_the_remedy(self):
        with pytest.raises(TypeError, match="return_contiguous=False"):
            EnvWithDynamicSpec().rollout(5, return_contiguous=True)

    def test_contiguous_may_be_asked_for(self, scripted):
        assert type(scripted().rollout(3, return_contiguous=True)) is TensorDict

    def test_over_ends(self):
        data = EnvWithDynamicSpec(2).rollout(5, break_when_any_done=False)
        assert [data[t]["observation"].shape[1] for t in range(5)] == [1, 2, 1, 2, 1]

    def test_set_truncated(self):
        data = EnvWithDynamicSpec(50).rollout(3, set_truncated=True)
        assert data["next", "truncated"].flatten().tolist() == [False, False, True]

    def test_dynamic_actions(self):
        env = EnvWithDynamicSpec(50)
        env.action_spec = Unbounded((-1,))
        widths = iter((2, 1, 3))
        data = env.rollout(3, lambda td: td.set("action", torch.zeros(next(widths))))
        assert [data[t]["action"].shape[0] for t in range(3)] == [2, 1, 3]

    def test_non_tensor_data(self):
        data = Talking().rollout(5, break_when_any_done=False)
        assert [data[t]["text"] for t in range(5)] == ["start", "step 1", "step 2", "start", "step 1"]
        assert [data[t]["next", "text"] for t in range(5)] == ["step 1", "step 2", "step 3", "step 1", "step 2"]

    def test_non_tensor_data_by_the_public_port(self):
        env = Talking()
        td, seen = env.reset(), []
        for _ in range(4):
            row, td = env.step_and_maybe_reset(env.rand_action(td))
            seen.append((row["text"], row["next", "text"]))
        assert seen == [("start", "step 1"), ("step 1", "step 2"), ("step 2", "step 3"), ("start", "step 1")]


class TestBeginning:
    def test_auto_reset_false(self, scripted):
        env = scripted()
        td = env.reset()
        for _ in range(2):
            td = env.step_mdp(env.step(env.rand_action(td)))
        keys = set(td.keys())
        data = env.rollout(3, auto_reset=False, tensordict=td)
        assert data["observation"].flatten().tolist() == [2, 3, 4]
        assert env.resets == 1
        assert set(td.keys()) == keys

    def test_what_is_done_is_reset(self, scripted):
        env = scripted(terminated=LENGTH)
        td = env.step_mdp(env.rollout(3)[-1])
        assert td["done"].item()
        assert env.rollout(3, auto_reset=False, tensordict=td)["observation"].flatten().tolist() == [0, 1, 2]
        assert td["done"].item()

    def test_auto_reset_false_needs_a_start(self, scripted):
        with pytest.raises(TypeError, match="auto_reset=False: expected the tensordict"):
            scripted().rollout(3, auto_reset=False)
        env = scripted()
        with pytest.raises(KeyError, match="observation"):
            env.rollout(3, auto_reset=False, tensordict=env.reset().exclude("observation"))

    def test_tensordict_for_the_reset(self):
        env = SerialEnv(2, lambda: GymEnv("Pendulum-v1"))
        td = env.reset()
        for _ in range(3):
            td = env.step_mdp(env.step(env.rand_action(td)))
        td["_reset"] = torch.tensor([[True], [False]])
        before = td["observation"].clone()
        data = env.rollout(2, tensordict=td)
        assert torch.equal(data["observation"][1, 0], before[1])
        assert not torch.equal(data["observation"][0, 0], before[0])

    def test_reproducible(self):
        def run() -> TensorDictBase:
            env = GymEnv("CartPole-v1")
            env.set_seed(9)
            return env.rollout(100, break_when_any_done=False)

        first, second = run(), run()
        for key, value in first.items(True, True):
            assert torch.equal(value, second[key])


class TestEnds:
    def test_set_truncated(self, scripted):
        data = scripted(truncated=(False,)).rollout(3, set_truncated=True)
        assert data["next", "truncated"].flatten().tolist() == [False, False, True]
        assert data["next", "done"].flatten().tolist() == [False, False, True]
        assert data["next", "terminated"].flatten().tolist() == [False, False, False]

    def test_set_truncated_in_a_batch(self, scripted):
        data = SerialEnv(2, lambda: scripted(truncated=(False,))).rollout(3, set_truncated=True)
        assert data["next", "truncated"].squeeze(-1).tolist() == [[False, False, True]] * 2

    def test_set_truncated_without_such_a_flag(self, scripted):
        with pytest.raises(RuntimeError, match=r"set_truncated.*\['done', 'terminated'\]"):
            scripted().rollout(3, set_truncated=True)


class TestCallback:
    @pytest.mark.parametrize(("length", "most"), [(5, 10), (10, 5), (600, 1000), (1000, 256)])
    def test_sees_every_step_but_the_last(self, scripted, length, most):
        env, seen = scripted(terminated=[False] * (length - 1) + [True]), []

        def callback(given, td):
            assert given is env
            seen.append((td["observation"].item(), td["next", "observation"].item()))
            return "ignored"

        steps = env.rollout(most, callback=callback).batch_size[0]
        assert steps == min(length, most)
        assert seen == [(float(t), float(t + 1)) for t in range(steps - 1)]

    def test_sees_actions_and_batches(self):
        shapes = []
        SerialEnv(2, lambda: GymEnv("CartPole-v1")).rollout(
            3, callback=lambda env, td: shapes.append((td.batch_size, td["action"].shape)), break_when_any_done=False
        )
        assert shapes == [(torch.Size([2]), torch.Size([2]))] * 2


class TestPolicies:
    def test_random_by_default(self):
        env = GymEnv("Pendulum-v1")
        data = env.rollout(50)
        assert env.action_spec.is_in(data["action"])
        assert len(data["action"].unique()) == 50

    def test_a_rand_action_of_its_own_is_used(self):
        class Fixed(GymEnv):
            def rand_action(self, tensordict=None):
                return tensordict.set("action", torch.tensor([0.25]))

        assert Fixed("Pendulum-v1").rollout(5)["action"].eq(0.25).all()

    def test_no_action(self):
        with pytest.raises(
            PolicyError, match=r"the policy wrote no 'action': expected torch.int64 of shape \[\].*'other'"
        ):
            GymEnv("CartPole-v1").rollout(3, lambda td: td.set("other", torch.ones(1)))

    def test_an_action_that_stops_coming(self, scripted):
        def policy(td):
            return td.set("action", torch.tensor(0)) if td["observation"].item() < 2 else td

        with pytest.raises(PolicyError, match="the policy wrote no 'action' this time"):
            scripted().rollout(5, policy)

    @pytest.mark.parametrize(
        ("action", "message"),
        [
            (torch.zeros(2), r"'action' written by the policy: expected torch.float32 of shape \[1\].*shape \[2\]"),
            (torch.zeros(()), r"'action' written by the policy.*of shape \[\]"),
            (torch.zeros(1, dtype=torch.complex64), r"'action'.*expected torch.float32.*torch.complex64"),
        ],
    )
    def test_wrong_actions(self, action, message):
        with pytest.raises(PolicyError, match=message):
            GymEnv("Pendulum-v1").rollout(3, lambda td: td.set("action", action))

    def test_float_for_an_index(self):
        with pytest.raises(PolicyError, match=r"expected torch.int64 of shape \[\], found torch.float32"):
            GymEnv("CartPole-v1").rollout(3, lambda td: td.set("action", torch.tensor(1.0)))

    def test_a_shape_that_changes(self, scripted):
        def policy(td):
            return td.set("action", torch.zeros(() if td["observation"].item() < 2 else (1,), dtype=torch.int64))

        with pytest.raises(PolicyError, match=r"'action' written by the policy: expected shape \[\], found \[1\]"):
            scripted().rollout(5, policy)

    def test_extra_outputs_are_recorded(self, scripted):
        def policy(td):
            td["action"] = torch.tensor(1)
            td["sample_log_prob"] = -td["observation"][0]
            td["nested", "value"] = td["observation"] * 2
            return td

        data = scripted(terminated=LENGTH).rollout(5, policy, break_when_any_done=False)
        assert data["sample_log_prob"].tolist() == [0, -1, -2, 0, -1]
        assert data["nested", "value"].flatten().tolist() == [0, 2, 4, 0, 2]

    def test_extra_outputs_do_not_come_back(self, scripted):
        def policy(td):
            assert "mark" not in td.keys()
            return td.set("action", torch.tensor(1)).set("mark", torch.ones(1))

        assert scripted().rollout(3, policy)["mark"].eq(1).all()

    def test_memory(self, scripted):
        class Counting(torch.nn.Module):
            in_keys = ("memory",)

            def forward(self, td):
                memory = td.get("memory", torch.zeros(2))
                return td.update({"memory": memory + 1, "action": torch.tensor(0)})

        data = scripted(terminated=LENGTH).rollout(5, Counting(), break_when_any_done=False)
        assert data["memory"][:, 0].tolist() == [1, 2, 3, 4, 5]

    def test_memory_handed_on_under_next(self, scripted):
        def policy(td):
            state = td.get("state", torch.zeros(1))
            return td.update({"action": torch.tensor(0), "next": {"state": state + 1}})

        data = scripted(terminated=LENGTH).rollout(5, policy, break_when_any_done=False)
        assert data["state"].flatten().tolist() == [0, 1, 2, 3, 4]
        assert data["next", "state"].flatten().tolist() == [1, 2, 3, 4, 5]

    def test_another_tensordict(self, scripted):
        data = scripted().rollout(3, lambda td: TensorDict({"action": torch.tensor(1), "extra": td["observation"] + 5}))
        assert data["action"].tolist() == [1, 1, 1]
        assert data["extra"].flatten().tolist() == [5, 6, 7]

    def test_in_place_without_a_result(self, scripted):
        def policy(td):
            td["action"] = torch.tensor(1)

        assert scripted().rollout(3, policy)["action"].tolist() == [1, 1, 1]

    def test_runs_without_gradients(self, scripted):
        def policy(td):
            assert not torch.is_grad_enabled()
            return td.set("action", torch.tensor(1))

        scripted().rollout(2, policy)
        assert torch.is_grad_enabled()

    def test_auto_cast_to_device(self):
        module = TensorDictModule(torch.nn.Linear(3, 1), ["observation"], ["action"])
        data = GymEnv("Pendulum-v1").rollout(3, module, auto_cast_to_device=True)
        assert data["action"].shape == torch.Size([3, 1])

    def test_several_actions(self, two_agents):
        env = two_agents()

        def policy(td):
            for i, name in enumerate(("agent0", "agent1")):
                td[name, "action"] = torch.full((1,), float(i))
            return td

        data = env.rollout(4, policy)
        assert data.batch_size == torch.Size([3])
        assert data["next", "agent1", "reward"].flatten().tolist() == [1.0, 1.0, 1.0]


class TestNotANumber:
    def test_in_the_middle(self, scripted):
        observations = [[0.0, 0.0], [1.0, 1.0], [2.0, 2.0], [3.0, float("nan")], [4.0, 4.0]]
        env = scripted(observations=observations)
        with pytest.raises(
            NonFiniteError, match=r"'observation' returned by ScriptedEnv.*nan at step 2, at index \[1\]"
        ):
            env.rollout(4)
        env.nonfinite = "allow"
        assert env.rollout(4)["next", "observation"].isnan().any()

    def test_reward(self, scripted):
        with pytest.raises(NonFiniteError, match=r"'reward'.*nan at step 1, at index \[0\] \(1 in all\)"):
            scripted(rewards=(0.0, float("nan"), 0.0)).rollout(3)

    def test_infinite_rewards_pass_where_nothing_bounds_them(self, scripted):
        data = scripted(rewards=(0.0, float("inf"), float("-inf"))).rollout(3)
        assert data["next", "reward"].flatten().tolist() == [0.0, float("inf"), float("-inf")]

    def test_in_a_batch(self, scripted):
        env = SerialEnv(2, [scripted, lambda: scripted(rewards=(0.0, float("nan")))])
        with pytest.raises(NonFiniteError, match="'reward'"):
            env.rollout(3)

    def test_without_fixed_rows(self):
        class Broken(EnvWithDynamicSpec):
            def _step(self, tensordict):
                out = super()._step(tensordict)
                if self.count == 3:
                    out["observation"][0, 0, 0] = float("nan")
                return out

        with pytest.raises(NonFiniteError, match=r"'observation'.*nan at index \[0, 0, 0\]"):
            Broken().rollout(5)


class TestOpenLoop:
    ACTIONS = tuple(torch.tensor([float(i)]) for i in range(5))

    def env(self):
        return GymEnv("Pendulum-v1")

    @pytest.mark.parametrize(
        "actions",
        [
            list(ACTIONS),
            ACTIONS,
            torch.stack(ACTIONS),
            [TensorDict({"action": action}) for action in ACTIONS],
            TensorDict({"action": torch.stack(ACTIONS)}, [5]),
        ],
        ids=["list", "tuple", "tensor", "TensorDicts", "stacked TensorDict"],
    )
    def test_with_a_length(self, actions):
        data = self.env().rollout(100, actions=actions)
        assert data["action"].flatten().tolist() == [0, 1, 2, 3, 4]
        assert self.env().rollout(3, actions=actions)["action"].flatten().tolist() == [0, 1, 2]

    def test_without_a_length(self):
        drawn = []

        def forever():
            while True:
                drawn.append(torch.tensor([len(drawn) / 10]))
                yield drawn[-1]

        data = self.env().rollout(7, actions=forever())
        assert data.batch_size == (7,)
        assert len(drawn) == 7
        assert self.env().rollout(100, actions=iter(self.ACTIONS)).batch_size == (5,)

    def test_until_something_is_done(self, scripted):
        actions = [torch.tensor(i % 2) for i in range(9)]
        assert scripted(terminated=LENGTH).rollout(9, actions=actions)["action"].tolist() == [0, 1, 0]
        data = scripted(terminated=LENGTH).rollout(9, actions=actions, break_when_any_done=False)
        assert data["action"].tolist() == [0, 1, 0, 1, 0, 1, 0, 1, 0]

    def test_of_another_rollout(self):
        """A recorded rollout, whole steps and all, plays back."""
        first, again = self.env(), self.env()
        for env in (first, again):
            env.set_seed(0)
        data = first.rollout(20)
        assert bool((again.rollout(20, actions=data) == data).all())
        other = self.env().rollout(20, actions=data)
        assert torch.equal(other["action"], data["action"])
        assert not torch.equal(other["observation"], data["observation"])

    def test_of_several_agents(self, two_agents):
        actions = [
            TensorDict({name: {"action": torch.full((1,), v)} for name in ("agent0", "agent1")}) for v in (0.5, 1)
        ]
        assert two_agents().rollout(9, actions=actions)["agent1", "action"].flatten().tolist() == [0.5, 1]

    def test_in_a_batch(self):
        env = SerialEnv(2, self.env)
        data = env.rollout(9, actions=[torch.full((2, 1), float(i)) for i in range(4)])
        assert data["action"].squeeze(-1).tolist() == [[0, 1, 2, 3]] * 2

    def test_errors(self):
        with pytest.raises(TypeError, match="actions and policy: expected at most one of them"):
            self.env().rollout(3, lambda td: td, actions=self.ACTIONS)
        with pytest.raises(ValueError, match="actions: expected at least one, found none"):
            self.env().rollout(3, actions=[])
        with pytest.raises(ValueError, match="max_steps: expected at least 1, found 0"):
            self.env().rollout(0, actions=self.ACTIONS)
        with pytest.raises(
            PolicyError, match=r"'action' written by the policy: expected .* of shape \[1\], found .*\[\]"
        ):
            self.env().rollout(3, actions=torch.zeros(3))
        with pytest.raises(PolicyError, match="the policy wrote no 'action': expected"):
            self.env().rollout(3, actions=[TensorDict({"other": torch.zeros(1)})])
        with pytest.raises(PolicyError, match="the policy returned int: expected a TensorDict, or the action"):
            self.env().rollout(3, actions=[0, 1])
        with pytest.raises(TypeError, match="not iterable"):
            self.env().rollout(3, actions=5)


class TestExploration:
    """Who decides how a distribution becomes an action: the option, else the context, else the policy."""

    def policy(self, default=InteractionType.DETERMINISTIC):
        module = TensorDictModule(lambda x: (10 + 0 * x, 1 + 0 * x), ["observation"], ["loc", "scale"])
        return ProbabilisticTensorDictSequential(
            module,
            ProbabilisticTensorDictModule(
                ["loc", "scale"],
                ["action"],
                distribution_class=torch.distributions.Normal,
                default_interaction_type=default,
            ),
        )

    def sampled(self, scripted, *, default=InteractionType.DETERMINISTIC, **kwargs):
        env = scripted()
        env.action_spec = Unbounded((1,))
        return not env.rollout(5, self.policy(default), **kwargs)["action"].eq(10).all()

    @pytest.mark.parametrize("default", [InteractionType.DETERMINISTIC, InteractionType.RANDOM])
    def test_by_default_the_policy(self, default, scripted):
        assert exploration_type() is None
        assert self.sampled(scripted, default=default) is (default is InteractionType.RANDOM)

    @pytest.mark.parametrize("context", [ExplorationType.RANDOM, ExplorationType.DETERMINISTIC, ExplorationType.MEAN])
    def test_a_context(self, context, scripted):
        with set_exploration_type(context):
            assert self.sampled(scripted) is (context is ExplorationType.RANDOM)
            assert self.sampled(scripted, default=InteractionType.RANDOM) is (context is ExplorationType.RANDOM)

    @pytest.mark.parametrize("given", [ExplorationType.RANDOM, ExplorationType.DETERMINISTIC, ExplorationType.MEAN])
    @pytest.mark.parametrize("context", [None, ExplorationType.RANDOM, ExplorationType.DETERMINISTIC])
    def test_the_option(self, given, context, scripted):
        for default in (InteractionType.RANDOM, InteractionType.DETERMINISTIC):
            with set_exploration_type(context) if context is not None else nullcontext():
                found = self.sampled(scripted, default=default, exploration_type=given)
                assert exploration_type() is context
            assert found is (given is ExplorationType.RANDOM)

    def test_is_put_back_after_an_error(self, scripted):
        def policy(td):
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            scripted().rollout(3, policy, exploration_type=ExplorationType.RANDOM)
        assert exploration_type() is None


class TestUntilAllIsDone:
    @pytest.mark.parametrize("lengths", [(3, 300), (300, 3), (255, 256), (256, 257), (513, 700), (1, 1)])
    def test_over_several_blocks_of_rows(self, lengths, scripted):
        env = SerialEnv(2, [lambda n=n: scripted(terminated=[False] * (n - 1) + [True]) for n in lengths])
        data = env.rollout(1000, break_when_all_done=True)
        assert data.batch_size == (2, max(lengths))
        for i, length in enumerate(lengths):
            count = torch.arange(max(lengths))
            assert torch.equal(data["observation"][i, :, 0].long(), count.clamp(max=length))
            assert torch.equal(data["next", "observation"][i, :, 0].long(), (count + 1).clamp(max=length))
            assert torch.equal(data["next", "reward"][i, :, 0] == 1, count < length)
            assert torch.equal(data["next", "done"][i, :, 0], count >= length - 1)
            assert torch.equal(data["done"][i, :, 0], count >= length)
            assert env._envs[i].steps == length

    def test_no_more_than_asked_for(self, scripted):
        env = SerialEnv(2, [lambda n=n: scripted(terminated=[False] * (n - 1) + [True]) for n in (3, 999)])
        for most in (1, 3, 256, 300):
            data = env.rollout(most, break_when_all_done=True)
            assert data.batch_size == (2, most)
            assert not data["next", "done"][1].any()

    def test_what_the_policy_wrote_is_kept(self, scripted):
        count = iter(range(10_000))

        def policy(td):
            return td.update({"action": torch.zeros(2, dtype=torch.int64), "mark": torch.full((2,), next(count))})

        env = SerialEnv(2, [lambda n=n: scripted(terminated=[False] * (n - 1) + [True]) for n in (5, 600)])
        assert env.rollout(1000, policy, break_when_all_done=True)["mark"][0].tolist() == list(range(600))

    @pytest.mark.parametrize("lengths", [(2, 4), (4, 2), (1, 5), (3, 3)])
    def test_of_groups(self, lengths, two_agents):
        env = SerialEnv(2, [lambda: two_agents(lengths), lambda: two_agents((3, 1))])
        data = env.rollout(20, break_when_all_done=True)
        assert data.batch_size == (2, max(*lengths, 3))
        for i, ends in enumerate((lengths, (3, 1))):
            for name, length in zip(("agent0", "agent1"), ends, strict=True):
                count = torch.arange(data.batch_size[1])
                assert torch.equal(data["next", name, "val"][i, :, 0].long(), (count + 1).clamp(max=length))
                assert torch.equal(data["next", name, "done"][i, :, 0], count >= length - 1)
                assert data["next", name, "reward"][i, length:].eq(0).all()

    def test_a_flag_at_the_root_has_the_last_word(self, two_agents):
        """Here it is the end of both; an agent that is done on its own goes on until then."""
        data = two_agents((2, 4), shared_done=True).rollout(20, break_when_all_done=True)
        assert data.batch_size == (4,)
        assert data["next", "agent0", "val"][:, 0].tolist() == [1, 2, 3, 4]

    def test_callbacks(self, scripted):
        env, seen = SerialEnv(2, [lambda n=n: scripted(terminated=[False] * (n - 1) + [True]) for n in (2, 4)]), []
        env.rollout(
            9, break_when_all_done=True, callback=lambda _, td: seen.append(td["next", "done"].flatten().tolist())
        )
        assert seen == [[False, False], [True, False], [True, False]]

    def test_set_truncated(self, scripted):
        lengths = (2, 99)
        env = SerialEnv(
            2, [lambda n=n: scripted(terminated=[False] * (n - 1) + [True], truncated=(False,)) for n in lengths]
        )
        data = env.rollout(4, break_when_all_done=True, set_truncated=True)
        assert data["next", "done"].squeeze(-1).tolist() == [[False, True, True, True], [False, False, False, True]]
        assert data["next", "truncated"].squeeze(-1).tolist() == [[False] * 4, [False, False, False, True]]
        assert data["next", "terminated"].squeeze(-1).tolist() == [[False, True, True, True], [False] * 4]

    def test_of_dynamic_specs(self):
        data = EnvWithDynamicSpec(3).rollout(9, break_when_all_done=True)
        assert data.batch_size == (3,)


class TestDevices:
    def test_auto_cast_to_device_is_that_of_the_parameters(self):
        seen = []

        class Policy(torch.nn.Module):
            in_keys = ("observation",)

            def __init__(self):
                super().__init__()
                self.weight = torch.nn.Parameter(torch.zeros(1))

            def forward(self, td):
                seen.append((td.device, td["observation"].device))
                return td.set("action", self.weight.detach())

        cpu = torch.device("cpu")
        GymEnv("Pendulum-v1").rollout(2, Policy(), auto_cast_to_device=True)
        assert seen == [(cpu, cpu)] * 2
        seen.clear()
        GymEnv("Pendulum-v1").rollout(2, Policy())
        assert seen == [(None, cpu)] * 2

    def test_auto_cast_without_parameters(self, scripted):
        scripted().rollout(2, lambda td: td.set("action", torch.tensor(0)), auto_cast_to_device=True)
        scripted().rollout(2, auto_cast_to_device=True)
        scripted().rollout(2, RandomPolicy(scripted().action_spec), auto_cast_to_device=True)

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an accelerator")
    @pytest.mark.parametrize("device", [None, "cpu"])
    def test_auto_cast_to_an_accelerator_and_back(self, device):
        module = TensorDictModule(torch.nn.Linear(3, 1), ["observation"], ["action"]).to("cuda")
        data = GymEnv("Pendulum-v1", device=device).rollout(3, module, auto_cast_to_device=True)
        assert data["action"].device.type == data["next", "observation"].device.type == "cpu"
        with torch.no_grad():
            torch.testing.assert_close(data["action"], module.module(data["observation"].cuda()).cpu())


class TestChoices:
    class Speaking(EnvBase):
        """Says one of two words."""

        def __init__(self):
            super().__init__()
            self.observation_spec = Composite(word=Choice(["left", "right"]), x=Unbounded((1,)))
            self.action_spec = Unbounded((1,))

        def _set_seed(self, seed):
            self.seed = seed

        def _reset(self, tensordict=None):
            return TensorDict({"word": "left", "x": torch.zeros(1)})

        def _step(self, tensordict):
            word = "left" if tensordict["word"] == "right" else "right"
            return TensorDict({"word": word, "x": torch.zeros(1), "reward": torch.zeros(1), "done": torch.zeros(1) > 0})

    def test_data_that_is_no_tensor(self):
        data = self.Speaking().rollout(3)
        assert [data[t]["word"] for t in range(3)] == ["left", "right", "left"]
        assert check_env_specs(self.Speaking()) == []

    def test_in_batches(self):
        data = SerialEnv(2, self.Speaking).rollout(3)
        assert [data[1, t]["next", "word"] for t in range(3)] == ["right", "left", "right"]
