from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensordict import TensorDict
from tensordict.nn import TensorDictModule

from agents import ReplayBuffer
from envkit import BurnInTransform, GymEnv, RandomCropTensorDict, SpecError, TransformedEnv

few = settings(deadline=None, max_examples=40, derandomize=True)


def recurrent(weight: float) -> TensorDictModule:
    """Remembers ``weight`` times what it remembered, plus what it sees."""

    def run(x, h):
        state, states = h.select(-1, 0), []
        for step in x.unbind(-1):
            state = weight * state + step
            states.append(state)
        return torch.stack(states, -1)

    return TensorDictModule(run, in_keys=["x", "h"], out_keys=[("next", "h")])


class TestBurnIn:
    @pytest.mark.parametrize("batch", [(), (2,), (2, 3)])
    def test_what_follows_is_as_if_it_had_seen_it_all(self, batch):
        module = recurrent(0.5)
        data = TensorDict({"x": torch.randn(*batch, 8), "h": torch.zeros(*batch, 8)}, [*batch, 8])
        whole = module(data.clone())
        rest = BurnInTransform(module, burn_in=3)(data.clone())
        assert rest.batch_size == (*batch, 5)
        assert torch.equal(rest["x"], data["x"][..., 3:])
        assert torch.equal(module(rest)["next", "h"], whole["next", "h"][..., 3:])

    def test_stored_data_is_left_alone(self):
        data = TensorDict({"x": torch.ones(4), "h": torch.zeros(4)}, [4])
        before = data.clone()
        BurnInTransform([recurrent(1.0)], burn_in=2)(data)
        assert (data == before).all()

    def test_a_memory_that_was_not_stored(self):
        module = TensorDictModule(lambda x: x.cumsum(-1), in_keys=["x"], out_keys=[("next", "h")])
        rest = BurnInTransform(module, burn_in=2, out_keys=["h"])(TensorDict({"x": torch.ones(5)}, [5]))
        assert rest["h"].tolist() == [2, 0, 0]

    def test_in_a_buffer(self):
        buffer = ReplayBuffer(transform=BurnInTransform(recurrent(1.0), burn_in=2))
        buffer.extend(TensorDict({"x": torch.ones(6, 5), "h": torch.zeros(6, 5)}, [6]).auto_batch_size_(2))
        assert buffer.sample(4)["h"].tolist() == [[2, 0, 0]] * 4
        assert not buffer.state_dict().get("transform", {})

    def test_refused(self):
        with pytest.raises(ValueError, match=r"expected more than 3 steps in the last batch dimension, found .*\[3\]"):
            BurnInTransform(recurrent(1.0), 3)(TensorDict({"x": torch.ones(3), "h": torch.ones(3)}, [3]))
        with pytest.raises(ValueError, match="burn_in: expected at least 1, found 0"):
            BurnInTransform(recurrent(1.0), 0)
        with pytest.raises(ValueError, match="expected a memory that a module reads and writes"):
            BurnInTransform(TensorDictModule(lambda x: x, in_keys=["x"], out_keys=["y"]), 1)
        with pytest.raises(TypeError, match="expected modules with in_keys and out_keys, found Linear"):
            BurnInTransform(torch.nn.Linear(1, 1), 1)
        with pytest.raises(SpecError, match="BurnInTransform looks at stored sequences"):
            TransformedEnv(GymEnv("CartPole-v1"), BurnInTransform(recurrent(1.0), 1))


class TestRandomCrop:
    @few
    @given(sizes=st.lists(st.integers(1, 6), min_size=1, max_size=3), data=st.data(), seed=st.integers(0, 99))
    def test_stretches(self, sizes, data, seed):
        dim = data.draw(st.integers(-len(sizes), len(sizes) - 1))
        length = data.draw(st.integers(1, sizes[dim]))
        crop = RandomCropTensorDict(length, sample_dim=dim)
        crop.set_seed(seed)
        steps = torch.arange(sizes[dim]).reshape([-1 if i == dim % len(sizes) else 1 for i in range(len(sizes))])
        td = TensorDict({"t": steps.expand(sizes).clone(), "x": {"y": torch.randn(*sizes, 2)}}, sizes)
        out = crop(td)
        assert out.batch_size[dim] == length
        assert (out["t"].diff(dim=dim) == 1).all()
        index = out["t"].unsqueeze(-1).expand(*out.batch_size, 2)
        assert torch.equal(out["x", "y"], td["x", "y"].gather(dim % len(sizes), index))
        crop.set_seed(seed)
        assert torch.equal(crop(td)["t"], out["t"])

    def test_every_place_and_no_padding(self):
        mask = torch.arange(6) < torch.tensor([[6], [4]])
        td = TensorDict({"t": torch.arange(6).expand(2, 6), "mask": mask}, [2, 6])
        crop = RandomCropTensorDict(3, mask_key="mask")
        crop.set_seed(0)
        starts = torch.stack([crop(td)["t"][:, 0] for _ in range(100)])
        assert set(starts[:, 0].tolist()) == {0, 1, 2, 3}
        assert set(starts[:, 1].tolist()) == {0, 1}

    def test_refused(self):
        td = TensorDict({"t": torch.arange(4)}, [4])
        with pytest.raises(ValueError, match="expected sequences of at least 5 steps, found one of 4"):
            RandomCropTensorDict(5)(td)
        with pytest.raises(ValueError, match=r"expected a batch dimension -2, found batch size \[4\]"):
            RandomCropTensorDict(2, sample_dim=-2)(td)
        with pytest.raises(ValueError, match="sub_seq_len: expected at least 1"):
            RandomCropTensorDict(0)
        with pytest.raises(SpecError, match="RandomCropTensorDict looks at stored sequences"):
            TransformedEnv(GymEnv("CartPole-v1"), RandomCropTensorDict(1))
