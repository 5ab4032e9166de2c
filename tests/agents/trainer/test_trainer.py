import pytest
import torch

from agents import (
    DQN,
    GAE,
    MLP,
    PPO,
    CallbackHook,
    Categorical,
    CheckpointHook,
    ClipPPOLoss,
    DQNLoss,
    EarlyStopHook,
    EvaluationHook,
    HardUpdate,
    Hook,
    LazyTensorStorage,
    Learner,
    LoggerHook,
    LossLearner,
    NonFiniteUpdateError,
    PPOConfig,
    ProbabilisticActor,
    QValueActor,
    ReplayBuffer,
    TensorDictModule,
    Trainer,
    ValueOperator,
    load_checkpoint,
)
from envkit import Collector, CSVLogger, GymEnv, MultiSyncCollector, SerialEnv

SMALL = PPOConfig(steps_per_env=16, num_minibatches=2, epochs=2, hidden_sizes=(8,))


class Counter(Learner):
    """Counts its iterations; its return rises up to the fifth."""

    steps_per_iteration = 10

    def step(self):
        self._before_batch()
        batch = self._after_batch("batch")
        rows = self._before_update(batch)
        self._after_update({"loss": rows})
        self.iterations += 1
        self.steps += 10
        return {"steps": float(self.steps), "return_mean": float(min(self.iterations, 5))}


class Witness(Hook):
    """Notes what it is called for."""

    def __init__(self, seen, name=""):
        self.seen, self.name = seen, name

    def start(self, trainer):
        self.seen.append((self.name, "start"))

    def before_batch(self, trainer):
        self.seen.append((self.name, "before batch"))

    def after_batch(self, trainer, batch):
        self.seen.append((self.name, batch))
        return batch + self.name

    def before_update(self, trainer, rows):
        self.seen.append((self.name, rows))
        return rows

    def after_update(self, trainer, losses):
        self.seen.append((self.name, losses["loss"]))

    def after_iteration(self, trainer, metrics):
        self.seen.append((self.name, "iteration"))

    def log(self, trainer, metrics):
        self.seen.append((self.name, "log"))

    def end(self, trainer, whole):
        self.seen.append((self.name, f"end {whole}"))


def test_points_in_their_order():
    seen = []
    Trainer(Counter(), max_iters=2, log_freq=2, hooks=[Witness(seen, "a"), Witness(seen, "b")]).run()
    both = lambda *points: [(name, point) for point in points for name in "ab"]
    once = [
        *both("before batch"),
        ("a", "batch"),
        ("b", "batcha"),
        *both("batchab", "batchab", "iteration"),
    ]
    assert seen == [*both("start"), *once, *once, *both("log", "end True")]


def test_a_hook_stops_the_training_after_its_iteration():
    seen = []

    class Stop(Hook):
        def after_iteration(self, trainer, metrics):
            if metrics["steps"] == 30:
                trainer.stop("enough")

    trainer = Trainer(
        Counter(), max_iters=9, hooks=[Stop(), CallbackHook(lambda metrics: seen.append(metrics["steps"]))]
    )
    assert trainer.run()["steps"] == 30
    assert trainer.stopped == "enough"
    assert seen == [10, 20, 30]


def test_a_failing_hook_ends_the_training_or_is_warned_of():
    class Fails(Hook):
        def log(self, trainer, metrics):
            raise RuntimeError("no connection")

    seen = []
    with pytest.raises(RuntimeError, match="no connection"):
        Trainer(Counter(), max_iters=2, hooks=[Fails(), Witness(seen)]).run()
    assert seen[-1] == ("", "end True")
    learner = Counter()
    with pytest.warns(UserWarning, match="Fails failed, training goes on: RuntimeError"):
        Trainer(learner, max_iters=2, hooks=[Fails()], on_hook_error="warn").run()
    assert learner.iterations == 2
    with pytest.raises(ValueError, match="on_hook_error: expected 'raise' or 'warn', found 'ignore'"):
        Trainer(learner, max_iters=2, on_hook_error="ignore")


def test_an_iteration_that_fails_is_told_as_such():
    class Broken(Counter):
        def step(self):
            if self.iterations == 1:
                raise RuntimeError("the pole broke")
            return super().step()

    seen = []
    learner = Broken()
    with pytest.raises(RuntimeError, match="the pole broke"):
        Trainer(learner, max_iters=5, hooks=[Witness(seen)]).run()
    assert seen[-1] == ("", "end False")
    seen.clear()
    learner.iterations = 0
    learner.step()
    assert seen == []  # the hooks were the trainer's


def test_a_training_that_cannot_start_leaves_checkpoints_as_they_are(tools, tmp_path):
    file = tmp_path / "agent.safetensors"
    agent = PPO(tools.cart_pole(), SMALL)
    agent.train(max_iters=2)
    agent.save(file)
    fresh = PPO(tools.cart_pole(), SMALL)
    seen = []
    with pytest.raises(ValueError, match="eval_env: expected another env"):
        fresh.train(max_iters=2, hooks=[CheckpointHook(file), EvaluationHook(fresh.env, 10), Witness(seen)])
    assert load_checkpoint(file, "PPO")["counts"]["iterations"] == 2
    assert seen == []  # what was not started is not ended


@pytest.mark.parametrize(
    ("options", "stops_at", "reason"),
    [
        ({"target": 3}, 3, "return_mean reached 3, the target is 3"),
        ({"patience": 2}, 7, "return_mean has not risen above 5 for 2 values"),
        ({"target": 9, "patience": 4}, 9, "return_mean has not risen above 5 for 4 values"),
        ({"metric": "absent", "target": 0}, 12, None),
    ],
)
def test_early_stop(options, stops_at, reason):
    trainer = Trainer(Counter(), max_iters=12, hooks=[EarlyStopHook(**options)])
    trainer.run()
    assert (trainer.learner.iterations, trainer.stopped) == (stops_at, reason)


def test_early_stop_needs_a_reason():
    with pytest.raises(ValueError, match="expected a target or a patience"):
        EarlyStopHook()
    with pytest.raises(ValueError, match="patience: expected at least 1, found 0"):
        EarlyStopHook(patience=0)


def test_evaluations_by_steps(tools):
    agent = PPO(tools.cart_pole(), SMALL)
    hook = EvaluationHook(tools.cart_pole(), every=40, seeds=range(3))
    logged = []
    Trainer(agent, max_steps=128, log_freq=100, hooks=[hook, CallbackHook(logged.append)]).run()
    assert [steps for steps, _ in hook.history] == [48, 80, 128]
    assert [metrics["eval_return_mean"] for metrics in logged] == [result.mean for _, result in hook.history]


def test_checkpoints(tools, tmp_path):
    agent = PPO(tools.cart_pole(), SMALL)
    file = tmp_path / "agent.safetensors"
    steps = []

    class Look(Hook):
        def after_iteration(self, trainer, metrics):
            steps.append(load_checkpoint(file, "PPO")["counts"]["steps"])

    Trainer(agent, max_iters=3, hooks=[CheckpointHook(file, every=0.0), Look()]).run()
    assert steps == [16, 32, 48]
    assert load_checkpoint(file, "PPO")["counts"]["steps"] == 48


def test_a_full_disk_does_not_end_the_training(tools, tmp_path, monkeypatch):
    agent = PPO(tools.cart_pole(), SMALL)
    save, attempts = agent.save, []

    def fail_once(path):
        attempts.append(path)
        if len(attempts) == 2:
            raise OSError(28, "No space left on device")
        return save(path)

    monkeypatch.setattr(agent, "save", fail_once)
    logged = []
    hooks = [CheckpointHook(tmp_path / "agent.safetensors", every=0.0), CallbackHook(logged.append)]
    Trainer(agent, max_iters=3, hooks=hooks).run()
    assert ["checkpoint_failed" in metrics for metrics in logged] == [False, True, False]


def test_loggers(tools, tmp_path):
    logger = CSVLogger("run", log_dir=tmp_path)
    PPO(tools.cart_pole(), SMALL).train(max_iters=3, hooks=[LoggerHook(logger)])
    (file,) = tmp_path.rglob("loss_critic.csv")
    assert [line.split(",")[0] for line in file.read_text().split()] == ["16", "32", "48"]


# ------------------------------------------------------------------ any loss


def test_dqn_by_its_loss():
    torch.manual_seed(0)
    env = GymEnv("CartPole-v1")
    env.set_seed(0)
    actor = QValueActor(MLP(4, 2), spec=env.action_spec)
    loss = DQNLoss(actor, delay_value=True)
    learner = LossLearner(
        Collector(env, actor, frames_per_batch=20),
        loss,
        torch.optim.Adam(loss.parameters(), lr=1e-3),
        replay_buffer=ReplayBuffer(LazyTensorStorage(1_000), batch_size=32),
        optim_steps_per_batch=5,
        target_net_updater=HardUpdate(loss, value_network_update_interval=20),
        updates_from=100,
        clip_norm=10.0,
    )
    seen = []
    Trainer(learner, max_steps=400, hooks=[CallbackHook(seen.append)]).run()
    assert (learner.steps, learner.iterations) == (400, 20)
    assert ["loss" in metrics for metrics in seen] == [False] * 4 + [True] * 16
    assert learner.episodes > 0


def test_an_update_that_is_not_finite_is_not_made():
    env = GymEnv("CartPole-v1")
    actor = QValueActor(MLP(4, 2), spec=env.action_spec)
    loss = DQNLoss(actor)
    collector = Collector(env, actor, frames_per_batch=8, postproc=lambda batch: spoilt(batch))

    def spoilt(batch):
        batch["next", "reward"].fill_(torch.nan)
        return batch

    learner = LossLearner(collector, loss)
    before = [parameter.detach().clone() for parameter in loss.parameters()]
    with pytest.raises(NonFiniteUpdateError, match="expected finite numbers; the step was not made") as caught:
        learner.step()
    assert caught.value.rows["next", "reward"].isnan().all()
    assert all(torch.equal(old, new) for old, new in zip(before, loss.parameters(), strict=True))


def test_workers_get_the_new_weights():
    env = GymEnv("CartPole-v1")
    actor = QValueActor(MLP(4, 2), spec=env.action_spec)
    versions = []

    class Versions(Hook):
        def after_batch(self, trainer, batch):
            versions.append(batch["collector", "policy_version"].unique().tolist())
            return batch

    with MultiSyncCollector(lambda: GymEnv("CartPole-v1"), actor, num_workers=1, frames_per_batch=8) as collector:
        Trainer(LossLearner(collector, DQNLoss(actor)), max_iters=3, hooks=[Versions()]).run()
    assert versions == [[0], [1], [2]]


def test_ppo_by_its_loss_learns():
    torch.manual_seed(0)
    env = SerialEnv(4, lambda: GymEnv("CartPole-v1"))
    env.set_seed(0)
    net = TensorDictModule(MLP(4, 2, num_cells=[32, 32]), in_keys=["observation"], out_keys=["logits"])
    actor = ProbabilisticActor(net, ["logits"], distribution_class=Categorical, return_log_prob=True)
    critic = ValueOperator(MLP(4, 1, num_cells=[32, 32]))
    loss = ClipPPOLoss(actor, critic)
    learner = LossLearner(
        Collector(env, actor, frames_per_batch=512),
        loss,
        torch.optim.Adam(loss.parameters(), lr=3e-3),
        optim_steps_per_batch=8,
        advantage=GAE(gamma=0.98, lmbda=0.8, value_network=critic, average_gae=True),
    )
    lengths = []
    hook = CallbackHook(lambda metrics: lengths.append(metrics["steps"] / max(metrics["episodes"], 1)))
    Trainer(learner, max_steps=512 * 25, hooks=[hook]).run()
    assert lengths[-1] > 2 * lengths[0]


def test_an_agent_calls_the_points(tools):
    seen = []
    agent = DQN(tools.cart_pole(), DQN.Config(learning_starts=8, batch_size=4, train_freq=4, steps_per_iteration=8))

    class Watch(Hook):
        def after_batch(self, trainer, batch):
            seen.append("batch")
            return batch

        def after_update(self, trainer, losses):
            assert torch.isfinite(losses["loss"])
            seen.append("update")

    agent.train(max_steps=16, hooks=[Watch()])
    assert seen == ["batch", "batch", "batch", "update", "batch", "update"]
