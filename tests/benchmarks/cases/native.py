"""Envs in tensors against the same operations without an env around them: steps of a batch per second.

Same work: the dynamics that the env uses (its public functions), random actions drawn in one go, every step
recorded in tensors with a row a step (observation, action, reward, next observation, terminated and done),
elements whose episode ended started anew. The bare loop allocates its tensors inside the clock, as a rollout
does; it does not look for NaN.

`nested` is an env of three groups of agents at nesting levels one, two and three. Each group has an
observation, an action, a reward and done flags of its own and starts anew by itself, under masks: the costliest
way through the runtime. `nested_overhead` is what the runtime costs at a batch of 8: microseconds per step
beyond direct calls of the env's own `_step` (and, in the variant where some element of the batch is reset
after nearly every step, `_reset`).
"""

from collections.abc import Callable
from functools import partial

from measure import CHUNKS, Case, Sample, added, rate

BATCH, FEW = 4096, 8
LEVELS = (("near",), ("middle", "group"), ("far", "deeper", "group"))
AGENTS, WIDTH, LIMIT = 2, 3, 6.0


def rollout_of(env, batch: int, steps: int) -> Callable[[], object]:
    from tensordict import TensorDict

    env.set_seed(0)
    start = TensorDict({}, [batch])
    return lambda: env.rollout(steps, tensordict=start, break_when_any_done=False)


def measured(work: Callable[[int], Callable[[], object]], size: int) -> Sample:
    """Steps per second, after a warm-up."""
    import torch

    with torch.no_grad():
        work(max(20, size // 5))()
        return rate(work(size), size)


def envkit_cartpole(size: int) -> Sample:
    from envkit import CartPoleEnv

    return measured(partial(rollout_of, CartPoleEnv(), BATCH), size)


def bare_cartpole(size: int) -> Sample:
    import torch

    from envkit.native.cartpole import cartpole_dynamics, cartpole_fallen

    random = torch.Generator().manual_seed(0)

    def start() -> torch.Tensor:
        return torch.rand((BATCH, 4), generator=random).mul_(0.1).sub_(0.05)

    def loop(steps: int) -> None:
        observations, following = torch.zeros(steps, BATCH, 4), torch.zeros(steps, BATCH, 4)
        rewards = torch.zeros(steps, BATCH, 1)
        terminated, done = (torch.zeros(steps, BATCH, 1, dtype=torch.bool) for _ in range(2))
        actions = torch.randint(2, (steps, BATCH), generator=random)
        state = start()
        for t in range(steps):
            observations[t] = state
            state = cartpole_dynamics(state, actions[t])
            ended = cartpole_fallen(state)
            following[t], rewards[t], terminated[t], done[t] = state, 1.0, ended, ended
            if ended.any():
                state = torch.where(ended, start(), state)

    return measured(lambda steps: partial(loop, steps), size)


def envkit_pendulum(size: int, **options: bool) -> Sample:
    from envkit import PendulumEnv

    return measured(partial(rollout_of, PendulumEnv(**options), BATCH), size)


def bare_pendulum(size: int) -> Sample:
    """Gymnasium's observation: cos, sin and velocity."""
    import torch

    from envkit.native.pendulum import pendulum_dynamics

    random = torch.Generator().manual_seed(0)

    def loop(steps: int) -> None:
        observations, following = torch.zeros(steps, BATCH, 3), torch.zeros(steps, BATCH, 3)
        rewards = torch.zeros(steps, BATCH, 1)
        terminated, done = (torch.zeros(steps, BATCH, 1, dtype=torch.bool) for _ in range(2))
        actions = torch.rand((steps, BATCH, 1), generator=random).mul_(4).sub_(2)
        th, thdot = torch.rand((2, BATCH), generator=random)
        seen = torch.stack((th.cos(), th.sin(), thdot), -1)
        for t in range(steps):
            observations[t] = seen
            cos, sin, thdot = seen.unbind(-1)
            th, thdot, reward = pendulum_dynamics(torch.atan2(sin, cos), thdot, actions[t].squeeze(-1))
            seen = torch.stack((th.cos(), th.sin(), thdot), -1)
            ended = torch.zeros(BATCH, 1, dtype=torch.bool)
            following[t], rewards[t], terminated[t], done[t] = seen, reward.unsqueeze(-1), ended, ended
            if ended.any():
                raise AssertionError("a pendulum never ends")

    return measured(lambda steps: partial(loop, steps), size)


def moved(position, action, limit: float = LIMIT):
    """What happens to one group of the nested env: its next position, its reward, whether its episode is over."""
    position = position + action
    distance = position.square().sum(-1, keepdim=True)
    return position, -distance, (distance > limit).any(-2)


def nested_env(limit: float = LIMIT):
    import torch
    from tensordict import TensorDict

    from envkit import Bounded, Categorical, Composite, EnvBase, Unbounded

    def nest(path: tuple[str, ...], inner: Composite) -> Composite:
        for name in reversed(path):
            inner = Composite({name: inner})
        return inner

    def merged(parts: list[Composite]) -> Composite:
        out = Composite()
        for part in parts:
            out.update(part)
        return out

    class Nested(EnvBase):
        """Three groups of two agents who walk about until one of them is too far away."""

        batch_locked = False

        def __init__(self) -> None:
            super().__init__()
            place = Unbounded((AGENTS, WIDTH))
            self.observation_spec = merged([nest(path, Composite(position=place.clone())) for path in LEVELS])
            self.state_spec = self.observation_spec.clone()
            step = Bounded(-1.0, 1.0, (AGENTS, WIDTH))
            self.full_action_spec = merged([nest(path, Composite(action=step.clone())) for path in LEVELS])
            reward = Unbounded((AGENTS, 1))
            self.full_reward_spec = merged([nest(path, Composite(reward=reward.clone())) for path in LEVELS])
            flag = Categorical(2, (1,), dtype=torch.bool)
            flags = {"done": flag, "terminated": flag}
            self.full_done_spec = merged([nest(path, Composite(flags).clone()) for path in LEVELS])

        def _set_seed(self, seed: int | None) -> None:
            pass

        def _reset(self, tensordict=None):
            size = self.batch_size if tensordict is None else tensordict.batch_size
            return nested([{"position": torch.zeros(*size, AGENTS, WIDTH)} for _ in LEVELS], size)

        def _step(self, tensordict):
            groups = []
            for path in LEVELS:
                group = tensordict.get(path)
                position, reward, over = moved(group.get("position"), group.get("action"), limit)
                groups.append({"position": position, "reward": reward, "terminated": over})
            return nested(groups, tensordict.batch_size)

    def nested(groups, size):
        near, middle, far = (TensorDict(group, size) for group in groups)
        middle = TensorDict({"group": middle}, size)
        far = TensorDict({"deeper": TensorDict({"group": far}, size)}, size)
        return TensorDict({"near": near, "middle": middle, "far": far}, size)

    return Nested()


def bare_nested(batch: int, steps: int) -> Callable[[], None]:
    import torch

    def loop() -> None:
        count = len(LEVELS)
        observations, following = (torch.zeros(count, steps, batch, AGENTS, WIDTH) for _ in range(2))
        rewards = torch.zeros(count, steps, batch, AGENTS, 1)
        terminated, done = (torch.zeros(count, steps, batch, 1, dtype=torch.bool) for _ in range(2))
        actions = torch.rand(count, steps, batch, AGENTS, WIDTH).mul_(2).sub_(1)
        positions = [torch.zeros(batch, AGENTS, WIDTH) for _ in range(count)]
        for t in range(steps):
            for i in range(count):
                observations[i, t] = positions[i]
                position, reward, over = moved(positions[i], actions[i, t])
                following[i, t], rewards[i, t], terminated[i, t], done[i, t] = position, reward, over, over
                if over.any():
                    position = torch.where(over.unsqueeze(-1), torch.zeros_like(position), position)
                positions[i] = position

    return loop


def nested_overhead(size: int, *, resets: bool) -> Sample:
    import torch
    from tensordict import TensorDict

    count, env = max(50, size // CHUNKS), nested_env(LIMIT if resets else float("inf"))
    start = env.rand_action(env.reset(TensorDict({}, [FEW])))
    ours = rollout_of(env, FEW, count)

    def own() -> None:
        for _ in range(count):
            env._step(start)
            if resets:
                env._reset(start)

    with torch.no_grad():
        return added(ours, own, count)


CASES = {
    "native_cartpole": Case(
        unit="steps/s",
        size=500,
        ours={"envkit": envkit_cartpole},
        peers={"bare torch": bare_cartpole},
        targets={"bare torch": 0.9},
    ),
    "native_pendulum": Case(
        unit="steps/s",
        size=500,
        ours={"envkit": partial(envkit_pendulum, cos_sin=True), "envkit params in the data": envkit_pendulum},
        peers={"bare torch": bare_pendulum},
        targets={"bare torch": 0.9},
    ),
    "nested": Case(
        unit="steps/s",
        size=300,
        ours={"envkit": lambda size: measured(partial(rollout_of, nested_env(), BATCH), size)},
        peers={"bare torch": lambda size: measured(partial(bare_nested, BATCH), size)},
        targets={"bare torch": 0.5},
    ),
    "nested_overhead": Case(
        unit="us",
        size=5_000,
        ours={
            "envkit": partial(nested_overhead, resets=False),
            "envkit resets at every step": partial(nested_overhead, resets=True),
        },
        peers={},
        limit=60,
        lower_is_better=True,
    ),
}
