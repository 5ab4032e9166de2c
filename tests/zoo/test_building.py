import pytest
import torch

from zoo.building import evaluation_env, make_agent, make_env, make_training_env, torch_threads
from zoo.errors import ConfigError
from zoo.registry import config_names, find_config


@pytest.mark.parametrize("name", config_names())
def test_every_shipped_config_builds(name, skip_without):
    config = find_config(name)
    skip_without(config)
    env = make_training_env(config)
    agent = make_agent(config, env)
    assert env.batch_size == torch.Size([config.env.num_envs])
    assert agent.steps_per_iteration <= config.total_steps
    env.rollout(2)  # observations may be normalised by what was seen
    single = evaluation_env(config, agent)
    for key in agent.spaces.observation_keys:
        assert single.observation_spec[key].dtype is torch.float32
        assert env.observation_spec[key].dtype is torch.float32
    assert single.rollout(3, agent.policy)["next", agent.spaces.reward_key].shape == (3, *agent.spaces.team, 1)
    env.close()
    single.close()


def test_arguments_that_the_environment_refuses_are_named():
    config = find_config("ppo/CartPole-v1", ["env.kwargs.gravity_of_mars=true"])
    with pytest.raises(ConfigError, match=r"env\.kwargs: CartPole-v1 refuses \{'gravity_of_mars': True\}"):
        make_env(config)


def test_threads_are_restored_after_an_error():
    before = torch.get_num_threads()

    def fail():
        with torch_threads(before + 1):
            raise ValueError("inside")

    with pytest.raises(ValueError, match="inside"):
        fail()
    assert torch.get_num_threads() == before
