"""Games: learnt against oneself, judged against others."""

import json

import av
import numpy as np
import pytest
import torch
from tensordict import TensorDict
from typer.testing import CliRunner

from agents.checkpoint import load_checkpoint
from agents.state_tree import split_state
from envkit import ExplorationType, StepCounter, TicTacToeEnv, set_exploration_type
from zoo.building import evaluation_env, load_agent, make_agent, make_env, make_training_env
from zoo.cli import app
from zoo.config import config_hash
from zoo.errors import ConfigError
from zoo.registry import find_config
from zoo.run import RunFolder
from zoo.train import resume, train

NAME = "dqn/TicTacToe-v0"
SMALL = [
    "total_steps=640",
    "agent.hidden_sizes=[8]",
    "agent.learning_starts=64",
    "agent.steps_per_iteration=160",
    "agent.gradient_steps=1",
    "eval.episodes=5",
    "eval.curve_episodes=2",
    "eval.points=2",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = RunFolder.create(tmp_path_factory.mktemp("runs"), "run")
    train(find_config(NAME, SMALL), folder)
    return folder


def zoo(*arguments):
    result = CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)
    return result.exit_code, result.output


def lines(policy, player):
    """All games that a policy may get into as ``player``, whatever the other one does: how many, and how many lost."""
    env = TicTacToeEnv(include_observation=True)
    td, games, lost = env.reset(TensorDict({}, [1])), 0, 0
    for turn in [0, 1] * 5:
        if turn == player:
            td = policy(td)
        else:
            origin, move = td["mask"].nonzero(as_tuple=True)
            td = td[origin].set("action", move)
        td = env.step(td)
        over = td["next", "done"].squeeze(-1)
        games += int(over.sum())
        lost += int((td["next", f"player{player}", "reward"] < 0).sum())
        td = env.step_mdp(td)[~over]
        if not len(td):
            break
    return games, lost


def test_the_opponent_of_evaluations_is_another():
    config = find_config(NAME, SMALL)
    env = make_training_env(config)
    agent = make_agent(config, env)
    assert (env.batch_size, env.opponent) == (torch.Size([16]), "self")
    assert agent.spaces.observation_keys == ["observation"]
    assert make_env(config).opponent == "random"
    assert evaluation_env(config, agent).opponent == "random"
    assert evaluation_env(config, agent, 3).rollout(2).batch_size == (3, 2)


def test_arguments_of_evaluations_count_where_there_are_any():
    plain = find_config("ppo/CartPole-v1")
    assert config_hash(plain) == config_hash(find_config("ppo/CartPole-v1", ["eval.kwargs={}"]))
    assert config_hash(plain) != config_hash(find_config("ppo/CartPole-v1", ["eval.kwargs={gravity: 1}"]))


def test_native_environments_have_their_limits():
    config = find_config("ppo/CartPole-v1", ["env.id=envkit/CartPole-v0"])
    env = make_training_env(config)
    assert isinstance(env.transform[0], StepCounter)
    assert make_agent(config, env).spaces.observation_keys == ["observation"]
    with pytest.raises(ConfigError, match=r"env\.kwargs: envkit/CartPole-v0 refuses \{.*'colour': 1.*\}"):
        make_env(find_config("ppo/CartPole-v1", ["env.id=envkit/CartPole-v0", "env.kwargs.colour=1"]))


def test_a_run_is_judged_against_anyone(run):
    kept = run.evaluation.read_text()
    assert json.loads(kept)["episodes"] == 5
    others = ["-o", "eval.kwargs.opponent=minimax", "-o", "target=0"]
    code, said = zoo("eval", run.path, "--episodes", 20, *others, "--json")
    score = json.loads(said)
    assert (code, score["episodes"], score["target"]) == (0, 20, 0.0)
    assert score["max"] <= 0.0
    assert run.evaluation.read_text() == kept
    code, said = zoo("eval", run.path, "-o", "eval.kwargs.opponent=magnus")
    assert code == 2
    assert "expected one of ['random', 'minimax', 'self'] or a policy, found 'magnus'" in said


def test_a_video_shows_the_boards(run):
    code, said = zoo("video", run.path, "--episodes", 2)
    assert code == 0, said
    with av.open(str(run.path / "video.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.height, stream.width, stream.average_rate) == (144, 144, 1)
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    assert f"{len(frames)} frames" in said
    assert len(frames) >= 8  # a board before each game, and at least three moves
    assert np.abs(frames[0].astype(int) - frames[1]).max() > 50


def test_a_run_that_goes_on_ends_as_one_that_was_not_interrupted(tmp_path):
    config = find_config(NAME, SMALL)
    folders = [RunFolder.create(tmp_path, name) for name in ("whole", "interrupted")]
    train(config, folders[0])

    def interrupt(metrics):
        if metrics["steps"] == 320:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        train(config, folders[1], interrupt, checkpoint_seconds=0)
    resume(folders[1])
    (plain, tensors), (again, found) = (split_state(load_checkpoint(one.checkpoint, "DQN")) for one in folders)
    assert plain == again
    assert all(torch.equal(tensor, found[name]) for name, tensor in tensors.items())


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_tic_tac_toe_is_learnt_to_the_end(tmp_path, seed):
    """No loss in any game there is, from either seat, and so none in 1,000 against exact play."""
    config = find_config(NAME, [f"seed={seed}"])
    folder = RunFolder.create(tmp_path, "run")
    assert train(config, folder).score.reached
    agent = load_agent(config, folder.checkpoint, make_env(config))
    with torch.no_grad(), set_exploration_type(ExplorationType.DETERMINISTIC):
        for player in (0, 1):
            games, lost = lines(agent.policy, player)
            assert games > 50
            assert lost == 0
