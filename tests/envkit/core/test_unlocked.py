"""Envs that work on inputs of any batch size."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensordict import TensorDict

from envkit import (
    Binary,
    Bounded,
    Collector,
    Compose,
    Composite,
    EnvBase,
    EnvDataError,
    GymEnv,
    InitTracker,
    RewardSum,
    SerialEnv,
    SpecError,
    StepCounter,
    TransformedEnv,
    Unbounded,
    check_env_specs,
)

few = settings(deadline=None, max_examples=20, derandomize=True)
SIZES = [(), (1,), (4,), (2, 3)]


class Throw(EnvBase):
    """Moves a point to where it is wanted: the goal is a state that no step returns, the force of a push another."""

    batch_locked = False

    def __init__(self, batch_size=()):
        super().__init__(batch_size=batch_size)
        self.observation_spec = Composite(position=Unbounded((*batch_size, 2)), shape=batch_size)
        self.state_spec = Composite(
            position=Unbounded((*batch_size, 2)), goal=Unbounded((*batch_size, 2)), shape=batch_size
        )
        self.action_spec = Bounded(-1.0, 1.0, shape=(*batch_size, 2))

    def _reset(self, tensordict=None):
        size = self.batch_size if tensordict is None else tensordict.batch_size
        goal = None if tensordict is None else tensordict.get("goal", None)
        goal = torch.full((*size, 2), 2.0) if goal is None else goal
        return TensorDict({"position": torch.zeros(*size, 2), "goal": goal.clone()}, size)

    def _step(self, tensordict):
        position = tensordict["position"] + tensordict["action"]
        distance = (position - tensordict["goal"]).norm(dim=-1, keepdim=True)
        return TensorDict({"position": position, "reward": -distance, "done": distance < 1}, tensordict.batch_size)

    def _set_seed(self, seed):
        pass


class Team(EnvBase):
    """Three agents, in data of any batch size, whose episodes end together or each for itself."""

    batch_locked = False

    def __init__(self, shared=True):
        super().__init__()
        self.shared = shared
        self.observation_spec = Composite(agents=Composite(x=Unbounded((3, 2)), shape=(3,)), wind=Unbounded((1,)))
        self.full_action_spec = Composite(agents=Composite(action=Bounded(-1.0, 1.0, shape=(3, 1)), shape=(3,)))
        self.full_reward_spec = Composite(agents=Composite(reward=Unbounded((3, 1)), shape=(3,)))
        if not shared:
            flag = Binary(1, (3, 1), dtype=torch.bool)
            self.full_done_spec = Composite(agents=Composite(done=flag, shape=(3,)))

    def _reset(self, tensordict=None):
        size = () if tensordict is None else tensordict.batch_size
        return TensorDict(
            {"agents": TensorDict({"x": torch.zeros(*size, 3, 2)}, (*size, 3)), "wind": torch.zeros(*size, 1)}, size
        )

    def _step(self, tensordict):
        size = tensordict.batch_size
        x = tensordict["agents", "x"] + 1 + torch.arange(3.0).unsqueeze(-1)
        agents = TensorDict({"x": x, "reward": tensordict["agents", "action"].clone()}, (*size, 3))
        done = x[..., :1] > 6
        out = TensorDict({"agents": agents, "wind": tensordict["wind"] + 1}, size)
        if self.shared:
            return out.set("done", done.any(-2))
        agents["done"] = done
        return out

    def _set_seed(self, seed):
        pass


def ones(env, td):
    return env.rand_action(td).update({"action": torch.ones(*td.batch_size, 2)})


class TestSizes:
    @pytest.mark.parametrize("size", SIZES)
    def test_reset_and_step(self, size):
        env = Throw()
        td = env.reset(TensorDict({}, size))
        assert td.batch_size == size
        assert {key: value.shape for key, value in td.items()} == {
            "position": (*size, 2),
            "goal": (*size, 2),
            "done": (*size, 1),
            "terminated": (*size, 1),
        }
        following = env.step(ones(env, td))["next"]
        assert following.batch_size == size
        assert torch.equal(following["position"], torch.ones(*size, 2))
        assert following["reward"].shape == following["done"].shape == (*size, 1)
        assert set(following.keys()) == {"position", "reward", "done", "terminated"}

    def test_from_call_to_call(self):
        env = Throw()
        for size in (*SIZES, *SIZES):
            td = env.step(env.rand_action(env.reset(TensorDict({}, size))))
            assert td["next", "reward"].shape == (*size, 1)
            assert env.step_mdp(td).batch_size == size
        assert env.batch_size == ()
        assert env.action_spec.shape == (2,)

    def test_a_plan_for_each(self):
        env = Throw()
        plan = env.plan_for(torch.Size([4]))
        assert env.plan_for(torch.Size([4])) is plan
        assert env.plan_for(torch.Size([])) is env.plan
        assert plan.action_keys == env.action_keys
        assert [group.shape for group in plan.done_groups] == [(4, 1)]
        env.action_spec = Bounded(-2.0, 2.0, shape=(2,))
        assert env.plan_for(torch.Size([4])) is not plan
        assert env.plan_for(torch.Size([4])).root_spec["action"].space.high.eq(2).all()

    def test_while_specs_are_unlocked(self):
        env = Throw().set_spec_lock_(False)
        env.observation_spec["more"] = Unbounded((1,))
        with pytest.raises(EnvDataError, match="'more' is missing"):
            env.reset(TensorDict({}, [3]))

    @few
    @given(data=st.data())
    def test_elements_are_independent(self, data, tools):
        """A batch is its elements, each on its own."""
        size = data.draw(st.sampled_from(SIZES[1:]))
        env = Throw()
        td = env.reset(TensorDict({"goal": torch.randn(*size, 2, generator=torch.Generator().manual_seed(0))}, size))
        rows = []
        for action in data.draw(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=5)):
            row, td = env.step_and_maybe_reset(td.set("action", torch.full((*size, 2), action)))
            rows.append(row)
        for index in torch.ones(size).nonzero().tolist():
            index = tuple(index)
            alone = rows[0][index].clone().exclude("next")
            for row in rows:
                stepped, alone = env.step_and_maybe_reset(alone.set("action", row["action"][index]))
                tools.assert_same(stepped, row[index].clone())

    def test_check_env_specs(self):
        for env in (Throw(), Team(), Team(shared=False), Throw((3,))):
            assert check_env_specs(env) == []


class TestActions:
    @pytest.mark.parametrize("size", SIZES)
    def test_random_ones(self, size):
        env = Throw()
        td = env.rand_action(TensorDict({}, size))
        assert td["action"].shape == (*size, 2)
        assert len(td["action"].unique()) == td["action"].numel()
        assert env.rand_step(env.reset(TensorDict({}, size)))["next"].batch_size == size

    def test_without_a_tensordict(self):
        env = Throw()
        assert env.rand_action()["action"].shape == (2,)
        for _ in range(3):  # a state comes from a reset, each time
            assert env.rand_step()["next", "position"].abs().le(1).all()

    def test_of_groups_have_their_dimensions(self):
        for env in (Team(), SerialEnv(2, Team)):
            assert env.rand_action()["agents"].batch_size == (*env.batch_size, 3)
            assert env.rand_step()["agents"].batch_size == (*env.batch_size, 3)
        assert Team().rand_action(TensorDict({}, [5]))["agents"].batch_size == (5, 3)


class TestStates:
    def test_are_read_from_the_tensordict(self):
        env = Throw()
        goal = torch.tensor([[1.0, 1.0], [5.0, 5.0], [9.0, 9.0]])
        td = env.reset(TensorDict({"goal": goal}, [3]))
        assert torch.equal(td["goal"], goal)
        td = env.step(ones(env, td))
        assert td["next", "done"].flatten().tolist() == [True, False, False]
        assert torch.equal(env.step_mdp(td)["goal"], goal)

    def test_stay_through_partial_resets(self):
        env = Throw()
        goal = torch.tensor([[1.0, 1.0], [5.0, 5.0]])
        td = env.reset(TensorDict({"goal": goal}, [2]))
        _, td = env.step_and_maybe_reset(ones(env, td))
        assert td["position"].tolist() == [[0, 0], [1, 1]]
        assert torch.equal(td["goal"], goal)

    def test_pass_from_row_to_row(self):
        data = Throw().rollout(5, tensordict=TensorDict({"goal": torch.full((3, 2), 9.0)}, [3]))
        assert data["goal"].eq(9).all()
        assert "goal" not in data["next"].keys()

    def test_missing(self):
        env = Throw()
        with pytest.raises(KeyError, match="goal"):
            env.step(TensorDict({"position": torch.zeros(3, 2), "action": torch.zeros(3, 2)}, [3]))
        with pytest.raises(KeyError, match="'goal' is missing from the TensorDict to start from"):
            env.rollout(3, auto_reset=False, tensordict=env.reset(TensorDict({}, [3])).exclude("goal"))

    def test_a_step_needs_no_reset(self):
        """All there is to know stands in the data."""
        td = TensorDict({"position": torch.ones(2, 2), "goal": torch.ones(2, 2), "action": torch.zeros(2, 2)}, [2])
        assert Throw().step(td)["next", "done"].all()


class TestRollouts:
    @pytest.mark.parametrize("size", SIZES)
    def test_from_a_tensordict(self, size):
        data = Throw().rollout(4, tensordict=TensorDict({}, size), break_when_any_done=False)
        assert data.batch_size == (*size, 4)
        assert data.names == [*[None] * len(size), "time"]
        assert data["next"].batch_size == (*size, 4)
        assert data["action"].shape == (*size, 4, 2)
        assert torch.equal(data["next", "position"], data["position"] + data["action"])

    def test_without_one(self):
        assert Throw().rollout(4, break_when_any_done=False).batch_size == (4,)

    @pytest.mark.parametrize("size", SIZES)
    @pytest.mark.parametrize("make", [Throw, Team, lambda: Team(shared=False)], ids=["states", "team", "agents"])
    def test_equal_loops_by_hand(self, make, size, tools):
        env = make()
        start = env.reset(TensorDict({}, size))
        actions = [env.rand_action(TensorDict({}, size)) for _ in range(12)]
        td, rows = start.copy(), []
        for action in actions:
            row, td = env.step_and_maybe_reset(td.update(action))
            rows.append(row)
        expected = torch.stack(rows, len(size)).contiguous()
        for options in ({}, {"auto_reset": False}):
            policy = tools.FixedPolicy(actions)
            found = env.rollout(12, policy, tensordict=start.copy(), break_when_any_done=False, **options)
            tools.assert_same(found, expected)

    def test_the_start_is_left_as_it_was(self):
        env = Throw()
        start = env.reset(TensorDict({}, [3]))
        before = start.clone()
        env.rollout(3, tensordict=start, auto_reset=False)
        assert set(start.keys()) == set(before.keys())
        assert bool((start == before).all())

    def test_until_all_is_done(self):
        goal = torch.tensor([[1.0, 1.0], [3.0, 3.0]])
        data = Throw().rollout(
            9,
            lambda td: torch.ones(2, 2),
            tensordict=TensorDict({"goal": goal}, [2]),
            break_when_all_done=True,
        )
        assert data.batch_size == (2, 3)
        assert data["next", "position"][..., 0].tolist() == [[1, 1, 1], [1, 2, 3]]
        assert data["next", "done"].squeeze(-1).tolist() == [[True, True, True], [False, False, True]]

    def test_open_loop(self):
        actions = [torch.full((3, 2), float(i)) for i in range(4)]
        data = Throw().rollout(9, actions=actions, tensordict=TensorDict({}, [3]), break_when_any_done=False)
        assert data.batch_size == (3, 4)
        assert data["action"][1, :, 0].tolist() == [0, 1, 2, 3]

    def test_collectors_collect_one(self):
        batch = Collector(Throw(), frames_per_batch=10).next()
        assert batch.batch_size == (10,)


class TestIndexing:
    @pytest.mark.parametrize("make", [Throw, Team, lambda: SerialEnv(3, Team), lambda: SerialEnv(3, Throw)])
    def test_steps_and_rollouts(self, make):
        env = make()
        start = None if env.batch_locked else TensorDict({}, [3])
        td = env.step(env.rand_action(env.reset(start)))
        for part in (td[0], td[-1], td[:, None][2, 0], td[td["next", "done"].squeeze(-1)], td[1:]):
            assert part["next"].batch_size == part.batch_size
            for key, value in part.items(True, True):
                assert value.shape[: part.ndim] == part.batch_size, key
        assert td[0].batch_size == td[0]["next"].batch_size == ()
        if ("agents", "x") in env.observation_keys:
            assert td[0]["agents"].batch_size == td[0]["next", "agents"].batch_size == (3,)
            assert torch.equal(td[0]["next", "agents"][1]["x"], td["next", "agents", "x"][0, 1])
        data = env.rollout(4, tensordict=start, break_when_any_done=False)
        assert data.batch_size == (3, 4)
        assert data[:, 0].batch_size == (3,)
        assert data[1].names == ["time"]
        for key, value in data.items(True, True):
            assert torch.equal(data[:, 0][key], value[:, 0]), key
            assert torch.equal(data[..., -1][key], value[:, -1]), key
            assert torch.equal(data[2, 1:3][key], value[2, 1:3]), key
        if ("agents", "x") in env.observation_keys:
            assert data["agents"].batch_size == data["next", "agents"].batch_size == (3, 4, 3)
            assert data[:, 0]["agents"].batch_size == (3, 3)

    def test_a_row_of_a_rollout_is_a_place_to_start_from(self):
        env = Throw()
        data = env.rollout(6, tensordict=TensorDict({}, [3]), break_when_any_done=False)
        again = env.rollout(
            3,
            actions=data[:, 3:]["action"].unbind(1),
            auto_reset=False,
            tensordict=data[:, 3].exclude("next", "action"),
            break_when_any_done=False,
        )
        assert torch.equal(again["next", "position"], data["next", "position"][:, 3:])


class TestPartial:
    @pytest.mark.parametrize("mask", [[True, False, True], [False] * 3, [True] * 3])
    def test_resets_and_steps(self, mask):
        env, mask = Throw(), torch.tensor(mask)
        td = env.step_mdp(env.step(ones(env, env.reset(TensorDict({"goal": torch.full((3, 2), 9.0)}, [3])))))
        stepped = env.step(ones(env, td.copy()).set("_step", mask))["next"]
        assert torch.equal(stepped["position"][:, 0], 1.0 + mask)
        assert torch.equal(stepped["reward"].flatten() == 0, ~mask)
        td = env.reset(td.set("_reset", mask))
        assert torch.equal(td["position"][:, 0], 1.0 - mask.float())

    def test_of_agents(self):
        env = Team(shared=False)
        td = env.step_mdp(env.step(env.rand_action(env.reset(TensorDict({}, [2])))))
        mask = torch.tensor([[True, False, False], [False, False, False]])
        td = env.reset(td.set(("agents", "_reset"), mask))
        assert td["agents", "x"][..., 0].tolist() == [[0, 2, 3], [1, 2, 3]]
        assert td["wind"].flatten().tolist() == [0, 1]  # what the agents share starts anew with any of them


class TestWrongSizes:
    def test_of_a_batch_locked_env(self):
        env = GymEnv("CartPole-v1")
        env.reset()
        for call in (env.reset, env.step, env.any_done, env.maybe_reset):
            with pytest.raises(EnvDataError, match=r"GymEnv: expected a TensorDict of batch size \[\], found \[2\]"):
                call(TensorDict({}, [2]))

    def test_of_an_unlocked_env_with_a_batch_of_its_own(self):
        env = Throw((3,))
        assert env.reset().batch_size == (3,)
        assert env.step(env.rand_action(env.reset(TensorDict({}, [3]))))["next"].batch_size == (3,)
        for size in ((), (2,), (2, 3)):
            with pytest.raises(EnvDataError, match=rf"expected a TensorDict of batch size \[3\], found \[{'.*'}\]"):
                env.reset(TensorDict({}, size))

    def test_of_what_the_env_returns(self):
        class Stubborn(Throw):
            def _reset(self, tensordict=None):
                return TensorDict({"position": torch.zeros(2), "goal": torch.zeros(2)})

        with pytest.raises(EnvDataError, match=r"_reset returned: expected batch size \[3\], found \[\]"):
            Stubborn().reset(TensorDict({}, [3]))

    def test_of_a_leaf(self):
        class Narrow(Throw):
            def _step(self, tensordict):
                return super()._step(tensordict).set("position", tensordict["position"][..., :1])

        env = Narrow()
        with pytest.raises(EnvDataError, match=r"'position'.*expected shape \[3, 2\], found \[3, 1\]"):
            env.step(env.rand_action(env.reset(TensorDict({}, [3]))))

    def test_of_a_mask(self):
        env = Throw()
        td = env.reset(TensorDict({}, [3]))
        with pytest.raises(SpecError, match=r"expected a boolean of shape \[3, 1\]"):
            env.reset(td.set("_reset", torch.ones(3, 2, dtype=torch.bool)))


class TestBatchSize:
    def test_may_be_given_later(self):
        env = Throw()
        env.reset(TensorDict({}, [2]))
        env.batch_size = [3]
        assert env.batch_size == (3,)
        assert env.action_spec.shape == (3, 2)
        assert env.done_spec["done"].shape == (3, 1)
        assert env.is_spec_locked
        with pytest.raises(EnvDataError, match=r"batch size \[3\], found \[2\]"):
            env.reset(TensorDict({}, [2]))
        assert env.reset()["position"].shape == (3, 2)
        assert env.rollout(4, break_when_any_done=False).batch_size == (3, 4)
        with pytest.raises(SpecError, match=r"expected an env without batch dimensions to resize, found \[3\]"):
            env.batch_size = [4]

    def test_of_a_simulator_is_its_own(self):
        env = GymEnv("CartPole-v1")
        env.batch_size = []
        with pytest.raises(SpecError, match=r"expected \[\], that of the simulator of GymEnv, found \[3\]"):
            env.batch_size = [3]
        with pytest.raises(SpecError, match=r"expected \[2\], that of the simulator of SerialEnv, found \[3\]"):
            SerialEnv(2, Throw).batch_size = [3]


class TestInBatches:
    def test_serial(self, tools):
        env = SerialEnv(3, Throw)
        assert env.batch_locked
        assert env.batch_size == (3,)
        with pytest.raises(EnvDataError, match=r"expected a TensorDict of batch size \[3\], found \[4\]"):
            env.reset(TensorDict({}, [4]))
        goal = torch.tensor([[1.0, 1.0], [5.0, 5.0], [2.0, 2.0]])
        free = Throw()
        actions = [TensorDict({"action": torch.rand(3, 2)}, [3]) for _ in range(8)]
        found = []
        for each in (env, free):
            start = each.reset(TensorDict({}, [3])).update({"goal": goal})
            policy = tools.FixedPolicy(actions)
            found.append(each.rollout(8, policy, auto_reset=False, tensordict=start, break_when_any_done=False))
        assert torch.equal(found[0]["goal"][:, 0], goal)
        tools.assert_same(*found)

    def test_serial_of_a_team(self, tools):
        env, free = SerialEnv(2, lambda: Team(shared=False)), Team(shared=False)
        actions = tools.draw_actions(env, 9)
        found = env.rollout(9, tools.FixedPolicy(actions), break_when_any_done=False)
        start = free.reset(TensorDict({}, [2]))
        tools.assert_same(
            found, free.rollout(9, tools.FixedPolicy(actions), tensordict=start, break_when_any_done=False)
        )


class TestUnderTransforms:
    def transformed(self):
        return TransformedEnv(Throw(), Compose(StepCounter(max_steps=3), RewardSum(), InitTracker()))

    @pytest.mark.parametrize("size", SIZES)
    def test_any_size(self, size):
        env = self.transformed()
        assert not env.batch_locked
        td = env.reset(TensorDict({}, size))
        assert td["is_init"].all()
        for count in (1, 2, 3):
            td, following = env.step_and_maybe_reset(td.set("action", torch.zeros(*size, 2)))
            assert td["next", "step_count"].eq(count).all()
            assert td["next", "step_count"].shape == (*size, 1)
            assert td["next", "truncated"].eq(count == 3).all()
            td = following
        assert td["step_count"].eq(0).all()
        assert td["episode_reward"].eq(0).all()
        assert td.batch_size == size

    def test_rollouts(self):
        env = self.transformed()
        data = env.rollout(7, tensordict=TensorDict({}, [2, 2]), break_when_any_done=False)
        assert data.batch_size == (2, 2, 7)
        assert data["next", "step_count"].max() == 3
        assert torch.equal(data["is_init"], data["step_count"] == 0)

    def test_partial(self):
        env = self.transformed()
        td = env.step_mdp(env.step(env.rand_action(env.reset(TensorDict({}, [3])))))
        td = env.reset(td.set("_reset", torch.tensor([True, False, False])))
        assert td["step_count"].flatten().tolist() == [0, 1, 1]
        following = env.step(env.rand_action(td).set("_step", torch.tensor([True, False, True])))["next"]
        assert following["step_count"].flatten().tolist() == [1, 1, 2]

    def test_errors(self):
        env = self.transformed()
        td = env.reset(TensorDict({}, [3])).exclude("step_count")
        with pytest.raises(KeyError, match="step_count"):
            env.step(env.rand_action(td))

    def test_in_a_batch_of_transformed(self, tools):
        inside = SerialEnv(2, self.transformed)
        outside = self.transformed()
        actions = tools.draw_actions(inside, 8)
        found = inside.rollout(8, tools.FixedPolicy(actions), break_when_any_done=False)
        start = outside.reset(TensorDict({}, [2]))
        tools.assert_same(
            found, outside.rollout(8, tools.FixedPolicy(actions), tensordict=start, break_when_any_done=False)
        )
