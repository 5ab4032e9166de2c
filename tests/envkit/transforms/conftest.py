"""What every transform is held to: a kit for the tests of each of them.

``kit.all(make_env, make_transform)`` runs everything; the parts can be asked for one by one.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import strategies as st
from tensordict import TensorDictBase

from envkit import (
    Binary,
    Bounded,
    Categorical,
    Composite,
    EnvBase,
    MultiCategorical,
    OneHot,
    SerialEnv,
    TensorSpec,
    Transform,
    TransformedEnv,
    Unbounded,
    check_env_specs,
)
from envkit.transforms.row_port import ChainRows

SEED, STEPS = 5, 24

MakeEnv = Callable[[], EnvBase]
MakeTransform = Callable[[], Transform]

shapes = st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple)
FLOATS = [torch.float32, torch.float64]
INTS = [torch.uint8, torch.int32, torch.int64]


@st.composite
def bounded_specs(draw, dtypes):
    dtype, shape = draw(st.sampled_from(dtypes)), draw(shapes)
    low = draw(st.integers(0 if dtype is torch.uint8 else -20, 20))
    return Bounded(low, low + draw(st.integers(0, 50)), shape, dtype=dtype)


float_specs = bounded_specs(FLOATS) | st.builds(Unbounded, shapes, dtype=st.sampled_from(FLOATS))
number_specs = float_specs | bounded_specs(INTS) | st.builds(Unbounded, shapes, dtype=st.sampled_from(INTS))
leaf_specs = (
    number_specs
    | st.builds(Categorical, st.integers(1, 5), shapes)
    | st.builds(Categorical, st.just(2), shapes, dtype=st.just(torch.bool))
    | st.builds(Binary, shape=shapes, dtype=st.sampled_from([torch.int8, torch.bool]))
    | st.integers(1, 5).flatmap(lambda n: st.builds(OneHot, st.just(n), shapes.map(lambda shape: (*shape, n))))
    | st.lists(st.integers(1, 4), min_size=1, max_size=3).map(MultiCategorical)
)


def specs_with(leaf: TensorSpec, key: str = "observation", role: str = "observation") -> dict[str, Composite]:
    """The five specs of an env without batch, in which ``leaf`` plays ``role``; what else there has to be is usual."""
    flag = Categorical(2, (1,), dtype=torch.bool)
    usual = {
        "action": Composite(action=Bounded(-1.0, 1.0, (1,))),
        "state": Composite(),
        "observation": Composite(observation=Unbounded((2,))),
        "reward": Composite(reward=Unbounded((1,))),
        "done": Composite(done=flag, terminated=flag.clone()),
    }
    return {**usual, role: Composite({key: leaf})}


class Kit:
    """The promises of a transform, each as a check."""

    float_specs, number_specs, leaf_specs = float_specs, number_specs, leaf_specs
    specs_with = staticmethod(specs_with)

    def __init__(self, tools) -> None:
        self._tools = tools

    def all(self, make_env: MakeEnv, make_transform: MakeTransform, *, steps: int = STEPS) -> None:
        """Every promise, for a transform that may go on one env, on a batch of them, and on stored data."""
        check_env_specs(TransformedEnv(make_env(), make_transform()))
        self.ports_agree(make_env, make_transform, steps=steps)
        self.commutes(make_env, make_transform, steps=steps)
        if not make_transform().env_only:
            self.stored_data_agrees(make_env, make_transform, steps=steps)

    def on_rows(self, env: TransformedEnv) -> bool:
        """Whether loops run the env's transforms on rows."""
        return isinstance(env._row_port(env.plan, *env._slabs(env.plan, 2, env.device)), ChainRows)

    def seeded(self, env: EnvBase) -> EnvBase:
        env.set_seed(SEED)
        return env

    def rollout(self, env: EnvBase, actions: list[TensorDictBase], **kwargs) -> TensorDictBase:
        kwargs.setdefault("break_when_any_done", False)
        return self.seeded(env).rollout(len(actions), self._tools.FixedPolicy(actions), **kwargs)

    def ports_agree(self, make_env: MakeEnv, make_transform: MakeTransform, *, steps: int = STEPS) -> TensorDictBase:
        """A loop records what steps by hand do."""
        envs = [TransformedEnv(make_env(), make_transform()) for _ in range(2)]
        actions = self._tools.draw_actions(envs[0], steps)
        found = self.rollout(envs[0], actions)
        self._tools.assert_same(found, self._tools.by_hand(self.seeded(envs[1]), actions))
        return found

    def commutes(
        self, make_env: MakeEnv, make_transform: MakeTransform, *, steps: int = STEPS, batch: Callable = SerialEnv
    ) -> TensorDictBase:
        """The transform of a batch is the batch of transforms: in loops and by hand, with partial resets and steps."""
        inside = [batch(3, lambda: TransformedEnv(make_env(), make_transform())) for _ in range(3)]
        outside = [TransformedEnv(batch(3, make_env), make_transform()) for _ in range(3)]
        assert inside[0].specs == outside[0].specs
        actions = self._tools.draw_actions(outside[0], steps)
        expected = self.rollout(inside[0], actions)
        self._tools.assert_same(self.rollout(outside[0], actions), expected)
        for env in (inside[1], outside[1]):
            self._tools.assert_same(self._tools.by_hand(self.seeded(env), actions), expected)
        some = [self._some(self.seeded(env), actions) for env in (inside[2], outside[2])]
        self._tools.assert_same(*some)
        ended = [self.rollout(env, actions, break_when_all_done=True) for env in (inside[0], outside[0])]
        self._tools.assert_same(*ended)
        for env in (*inside, *outside):
            env.close()
        return expected

    def _some(self, env: EnvBase, actions: list[TensorDictBase]) -> TensorDictBase:
        """Steps and resets of one env after the other, by masks."""
        td, rows = env.reset(), []
        reset, step = (
            [(*key[:-1], name) if isinstance(key, tuple) else name for key in env.reset_keys]
            for name in ("_reset", "_step")
        )
        for t, action in enumerate(actions):
            td = td.update(action)
            for key, group in zip(step, env.plan.done_groups, strict=True):
                mask = torch.ones(group.shape, dtype=torch.bool)
                mask[t % 3] = t % 2 == 0
                td.set(key, mask)
            td = env.step(td)
            rows.append(td.clone())
            td = env.step_mdp(td)
            for key, group in zip(reset, env.plan.done_groups, strict=True):
                mask = td[group.done].clone()
                mask[(t + 1) % 3] |= t % 5 == 0
                td.set(key, mask)
            td = env.reset(td)
            rows.append(td.clone())
        return torch.stack([row.select(*env.observation_keys, *env.done_keys) for row in rows])

    def stored_data_agrees(
        self, make_env: MakeEnv, make_transform: MakeTransform, *, steps: int = STEPS
    ) -> TensorDictBase:
        """What the env shows through the transform is what the transform makes of what the env shows without it."""
        env, plain, transform = TransformedEnv(make_env(), make_transform()), make_env(), make_transform()
        actions = self._tools.draw_actions(env, steps)
        expected = self.rollout(env, actions)
        stored = self.rollout(plain, [env.transform.inv(action).select(*plain.action_keys) for action in actions])
        found = transform(stored)
        for place in ((), ("next",)):
            seen = found[place] if place else found
            for key in (*env.observation_keys, *env.reward_keys, *env.done_keys):
                value = expected.get((*place, key) if isinstance(key, str) else (*place, *key), None)
                if value is not None:
                    assert torch.equal(seen[key], value), (*place, key)
        return found

    def spec_contains_output(self, transform: Transform, leaf: TensorSpec, key: str = "observation") -> TensorSpec:
        """The spec of a transformed value contains it, for random values of ``leaf`` and for its bounds."""
        specs = specs_with(leaf, key)
        outer = transform.transform_specs(specs)["observation"]
        values = [specs["observation"].rand() for _ in range(5)]
        if isinstance(leaf, Bounded):
            values += [specs["observation"].zero().set(key, end.to(leaf.dtype)) for end in (leaf.low, leaf.high)]
        for value in values:
            out = transform(value)
            assert outer.is_in(out), outer.violations(out)
        return outer[transform.out_keys[0]]

    def round_trip(self, transform: Transform, leaf: TensorSpec, *, exact: bool = True) -> None:
        """What the inverse makes of a value outside is the value inside, and outside again the same."""
        specs = specs_with(leaf, transform.in_keys_inv[0], "action")
        outer = transform.transform_specs(specs)["action"]
        for _ in range(5):
            shown = outer.rand()
            inner = transform.inv(shown)
            assert specs["action"].is_in(inner.select(*specs["action"].keys(True, True)))
            again = transform._apply_transform(inner[transform.in_keys_inv[0]])
            value = shown[transform.out_keys_inv[0]]
            assert torch.equal(again, value) if exact else torch.allclose(again, value)


@pytest.fixture(scope="session")
def kit(tools) -> Kit:
    return Kit(tools)
