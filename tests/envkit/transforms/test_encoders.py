from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file
from tensordict import TensorDict

from envkit import (
    CheckpointError,
    GymWrapper,
    R3MTransform,
    SerialEnv,
    SpecError,
    TransformedEnv,
    Unbounded,
    VC1Transform,
    VIPRewardTransform,
    VIPTransform,
    check_env_specs,
)
from envkit.transforms.networks import ResNet, VisionTransformer
from envkit.transforms.pretrained import load_weights

KEYS = {"in_keys": ["observation"]}
IMAGE = torch.arange(40 * 30 * 3).reshape(40, 30, 3).to(torch.uint8)


@pytest.fixture
def small(monkeypatch):
    """The transformer of VC-1, small."""
    monkeypatch.setattr(VC1Transform, "sizes", {"base": (8, 1, 2)})


@pytest.fixture(scope="module")
def encoders():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return {
            "r3m": R3MTransform("resnet18", **KEYS, size=32),
            "vip": VIPTransform(**KEYS, size=32),
        }


class TestInEnvs:
    @pytest.mark.parametrize("name", ["r3m", "vip"])
    def test_promises(self, name, encoders, kit, fake_atari):
        encoder = encoders[name]
        env = TransformedEnv(GymWrapper(fake_atari()), encoder.clone())
        check_env_specs(env)
        size = {"r3m": 512, "vip": 1024}[name]
        assert env.observation_spec[f"{name}_vec"] == Unbounded((size,))
        kit.ports_agree(lambda: GymWrapper(fake_atari()), encoder.clone, steps=4)
        assert kit.on_rows(env)

    def test_vc1(self, small, kit, fake_atari):
        encoder = VC1Transform(**KEYS)
        check_env_specs(TransformedEnv(GymWrapper(fake_atari()), encoder.clone()))
        kit.ports_agree(lambda: GymWrapper(fake_atari()), encoder.clone, steps=4)

    def test_batches(self, encoders):
        """Up to rounding: a network adds up batches in its own order."""
        images = torch.stack([IMAGE, IMAGE.flip(0), IMAGE.flip(1)])
        encoder = encoders["r3m"]
        found = encoder(TensorDict({"observation": images}, [3]))["r3m_vec"]
        each = [encoder(TensorDict({"observation": image}))["r3m_vec"] for image in images]
        torch.testing.assert_close(found, torch.stack(each))

    def test_bytes_and_floats(self, encoders):
        encoder = encoders["r3m"]
        found = [encoder(TensorDict({"observation": image}))["r3m_vec"] for image in (IMAGE, IMAGE.float() / 255)]
        torch.testing.assert_close(*found)

    def test_a_network_that_does_not_learn(self, encoders):
        encoder = encoders["r3m"].train()
        assert not any(module.training for module in encoder.network.modules())
        assert not any(parameter.requires_grad for parameter in encoder.parameters())

    def test_refused(self, encoders, kit):
        with pytest.raises(SpecError, match=r"expected images \[..., H, W, 3\], found shape \[3, 8, 9\]"):
            encoders["r3m"].transform_specs(kit.specs_with(Unbounded((3, 8, 9))))
        with pytest.raises(ValueError, match=r"model_name: expected one of \['resnet18', .*\], found 'resnet5'"):
            R3MTransform("resnet5")
        with pytest.raises(ValueError, match="size: expected at least 1, found 0"):
            R3MTransform("resnet18", size=0)


class TestVIPReward:
    def env(self, encoders, fake_atari, batch=None, **kwargs):
        transform = VIPRewardTransform(**kwargs, **KEYS, size=32)
        transform.network.load_state_dict(encoders["vip"].network.state_dict())
        game = SerialEnv(batch, lambda: GymWrapper(fake_atari())) if batch else GymWrapper(fake_atari())
        return TransformedEnv(game, transform)

    @pytest.mark.parametrize("batch", [None, 2])
    def test_reward(self, batch, encoders, fake_atari):
        env = self.env(encoders, fake_atari, batch, goal_image=IMAGE)
        check_env_specs(env)
        data = env.rollout(5, break_when_any_done=False)
        goal = encoders["vip"](TensorDict({"observation": IMAGE}))["vip_vec"]
        before, after = (td["vip_vec"].sub(goal).norm(dim=-1, keepdim=True) for td in (data, data["next"]))
        assert torch.equal(data["next", "reward"], before - after)

    def test_goal_at_reset(self, encoders, fake_atari):
        env = self.env(encoders, fake_atari)
        with pytest.raises(KeyError, match="expected a goal_image"):
            env.reset()
        td = env.reset(TensorDict({"goal_image": IMAGE}))
        goal = encoders["vip"](TensorDict({"observation": IMAGE}))["vip_vec"]
        assert torch.equal(td["goal_embedding"], goal)
        data = env.rollout(4, auto_reset=False, tensordict=td)
        assert torch.equal(data["next", "goal_embedding"], goal.expand(4, -1))

    def test_stored_data(self, encoders, fake_atari):
        env = self.env(encoders, fake_atari, goal_image=IMAGE)
        data = env.rollout(4)
        stored = data.exclude("vip_vec", "goal_embedding", ("next", "vip_vec"), ("next", "reward"))
        found = env.transform[0](stored)
        torch.testing.assert_close(found["next", "reward"], data["next", "reward"])

    def test_refused(self, kit):
        with pytest.raises(ValueError, match="expected one in_key, found"):
            VIPRewardTransform(in_keys=["a", "b"], out_keys=["c", "d"], size=32)


class TestWeights:
    def saved(self, path, network, prefix="", inside=None):
        weights = {prefix + name: value for name, value in network.state_dict().items()}
        weights["lang_enc.more"] = torch.zeros(1)
        if path.suffix == ".safetensors":
            save_file(weights, path)
        else:
            torch.save(weights if inside is None else {inside: weights}, path)
        return path

    @pytest.mark.parametrize(
        ("make", "network", "options"),
        [
            (lambda path: R3MTransform("resnet18", weights=path), "resnet18", {"prefix": "module.convnet."}),
            (lambda path: VIPTransform(weights=path), "vip", {"prefix": "module.convnet.", "inside": "vip"}),
            (lambda path: VC1Transform(weights=path), "vc1", {"inside": "model"}),
        ],
    )
    @pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
    def test_from_a_file(self, make, network, options, suffix, tmp_path, small):
        made = {
            "resnet18": lambda: ResNet("resnet18"),
            "vip": lambda: ResNet("resnet50", 1024),
            "vc1": lambda: VisionTransformer(8, 1, 2),
        }[network]()
        path = self.saved(tmp_path / f"weights{suffix}", made, **options)
        loaded = make(path).network.state_dict()
        assert all(torch.equal(loaded[name], value) for name, value in made.state_dict().items())

    def test_from_the_web_once(self, tmp_path, monkeypatch):
        monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
        network = ResNet("resnet18", width=4)
        path = self.saved(tmp_path / "r3m_18.pt", network, inside="r3m")
        monkeypatch.setitem(R3MTransform.urls, "resnet18", path.as_uri())
        loaded = ResNet("resnet18", width=4)
        for _ in range(2):
            load_weights(loaded, R3MTransform.urls["resnet18"])
            path.unlink(missing_ok=True)
        assert torch.equal(loaded.conv1.weight, network.conv1.weight)
        assert len(list((tmp_path / "hub" / "checkpoints").iterdir())) == 1

    def test_published_ones(self, monkeypatch):
        asked = []
        monkeypatch.setattr("envkit.transforms.encoders.load_weights", lambda network, source: asked.append(source))
        R3MTransform("resnet34", download=True)
        R3MTransform("resnet18")
        assert asked == ["https://pytorch.s3.amazonaws.com/models/rl/r3m/r3m_34.pt"]

    def test_refused(self, tmp_path):
        network = ResNet("resnet18", width=4)
        with pytest.raises(FileNotFoundError, match="expected a file, found none at"):
            load_weights(network, tmp_path / "none.pt")
        path = self.saved(tmp_path / "wide.pt", ResNet("resnet18", width=8))
        with pytest.raises(
            CheckpointError, match=r"'conv1.weight': expected shape \[4, 3, 7, 7\], found \[8, 3, 7, 7\]"
        ):
            load_weights(network, path)
        path = self.saved(tmp_path / "other.pt", torch.nn.Linear(2, 2))
        with pytest.raises(CheckpointError, match=r"expected weights \['conv1.weight'.*found \['weight', 'bias'"):
            load_weights(network, path)
        torch.save([1, 2], tmp_path / "list.pt")
        with pytest.raises(CheckpointError, match="expected tensors by name, found list"):
            load_weights(network, tmp_path / "list.pt")

    def test_nothing_is_unpickled(self, tmp_path):
        torch.save({"conv1.weight": Surprise()}, tmp_path / "code.pt")
        with pytest.raises(CheckpointError, match=r"expected tensors by name, in a file of"):
            load_weights(ResNet("resnet18", width=4), tmp_path / "code.pt")


class Surprise:
    def __reduce__(self):
        return pytest.fail, ("unpickled",)


class TestNetworks:
    @pytest.mark.parametrize(
        ("name", "count"), [("resnet18", 11176512), ("resnet34", 21284672), ("resnet50", 23508032)]
    )
    def test_parameters(self, name, count):
        """As many as torchvision's have, last layer apart."""
        with torch.device("meta"):
            assert sum(parameter.numel() for parameter in ResNet(name).parameters()) == count

    def test_parameters_of_the_transformer(self):
        """As many as ViT-B/16 has, last layer apart."""
        with torch.device("meta"):
            assert sum(parameter.numel() for parameter in VisionTransformer().parameters()) == 85798656
