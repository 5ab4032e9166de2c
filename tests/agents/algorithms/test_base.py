import numpy as np
import pytest
import torch
from tensordict import TensorDict

from agents import PPO, BaseAgent, PPOConfig
from envkit import GymWrapper, NonFiniteError, SerialEnv, set_exploration_type

STEPS = 16
SMALL = PPOConfig(steps_per_env=STEPS, num_minibatches=2, epochs=2, hidden_sizes=(8,))
COUNTS = ("iteration", "steps", "episodes")


class Idler(BaseAgent):
    """Counts its iterations, and ends an episode in every second one."""

    steps_per_iteration = 10

    def __init__(self):
        self.env = None

    def step(self):
        self.iterations += 1
        self.steps += self.steps_per_iteration
        self.episodes = self.iterations // 2
        return {"iteration": float(self.iterations), "horizon": self.horizon}


class Stop(Exception):
    """What a callback raises."""


@pytest.fixture
def make(tools):
    def make(env=None, seed=0, **config):
        return PPO(env or SerialEnv(2, tools.cart_pole), PPOConfig(**{**vars(SMALL), **config}), seed=seed)

    return make


# ----------------------------------------------------------------------- train


@pytest.mark.parametrize(
    ("limits", "iterations"),
    [
        ({"max_iters": 3}, 3),
        ({"max_iters": 0}, 0),
        ({"max_episodes": 2}, 4),
        ({"max_episodes": 0}, 0),
        ({"max_steps": 30}, 3),
        ({"max_steps": 39}, 3),  # a fourth iteration would overdraw the budget
        ({"max_steps": 10}, 1),
        ({"max_iters": 2, "max_steps": 50}, 2),
        ({"max_iters": 5, "max_steps": 20}, 2),
        ({"max_iters": 9, "max_episodes": 1, "max_steps": 90}, 2),
        ({"max_iters": 3, "max_episodes": 9, "max_steps": -1}, 3),
    ],
)
def test_training_ends_at_the_first_limit(limits, iterations):
    agent = Idler()
    metrics = agent.train(**limits)
    assert (agent.iterations, agent.steps) == (iterations, 10 * iterations)
    assert metrics.get("iteration", 0) == iterations


@pytest.mark.parametrize("limits", [{}, {"max_steps": -1}, {"max_iters": -1, "max_episodes": -1, "max_steps": -1}])
def test_training_needs_a_limit(limits):
    agent = Idler()
    with pytest.raises(ValueError, match="expected a limit, one of max_iters, max_episodes and max_steps, found none"):
        agent.train(**limits)
    assert agent.iterations == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_steps": 9}, "max_steps: expected at least one iteration of 10 steps, found 9"),
        ({"max_steps": 0}, "max_steps: expected at least one iteration of 10 steps, found 0"),
        ({"max_iters": 1, "log_freq": 0}, "log_freq: expected at least 1, found 0"),
        ({"max_iters": 1, "log_freq": -1}, "log_freq: expected at least 1, found -1"),
        ({"max_iters": 1, "eval_freq": 0}, "eval_freq: expected at least 1, found 0"),
        ({"max_iters": 1, "eval_freq": 1}, "eval_freq needs an eval_env, found None"),
    ],
)
def test_arguments_that_make_no_sense(arguments, message):
    agent = Idler()
    with pytest.raises(ValueError, match=message):
        agent.train(**arguments)
    assert agent.iterations == 0


def test_limits_count_from_the_first_step():
    agent = Idler()
    agent.train(max_steps=30)
    assert agent.train(max_steps=30) == {}
    agent.train(max_steps=50)
    assert agent.iterations == 5
    agent.train(max_iters=6)
    assert agent.iterations == 6


@pytest.mark.parametrize(
    ("limits", "horizon"),
    [
        ({"max_steps": 45}, 45),
        ({"max_iters": 3}, 30),
        ({"max_iters": 3, "max_steps": 100}, 30),
        ({"max_iters": 30, "max_steps": 100}, 100),
        ({"max_episodes": 2}, None),
    ],
)
def test_where_annealing_ends(limits, horizon):
    agent = Idler()
    assert agent.train(**limits)["horizon"] == horizon
    agent.train(max_episodes=99)
    assert agent.horizon is None


@pytest.mark.parametrize(("log_freq", "expected"), [(1, [1, 2, 3, 4, 5, 6, 7]), (3, [3, 6]), (7, [7]), (8, [])])
def test_log_freq(log_freq, expected):
    seen = []
    Idler().train(max_iters=7, log_freq=log_freq, callback=lambda metrics: seen.append(metrics["iteration"]))
    assert seen == expected


def test_an_exception_in_a_callback_ends_training():
    agent = Idler()

    def stop(metrics):
        if metrics["iteration"] == 3:
            raise Stop

    with pytest.raises(Stop):
        agent.train(max_iters=9, callback=stop)
    assert agent.iterations == 3


def test_training_goes_on_after_a_callback_raised_as_if_nothing_had_happened(make, tools):
    def stop(metrics):
        if metrics["iteration"] == 2:
            raise Stop

    whole = make()
    whole.train(max_iters=4)
    agent = make()
    with pytest.raises(Stop):
        agent.train(max_iters=4, callback=stop)
    agent.train(max_iters=4)
    assert tools.same(tools.weights(agent), tools.weights(whole))


def test_what_is_reported(make, tools):
    agent = make()
    records = tools.records(agent, max_iters=3)
    names = {*COUNTS, "return_mean", "episode_length_mean", "learning_rate"}
    names |= {"loss_objective", "loss_critic", "entropy", "kl_approx", "clip_fraction", "clip_epsilon"}
    for number, record in enumerate(records, start=1):
        assert set(record) == names
        assert (record["iteration"], record["steps"]) == (number, number * 2 * STEPS)
        assert all(isinstance(value, float) for value in record.values() if value != "nan")
    assert (agent.iterations, agent.steps, agent.episodes) == tuple(int(records[-1][name]) for name in COUNTS)


def test_the_last_metrics_are_returned(make, tools):
    seen = []
    metrics = make().train(max_iters=2, callback=seen.append)
    assert seen[-1] == metrics
    again = make().train(max_iters=2)
    assert metrics.pop("steps_per_second") > 0
    assert again.pop("steps_per_second") > 0
    assert tools.comparable(again) == tools.comparable(metrics)


def test_max_episodes(make):
    agent = make()
    agent.train(max_episodes=5)
    assert agent.episodes >= 5
    earlier = make()
    earlier.train(max_iters=agent.iterations - 1)
    assert earlier.episodes < 5


# ------------------------------------------------------------------ evaluation


def test_when_it_evaluates(make, tools):
    agent, env = make(), tools.cart_pole()
    records = tools.records(agent, max_iters=5, eval_env=env, eval_freq=2)
    assert [record["iteration"] for record in records if "eval_return_mean" in record] == [2, 4]


def test_an_evaluation_is_reported_even_between_two_logs(make, tools):
    records = tools.records(make(), max_iters=6, log_freq=4, eval_env=tools.cart_pole(), eval_freq=3)
    assert [(record["iteration"], "eval_return_mean" in record) for record in records] == [
        (3, True),
        (4, False),
        (6, True),
    ]


def test_what_an_evaluation_in_training_says(make, tools):
    agent = make()
    metrics = agent.train(max_iters=2, eval_env=tools.cart_pole(), eval_freq=2)
    assert metrics["eval_return_mean"] == agent.evaluate(tools.cart_pole(), range(10_000, 10_020)).mean


def test_without_eval_freq_nothing_is_evaluated(make, stations):
    env = stations()
    assert "eval_return_mean" not in make().train(max_iters=2, eval_env=env)
    assert env.episode == -1


def test_evaluations_do_not_disturb_training(make, tools):
    def evaluate(agent):
        def callback(metrics):
            agent.evaluate(tools.cart_pole(), seeds=range(3))
            agent.select_action(torch.zeros(4), deterministic=True)

        return callback

    plain, evaluated, watched = make(), make(), make()
    torch.manual_seed(0)
    expected = tools.records(plain, max_iters=4)
    torch.manual_seed(0)
    found = tools.records(evaluated, max_iters=4, eval_env=tools.cart_pole(), eval_freq=1)
    assert [{name: record[name] for name in expected[0]} for record in found] == expected
    torch.manual_seed(0)
    watched.train(max_iters=4, callback=evaluate(watched))
    assert tools.same(tools.weights(evaluated), tools.weights(plain))
    assert tools.same(tools.weights(watched), tools.weights(plain))


def test_the_env_that_is_learnt_in_is_no_eval_env(make, tools):
    agent = make(tools.cart_pole())
    with pytest.raises(ValueError, match="eval_env: expected another env than the one that is learnt in"):
        agent.train(max_iters=1, eval_env=agent.env, eval_freq=1)
    assert agent.iterations == 0


def test_a_batch_is_no_eval_env(make, tools):
    agent = make(tools.cart_pole())
    with pytest.raises(ValueError, match=r"eval_env: expected an env without batch, found batch size \[2\]"):
        agent.train(max_iters=1, eval_env=SerialEnv(2, tools.cart_pole), eval_freq=1)
    assert agent.iterations == 0


def test_evaluations_repeat(make, tools):
    agent = make()
    agent.train(max_iters=2)
    first = agent.evaluate(tools.cart_pole())
    assert first.seeds == list(range(10_000, 10_100))
    env = tools.cart_pole()
    assert agent.evaluate(env) == agent.evaluate(env) == first


# --------------------------------------------------------------- select_action


@pytest.mark.parametrize("name", ["cart_pole", "pendulum"])
def test_actions_fit_the_spec(make, tools, name):
    env = getattr(tools, name)()
    agent = make(env)
    observation = env.reset()["observation"]
    for deterministic in (True, False):
        action = agent.select_action(observation, deterministic=deterministic)
        assert env.action_spec.is_in(action)
        assert not action.requires_grad
        batch = agent.select_action(observation.expand(5, 2, -1), deterministic=deterministic)
        assert batch.shape == (5, 2, *env.action_spec.shape)


def test_the_likeliest_discrete_action(make):
    agent = make()
    observations = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    expected = agent.distribution(observations).probs.argmax(-1)
    assert torch.equal(agent.select_action(observations, deterministic=True), expected)


def test_the_likeliest_continuous_action_within_bounds(make, tools):
    agent = make(tools.pendulum())
    observations = 1000 * torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    mean = 500 * agent.distribution(observations).mean
    with torch.no_grad():
        agent.actor.net[-1].weight.mul_(500)
    actions = agent.select_action(observations, deterministic=True)
    torch.testing.assert_close(actions, mean.detach().clamp(-2, 2))
    assert (actions.abs() == 2).any()


@pytest.mark.parametrize("name", ["cart_pole", "pendulum"])
def test_sampled_actions_follow_the_global_seed(make, tools, name):
    agent = make(getattr(tools, name)())
    observations = torch.randn(50, *agent.env.observation_spec["observation"].shape)
    draws = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        draws.append(agent.select_action(observations))
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert not torch.equal(draws[0], agent.select_action(observations, deterministic=True))


def test_the_argument_counts_not_the_context(make):
    agent = make()
    observations = torch.zeros(50, 4)
    expected = agent.select_action(observations, deterministic=True)
    with set_exploration_type("random"):
        assert torch.equal(agent.select_action(observations, deterministic=True), expected)
    with set_exploration_type("deterministic"):
        assert not torch.equal(agent.select_action(observations), expected)


def test_kinds_of_observation(make):
    agent = make()
    values = [0.5, -0.25, 0.125, 1.0]
    tensor = torch.tensor(values)
    expected = agent.select_action(tensor, deterministic=True)
    tensordict = TensorDict({"observation": tensor})
    for state in (values, np.array(values, np.float32), np.array(values, np.float64), tensor.double(), tensordict):
        assert torch.equal(agent.select_action(state, deterministic=True), expected)
    assert set(tensordict.keys()) == {"observation"}


@pytest.mark.parametrize(
    ("state", "found"), [(torch.zeros(5), r"\[5\]"), (torch.zeros(4, 1), r"\[4, 1\]"), (0.0, r"\[\]")]
)
def test_an_observation_of_another_shape(make, state, found):
    with pytest.raises(ValueError, match=rf"'observation': expected shape \[\*batch, \*\[4\]\], found {found}"):
        make().select_action(state)


def test_one_value_for_several_observations(make, senses):
    agent = make(GymWrapper(senses()))
    with pytest.raises(ValueError, match=r"state: expected a TensorDict with \['touch', \('far', 'sight'\)\]"):
        agent.select_action(torch.zeros(2))
    state = TensorDict({"touch": torch.zeros(6, 2), "far": {"sight": torch.zeros(6, 3)}}, [6])
    assert agent.select_action(state).shape == (6,)


# -------------------------------------------------------------------------- NaN


def test_nan_from_the_env_ends_training_and_leaves_the_agent(make, stations, tools):
    agent = make(stations(reward=float("nan")))
    before = tools.weights(agent)
    with pytest.raises(
        NonFiniteError, match=r"'reward' returned by Stations\._step: expected finite values, found nan"
    ):
        agent.train(max_iters=1)
    assert (agent.iterations, agent.steps, agent.episodes) == (0, 0, 0)
    assert tools.same(tools.weights(agent), before)
