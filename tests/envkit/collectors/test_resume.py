from __future__ import annotations

import io
import warnings

import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModule
from torch import nn

from envkit import (
    AutoResetTransform,
    CartPoleEnv,
    Collector,
    Compose,
    GymEnv,
    ObservationNorm,
    SerialEnv,
    StepCounter,
    TransformedEnv,
)
from envkit.collectors.resume import from_plain, to_plain
from envkit.storage import flat_items

SEED, BATCHES = 2, 4


def cartpole():
    return GymEnv("CartPole-v1")


def transformed():
    norm = ObservationNorm(loc=0.1, scale=2.0, in_keys=["observation"])
    return TransformedEnv(SerialEnv(3, cartpole), Compose(norm, StepCounter(max_steps=17)))


ENVS = {
    "single": cartpole,
    "serial": lambda: SerialEnv(3, cartpole),
    "native": lambda: CartPoleEnv(batch_size=(3,)),
    "native_transformed": lambda: TransformedEnv(CartPoleEnv(batch_size=(3,)), StepCounter(max_steps=9)),
    "transformed": transformed,
    "of_transformed": lambda: SerialEnv(3, lambda: TransformedEnv(cartpole(), StepCounter(max_steps=5))),
}


def sampling(td):
    """Draws from torch's global generator."""
    return td.set("action", (torch.rand(td.batch_size) < 0.5).long())


class Remembering(TensorDictModule):
    """Reads what it wrote a step ago."""

    def __init__(self):
        super().__init__(nn.Identity(), in_keys=["observation", "count"], out_keys=["count", "action"])

    def forward(self, td):
        count = td.get("count", None)
        td["count"] = torch.ones(*td.batch_size, 1) if count is None else count * 1.1 + td["observation"][..., :1]
        return td.set("action", (td["count"].squeeze(-1) * 100).long().remainder(2))


POLICIES = {"random": lambda: None, "sampling": lambda: sampling, "memory": Remembering}

OPTIONS = {
    "plain": {},
    "limit": {"max_frames_per_traj": 7},
    "random_frames": {"init_random_frames": 60},
    "reset_each": {"reset_at_each_iter": True, "max_frames_per_traj": 5},
    "set_truncated": {"set_truncated": True},
}


def make(env, policy, options):
    return Collector(env(), policy(), frames_per_batch=30, total_frames=30 * BATCHES, **options)


def steps(batches):
    return [dict(flat_items(step)) for batch in batches for step in batch.reshape(-1).unbind(0)]


def assert_same(found, expected):
    found, expected = steps(found), steps(expected)
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        for path, value in other.items():
            assert one[path].dtype == value.dtype, path
            assert torch.equal(one[path], value), path


def on_disk(state):
    """What comes back of a state, but for its snapshot, when it is read without unpickling objects."""
    file = io.BytesIO()
    torch.save({name: value for name, value in state.items() if name != "env"}, file)
    file.seek(0)
    return {**torch.load(file, weights_only=True), **({"env": state["env"]} if "env" in state else {})}


def check_exact(env, policy, options, after):
    torch.manual_seed(SEED)
    whole = make(env, policy, options)
    whole.set_seed(SEED)
    expected = [batch.clone() for batch in whole]

    torch.manual_seed(SEED)
    first = make(env, policy, options)
    first.set_seed(SEED)
    found = [first.next().clone() for _ in range(after)]
    state = on_disk(first.state_dict())
    # What happens to the first collector, and to the generators, is of no matter.
    first.next()
    torch.manual_seed(99)

    second = make(env, policy, options)
    second.set_seed(77)
    second.load_state_dict(state)
    assert second.frames == 30 * after
    found += list(second)
    assert_same(found, expected)
    assert whole.env.rand_action().get("action").equal(second.env.rand_action().get("action"))


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("env", ENVS)
def test_the_same_bytes(env, policy):
    check_exact(ENVS[env], POLICIES[policy], {}, 2)


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("policy", ["sampling", "memory"])
@pytest.mark.parametrize("after", [0, 1, 2])
def test_the_same_bytes_with_options(options, policy, after):
    check_exact(ENVS["serial"], POLICIES[policy], OPTIONS[options], after)


def test_of_data_that_no_rows_hold(pair):
    torch.manual_seed(SEED)
    whole, first = (Collector(pair(), frames_per_batch=10, max_frames_per_traj=6) for _ in range(2))
    for collector in (whole, first):
        collector.set_seed(SEED)
    expected = [whole.next() for _ in range(3)]
    found = [first.next()]
    second = Collector(pair(), frames_per_batch=10, max_frames_per_traj=6)
    second.load_state_dict(on_disk(first.state_dict()))
    assert_same([*found, second.next(), second.next()], expected)


def test_of_an_env_that_resets_itself(scripted):
    def env():
        return TransformedEnv(scripted(terminated=[False] * 3 + [True]), AutoResetTransform(replace=False))

    whole, first = (Collector(env(), sampling, frames_per_batch=4) for _ in range(2))
    torch.manual_seed(SEED)
    expected = [whole.next() for _ in range(3)]
    torch.manual_seed(SEED)
    found = [first.next()]
    second = Collector(env(), sampling, frames_per_batch=4)
    second.load_state_dict(first.state_dict())
    assert_same([*found, second.next(), second.next()], expected)


def test_statistics_of_transforms_come_along():
    def env(**statistics):
        return TransformedEnv(SerialEnv(3, cartpole), ObservationNorm(in_keys=["observation"], **statistics))

    first = Collector(env(loc=0.1, scale=2.0), sampling, frames_per_batch=30)
    first.next()
    second = Collector(env(), sampling, frames_per_batch=30)
    state = first.state_dict()
    expected = [first.next(), first.next()]
    second.load_state_dict(state)
    assert_same([second.next(), second.next()], expected)


def test_a_state_serves_more_than_once():
    first = make(ENVS["serial"], POLICIES["sampling"], {})
    first.next()
    state = first.state_dict()
    runs = []
    for _ in range(2):
        first.load_state_dict(state)
        runs.append(list(first))
    assert_same(*runs)
    assert len(runs[0]) == BATCHES - 1


def test_a_state_of_a_state():
    first, second, third = (make(ENVS["transformed"], POLICIES["sampling"], {}) for _ in range(3))
    first.next()
    state = first.state_dict()
    second.load_state_dict(state)
    third.load_state_dict(second.state_dict())  # before a batch of its own
    found = list(third)
    first.load_state_dict(state)
    assert_same(found, list(first))


def test_a_restart_is_kept():
    first, second = (make(ENVS["single"], POLICIES["random"], {}) for _ in range(2))
    first.set_seed(SEED)
    first.next()
    first.restart()
    second.load_state_dict(first.state_dict())
    before, after = first.next(), second.next()
    assert_same([after], [before])
    assert before["collector", "traj_ids"].min() > 0


def kinds(value):
    """The types of all that stands in nested dicts and lists."""
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        return {kind for each in inner for kind in kinds(each)}
    return {type(value)}


def test_what_a_state_is_made_of():
    collector = make(ENVS["serial"], Remembering, {"max_frames_per_traj": 4})
    for frames in (0, 30):
        state = collector.state_dict()
        assert state.keys() - collector.state_dict(env=False).keys() == ({"env", "root"} if frames else {"env"})
        del state["env"]
        assert kinds(state) == {torch.Tensor, int, bool}
        assert state["frames"] == frames
        collector.next()


class Stuck(GymEnv):
    """Holds something that cannot be copied."""

    def __init__(self):
        super().__init__("CartPole-v1")
        self.handle = (i for i in range(3))


class TestWithoutSnapshot:
    @pytest.mark.parametrize("options", [{}, {"max_frames_per_traj": 7}])
    @pytest.mark.parametrize("how", ["impossible", "left out", "taken out", "without row"])
    def test_new_episodes_the_same_every_time(self, how, options):
        env = Stuck if how == "impossible" else cartpole
        first = make(env, POLICIES["sampling"], options)
        first.set_seed(SEED)
        last = first.next()
        if how == "impossible":
            with pytest.warns(UserWarning, match="begin new episodes: snapshot of Stuck: expected a simulator"):
                state = first.state_dict()
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                assert first.state_dict()["env"] is None
        else:
            state = first.state_dict(env=how != "left out")
            state.pop("root" if how == "without row" else "env", None)
        one, other = (self.resumed(env, state, options) for _ in range(2))
        assert_same(one, other)
        assert len(one) == BATCHES - 1
        assert one[0]["collector", "traj_ids"][0] > last["collector", "traj_ids"].max()
        assert one[0]["observation"][0].abs().max() <= 0.05

    def resumed(self, env, state, options):
        collector = make(env, POLICIES["sampling"], options)
        with pytest.warns(UserWarning, match="no snapshot of the env: the collector begins new episodes"):
            collector.load_state_dict(state)
        return list(collector)

    def test_other_states_begin_other_episodes(self):
        starts = set()
        for seed, batches in ((1, 1), (1, 2), (2, 1)):
            first = make(cartpole, POLICIES["random"], {})
            first.set_seed(seed)
            for _ in range(batches):
                first.next()
            batch = self.resumed(cartpole, first.state_dict(env=False), {})[0]
            starts.add(tuple(batch["observation"][0].tolist()))
        assert len(starts) == 3

    def test_before_the_first_batch(self):
        state = make(cartpole, POLICIES["random"], {}).state_dict(env=False)
        assert_same(self.resumed(cartpole, state, {}), self.resumed(cartpole, state, {}))
        assert self.resumed(cartpole, state, {})[0]["collector", "traj_ids"][0] == 0


class TestStatesThatDoNotFit:
    def state(self, **changes):
        collector = make(ENVS["serial"], POLICIES["random"], {})
        collector.next()
        return {**collector.state_dict(), **changes}

    def test_missing(self):
        state = self.state()
        del state["trajectories"]
        with pytest.raises(KeyError, match=r"expected \['trajectories'\] in it"):
            make(ENVS["serial"], POLICIES["random"], {}).load_state_dict(state)

    def test_another_number_of_envs(self):
        collector = Collector(SerialEnv(5, cartpole), frames_per_batch=30)
        with pytest.raises(ValueError, match=r"numbers of trajectories: expected those of 5 envs, found \[3\]"):
            collector.load_state_dict(self.state())

    def test_other_data(self):
        collector, state = make(ENVS["serial"], POLICIES["random"], {}), self.state()
        entries = state["root"]["entries"]
        entries["observation"] = entries["observation"][:, :2]
        with pytest.raises(ValueError, match=r"'observation' to be torch.float32 of shape \[3, 4\], found .* \[3, 2\]"):
            collector.load_state_dict(state)
        del entries["observation"]
        with pytest.raises(ValueError, match=r"'observation' to be torch.float32 of shape \[3, 4\], found nothing"):
            collector.load_state_dict(state)

    def test_another_limit(self):
        collector = make(ENVS["serial"], POLICIES["random"], {"max_frames_per_traj": 4})
        with pytest.raises(ValueError, match="max_frames_per_traj: expected a limit in both"):
            collector.load_state_dict(self.state())
        with pytest.raises(ValueError, match="state of the frame limit: expected ages of shapes"):
            collector.load_state_dict(self.state(ages={"0": torch.zeros(5, 1)}))


def test_plain_data_and_back():
    stack = torch.stack([TensorDict({"x": torch.ones(2)}), TensorDict({"x": torch.zeros(2)})])
    lazy = TensorDict.lazy_stack(
        [TensorDict({"x": torch.ones(2)}), TensorDict({"x": torch.ones(3), "y": torch.ones(1)})]
    )
    td = TensorDict({"a": {"b": torch.arange(3)}, "stack": stack, "lazy": lazy, "name": "n", "no": True}, [])
    back = from_plain(to_plain(td))
    assert back["name"] == "n"
    assert back["stack"].batch_size == back["lazy"].batch_size == (2,)
    assert (
        dict(flat_items(back.select("a", "stack", "lazy"))).keys()
        == dict(flat_items(td.select("a", "stack", "lazy"))).keys()
    )
    assert torch.equal(back["lazy"][1]["x"], torch.ones(3))
    assert back["a", "b"].data_ptr() != td["a", "b"].data_ptr()


def test_other_data_is_not_plain():
    with pytest.raises(TypeError, match="expected tensors and plain data, found object"):
        to_plain(TensorDict({"thing": object()}))
