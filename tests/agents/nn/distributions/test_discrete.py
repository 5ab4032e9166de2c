"""One-hot, masked and ordinal distributions."""

import pytest
import torch
from torch import distributions
from torch.nn import functional

from agents.nn import (
    Categorical,
    InteractionType,
    MaskedCategorical,
    MaskedOneHotCategorical,
    OneHotCategorical,
    OneHotOrdinal,
    Ordinal,
    take_sample,
)
from envkit import OneHot


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def make_mask(*shape):
    mask = torch.rand(shape) < 0.5
    mask[..., 1] = True
    return mask


def test_one_hot_is_the_categorical_of_its_vectors():
    logits = torch.randn(6, 4, requires_grad=True)
    ours, indices, theirs = (
        OneHotCategorical(logits),
        Categorical(logits),
        distributions.OneHotCategorical(logits=logits),
    )
    value = OneHot(4).rand((6,))
    torch.testing.assert_close(ours.log_prob(value), theirs.log_prob(value.float()))
    torch.testing.assert_close(ours.log_prob(value.float()), indices.log_prob(value.int().argmax(-1)))
    torch.testing.assert_close(ours.entropy(), theirs.entropy())
    assert torch.equal(ours.mode, theirs.mode.bool())
    assert torch.equal(ours.enumerate_support(), theirs.enumerate_support().bool())
    assert (ours.batch_shape, ours.event_shape) == ((6,), (4,))
    (gradient,) = torch.autograd.grad(ours.log_prob(value).sum(), [logits])
    torch.testing.assert_close(gradient, value.float() - ours.probs)


def test_one_hot_samples_are_members_in_proportion():
    dist = OneHotCategorical(probs=torch.tensor([0.1, 0.6, 0.3]))
    values = dist.sample((20_000,))
    assert OneHot(3).is_in(values)
    torch.testing.assert_close(values.float().mean(0), dist.probs, atol=0.02, rtol=0.0)
    for interaction in (InteractionType.RANDOM, InteractionType.DETERMINISTIC, InteractionType.MODE):
        assert OneHot(3).is_in(take_sample(dist, interaction))
    assert OneHotCategorical(torch.zeros(3), dtype=torch.int64).sample().dtype is torch.int64
    with pytest.raises(ValueError, match=r"\*\[3\]\], found \[4\]"):
        dist.log_prob(torch.zeros(4))


@pytest.mark.parametrize("by", ["mask", "indices"])
def test_masked_is_the_categorical_of_what_is_allowed(by):
    logits, mask = torch.randn(5, 6), make_mask(5, 6)
    rows = [row.nonzero().flatten() for row in mask]
    padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-1)
    given = {"mask": mask} if by == "mask" else {"indices": padded, "padding_value": -1}
    dist, one_hot = MaskedCategorical(logits, **given), MaskedOneHotCategorical(logits, **given)
    for number, allowed in enumerate(rows):
        small = Categorical(logits[number, allowed])
        torch.testing.assert_close(dist.probs[number, allowed], small.probs)
        torch.testing.assert_close(dist.entropy()[number], small.entropy())
        assert dist.mode[number] == allowed[small.mode]
    assert not dist.probs[~mask].any()
    values = dist.sample((200,))
    assert mask.expand(200, 5, 6).gather(-1, values.unsqueeze(-1)).all()
    vectors = functional.one_hot(values, 6).bool()
    assert torch.equal(one_hot.log_prob(vectors), dist.log_prob(values))
    assert (one_hot.sample((200,)) <= mask).all()
    assert dist.log_prob(torch.where(mask.all(-1), 0, mask.int().argmin(-1)))[~mask.all(-1)].eq(-torch.inf).all()


def test_without_a_ban_masked_is_plain():
    logits, value = torch.randn(5, 6), torch.randint(6, (5,))
    everything = torch.ones(5, 6, dtype=torch.bool)
    torch.testing.assert_close(
        MaskedCategorical(logits, mask=everything).log_prob(value), Categorical(logits).log_prob(value)
    )
    by_probs = MaskedCategorical(probs=logits.exp(), indices=torch.arange(6).expand(5, 6))
    torch.testing.assert_close(by_probs.log_prob(value), Categorical(logits).log_prob(value))


@pytest.mark.parametrize("kind", [MaskedCategorical, MaskedOneHotCategorical])
@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"logits": torch.zeros(3)}, "exactly one of mask and indices"),
        ({"mask": torch.ones(3) > 0}, "exactly one of logits and probs"),
        ({"logits": torch.zeros(3), "mask": torch.ones(4) > 0}, r"torch.bool \[3\], found torch.bool \[4\]"),
        ({"logits": torch.zeros(3), "mask": torch.ones(3)}, r"torch.bool \[3\], found torch.float32 \[3\]"),
    ],
)
def test_errors_of_masks(kind, kwargs, message):
    with pytest.raises(ValueError, match=f"{kind.__name__}: .*{message}"):
        kind(**kwargs)


def test_ordinal_logits_by_hand():
    # With s = log(3) the answer yes has probability 3/4. Weights: (3/4)(1/4), (3/4)(3/4) for two options.
    scores = torch.full((2,), 3.0).log()
    torch.testing.assert_close(Ordinal(scores).probs, torch.tensor([0.25, 0.75]))
    scores = torch.randn(5, 4)
    chance = scores.sigmoid()
    weights = torch.stack([chance[:, : k + 1].prod(-1) * (1 - chance[:, k + 1 :]).prod(-1) for k in range(4)], -1)
    torch.testing.assert_close(Ordinal(scores).probs, weights / weights.sum(-1, keepdim=True))
    assert torch.equal(OneHotOrdinal(scores).mode.int().argmax(-1), Ordinal(scores).mode)
    assert OneHot(4).is_in(OneHotOrdinal(scores).sample((10,)))
