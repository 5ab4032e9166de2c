"""What the library adds to an env that its user wrote: microseconds per step beyond the user's own `_step`.

Same work: one class, built on our `EnvBase` and on torchrl's; static shapes, no episode ends inside the
clock. From the time of `td["action"] = ...; env.step(td)`, or of one step of `rollout` with random actions,
the time of a direct call of `_step` is subtracted (a fresh copy of the input each time on both sides, where
there is one). The two are clocked in turn, in chunks, and the value is the median over the chunks of the
difference.
"""

from functools import partial

from measure import CHUNKS, Case, Sample, added


def counter_env(env_base: type, specs, never: int = 10**9):
    """A user's environment: counts its steps. `specs` is the module that holds the spec classes."""
    import torch
    from tensordict import TensorDict

    class CounterEnv(env_base):
        def __init__(self):
            super().__init__(batch_size=())
            self.observation_spec = specs.Composite(observation=specs.Unbounded((3,)))
            self.action_spec = specs.Bounded(low=-1, high=1, shape=(2,))
            self.reward_spec = specs.Unbounded((1,))
            flag = partial(specs.Binary, 1, shape=(1,), dtype=torch.bool)
            self.full_done_spec = specs.Composite(done=flag(), terminated=flag())
            self.count = 0

        def _outcome(self) -> dict:
            ended = torch.full((1,), self.count >= never)
            observation = torch.full((3,), self.count, dtype=torch.float32)
            return {"observation": observation, "done": ended, "terminated": ended.clone()}

        def _reset(self, tensordict=None):
            self.count = 0
            return TensorDict(self._outcome())

        def _step(self, tensordict):
            self.count += 1
            return TensorDict({"reward": tensordict["action"].sum(-1, keepdim=True), **self._outcome()})

        def _set_seed(self, seed):
            return seed

    return CounterEnv()


def envkit(measured: str, size: int) -> Sample:
    import envkit as library

    return overhead(counter_env(library.EnvBase, library), measured, size)


def torchrl(measured: str, size: int) -> Sample:
    from torchrl import data
    from torchrl.envs import EnvBase

    return overhead(counter_env(EnvBase, data), measured, size // 10)


def overhead(env, measured: str, size: int) -> Sample:
    count = max(50, size // CHUNKS)
    start = env.rand_action(env.reset())
    actions = env.action_spec.rand((count,)).unbind(0)

    def direct() -> None:
        for _ in actions:
            env._step(start)

    def copy_and_direct() -> None:
        for _ in actions:
            env._step(start.copy())

    def copy_and_step() -> None:
        for action in actions:
            td = start.copy()
            td["action"] = action
            env.step(td)

    def rollout() -> None:
        env.rollout(count)

    through, own = {"step": (copy_and_step, copy_and_direct), "rollout": (rollout, direct)}[measured]
    return added(through, own, count)


CASES = {
    f"custom_env_{measured}": Case(
        unit="us",
        size=50_000,
        ours={"envkit": partial(envkit, measured)},
        peers={"torchrl": partial(torchrl, measured)},
        limit=15,
        lower_is_better=True,
    )
    for measured in ("step", "rollout")
}
