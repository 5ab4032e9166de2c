import numpy as np
import pytest
import torch

from envkit import Bounded, GymEnv, ParallelEnv, SerialEnv, SpecError, TransformedEnv, Unbounded, check_env_specs
from envkit.record import PixelRenderTransform, VideoRecorder


def rendered(env, **options):
    return TransformedEnv(env, PixelRenderTransform(out_keys=["rendered"], **options))


def test_pictures_are_there_after_resets_and_steps(camera):
    env = rendered(camera(3))
    rollout = env.rollout(5, break_when_any_done=False)
    assert rollout["rendered"][:, 0, 0, 0].tolist() == [100, 101, 102, 100, 101]
    assert rollout["next", "rendered"][:, 0, 0, 0].tolist() == [101, 102, 103, 101, 102]
    assert env.observation_spec["rendered"] == Bounded(0, 255, shape=(6, 8, 3), dtype=torch.uint8)
    check_env_specs(env)


@pytest.mark.parametrize("inside", [True, False])
def test_a_batch_has_the_pictures_of_its_envs(camera, inside):
    lengths = (2, 4)
    if inside:
        env = SerialEnv(2, [lambda length=length: rendered(camera(length)) for length in lengths])
    else:
        env = rendered(SerialEnv(2, [lambda length=length: camera(length) for length in lengths]))
    rollout = env.rollout(5, break_when_any_done=False)
    assert rollout["next", "rendered"].shape == (2, 5, 6, 8, 3)
    assert rollout["next", "rendered"][..., 0, 0, 0].tolist() == [[101, 102, 101, 102, 101], [101, 102, 103, 104, 101]]
    assert rollout["rendered"][..., 0, 0, 0].tolist() == [[100, 101, 100, 101, 100], [100, 101, 102, 103, 100]]
    check_env_specs(env)


def test_a_batch_of_batches_is_flattened_in_order(camera):
    env = rendered(SerialEnv(2, lambda: SerialEnv(3, camera)))
    assert env.reset()["rendered"].shape == (2, 3, 6, 8, 3)


@pytest.mark.parametrize("drawn", [False, True])
def test_worker_processes_render_what_envs_in_this_one_do(tools, drawn):
    def make():
        env = GymEnv("CartPole-v1", render_mode="rgb_array")
        if drawn:  # and holds a window from now on, which cannot be copied
            env.reset()
            env.render()
        return env

    rollouts = []
    for batch in (SerialEnv(2, make), ParallelEnv(2, make)):
        env = rendered(batch, preproc=lambda picture: picture[::8, ::8])
        env.set_seed(0)
        rollouts.append(env.rollout(12, break_when_any_done=False))
        env.close()
    assert rollouts[0]["next", "rendered"].float().std() > 0
    tools.assert_same(*rollouts)


def test_preprocessing_is_done_picture_by_picture(camera):
    env = rendered(SerialEnv(2, camera), preproc=lambda picture: torch.from_numpy(picture[::2, ::2]).float() / 255)
    assert env.rollout(2)["next", "rendered"].shape == (2, 2, 3, 4, 3)
    assert env.observation_spec["rendered"] == Unbounded((2, 3, 4, 3), dtype=torch.float32)


def test_pictures_may_stay_what_they_are(camera):
    env = rendered(SerialEnv(2, camera), as_non_tensor=True)
    rollout = env.rollout(3)
    pictures = rollout["next", "rendered"]
    assert pictures.tolist()[1][2].tolist() == np.full((6, 8, 3), 103).tolist()
    single = rendered(camera(), as_non_tensor=True).rollout(3)
    assert isinstance(single[0]["rendered"], np.ndarray)


def test_objects_can_be_recorded(camera, logger, video_of):
    for i, env in enumerate((camera(), SerialEnv(2, camera))):
        env = rendered(env, as_non_tensor=True)
        env.append_transform(VideoRecorder(logger, f"run{i}", in_keys=["rendered"]))
        env.rollout(2)
        env.transform.dump()
        assert video_of(logger, f"run{i}_0")[:, 0, 0, 0].tolist() == [100, 101, 102]


def test_arguments_are_handed_on(camera):
    assert rendered(camera(), level=7).reset()["rendered"].max() == 7


def test_methods_may_be_given_the_data(camera):
    class Stateless(camera):
        def draw(self, tensordict):
            return tensordict["pixels"].numpy()

    rollout = rendered(Stateless(), render_method="draw", pass_tensordict=True).rollout(3)
    assert torch.equal(rollout["next", "rendered"], rollout["next", "pixels"])


def test_the_env_goes_on_as_if_nothing_had_happened(camera, tools):
    plain, env = GymEnv("CartPole-v1"), GymEnv("CartPole-v1", render_mode="rgb_array")
    for each in (plain, env):
        each.set_seed(3)
    env = env.append_transform(PixelRenderTransform())
    actions = tools.draw_actions(env, 5)
    seen = [tools.by_hand(each, actions).exclude("pixels", ("next", "pixels")) for each in (plain, env)]
    tools.assert_same(*seen)

    begun = camera()
    begun.rand_step()
    env = rendered(begun)
    assert begun.count == 1
    assert env.reset()["rendered"].max() == 100


def test_rendering_can_be_switched_off_and_on(camera, logger, video_of):
    env = rendered(camera())
    env.append_transform(VideoRecorder(logger, "run", in_keys=["rendered"]))
    env.rollout(1)
    env.transform[0].switch("off")
    assert not env.transform[0].enabled
    assert "rendered" not in env.rollout(5).keys()
    env.transform[0].switch()
    env.rollout(1)
    env.transform.dump()
    assert video_of(logger, "run_0")[:, 0, 0, 0].tolist() == [100, 101, 100, 101]
    with pytest.raises(ValueError, match="mode: expected 'on', 'off', a bool or None, found 'maybe'"):
        env.transform[0].switch("maybe")


def test_buffers_that_are_reused_are_copied(camera):
    class Reusing(camera):
        buffer = np.zeros((6, 8, 3), dtype=np.uint8)

        def render(self):
            self.buffer[:] = self.count
            return self.buffer

    env = rendered(Reusing())
    first = env.reset()["rendered"]
    env.rand_step()
    assert first.max() == 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: PixelRenderTransform(["a"], render_method="draw"),
            "expected a method 'draw' of CameraEnv.* found none",
        ),
        (
            lambda: PixelRenderTransform(out_keys=["pixels"]),
            "expected no 'pixels' in the data of CameraEnv.* found one",
        ),
        (
            lambda: PixelRenderTransform(["a"], render_method="several"),
            r"expected 1 picture from several\(\) .* found 2",
        ),
        (
            lambda: PixelRenderTransform(["a"], render_method="nothing"),
            r"expected 1 picture from nothing\(\) .* found 0",
        ),
    ],
)
def test_mistakes_are_told_when_the_env_is_built(camera, make, message):
    class Strange(camera):
        def several(self):
            return [self.render(), self.render()]

        def nothing(self):
            return None

        def __repr__(self):
            return "CameraEnv"

    with pytest.raises(SpecError, match=message):
        TransformedEnv(Strange(), make())


@pytest.mark.filterwarnings("ignore:.*without specifying any render mode")
def test_a_gymnasium_env_that_does_not_render_is_told_what_to_do():
    with pytest.raises(SpecError, match='render_mode="rgb_array"'):
        TransformedEnv(GymEnv("CartPole-v1"), PixelRenderTransform())


def test_it_writes_one_entry_and_belongs_in_an_env(camera):
    with pytest.raises(ValueError, match=r"expected one of out_keys, found \['a', 'b'\]"):
        PixelRenderTransform(out_keys=["a", "b"])
    with pytest.raises(NotImplementedError, match="renders an env as it is now"):
        PixelRenderTransform()(camera().rollout(2))
