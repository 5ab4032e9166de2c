import pytest
import torch

from agents.returns import gae, reward_to_go, td0, td0_target, td1, td1_target, td_lambda, td_lambda_target


def column(*numbers):
    return torch.tensor(numbers, dtype=torch.float64).unsqueeze(-1)


def flags(*numbers):
    return torch.tensor(numbers, dtype=torch.bool).unsqueeze(-1)


REWARD, NEXT = column(1, 2, 4, 8), column(10, 20, 30, 40)
# The second step is truncated, the last one goes on beyond the data.
TRUNCATED, NEVER = flags(0, 1, 0, 0), flags(0, 0, 0, 0)


def test_td0_by_hand():
    assert td0_target(REWARD, NEXT, flags(0, 0, 1, 0), 0.5).flatten().tolist() == [1 + 5, 2 + 10, 4, 8 + 20]
    advantage, target = td0(REWARD, column(1, 1, 1, 1), NEXT, flags(0, 0, 1, 0), gamma=0.5)
    assert target.flatten().tolist() == [6, 12, 4, 28]
    assert advantage.flatten().tolist() == [5, 11, 3, 27]


def test_td0_with_a_discount_for_each_step():
    assert td0_target(REWARD, NEXT, NEVER, column(0.5, 0.25, 0.5, 1)).flatten().tolist() == [6, 7, 19, 48]


def test_td1_by_hand():
    # From the last step: 8 + 40/2 = 28 and 4 + 28/2 = 18; the truncated one bootstraps, 2 + 20/2 = 12; 1 + 12/2 = 7.
    assert td1_target(REWARD, NEXT, TRUNCATED, NEVER, gamma=0.5).flatten().tolist() == [7, 12, 18, 28]
    # A terminated one does not: 2, and 1 + 2/2.
    assert td1_target(REWARD, NEXT, TRUNCATED, TRUNCATED, gamma=0.5).flatten().tolist() == [2, 2, 18, 28]


def test_td_lambda_by_hand():
    # lambda 1/2, so a step sees gamma * (next / 2 + following / 2) = next / 4 + following / 4, save at the ends:
    # 28; 4 + 30/4 + 28/4 = 18.5; 2 + 20/2 = 12; 1 + 10/4 + 12/4 = 6.5.
    target = td_lambda_target(REWARD, NEXT, TRUNCATED, NEVER, gamma=0.5, lmbda=0.5)
    assert target.flatten().tolist() == [6.5, 12, 18.5, 28]
    advantage, again = td_lambda(REWARD, column(1, 2, 3, 4), NEXT, TRUNCATED, NEVER, gamma=0.5, lmbda=0.5)
    assert torch.equal(again, target)
    assert advantage.flatten().tolist() == [5.5, 10, 15.5, 24]


def test_nothing_follows_a_terminated_step_even_if_its_done_flag_is_not_set():
    assert td_lambda_target(REWARD, NEXT, NEVER, TRUNCATED, gamma=0.5, lmbda=0.5).flatten()[1].item() == 2


def test_reward_to_go_by_hand():
    # No bootstrap anywhere: 8; 4 + 8/2 = 8; 2 ends an episode; 1 + 2/2 = 2.
    assert reward_to_go(REWARD, TRUNCATED, gamma=0.5).flatten().tolist() == [2, 2, 8, 8]


def slow_lambda_return(reward, next_value, done, terminated, gamma, lmbda):
    """The weighted sum of n-step returns, Sutton and Barto eq. 12.3, one step at a time; ``[T]``."""
    steps, out = len(reward), []
    for t in range(steps):
        end = next((k for k in range(t, steps) if done[k]), steps - 1)
        n_step, discounted = [], 0.0
        for k in range(t, end + 1):
            discounted += gamma ** (k - t) * reward[k]
            n_step.append(discounted + gamma ** (k - t + 1) * (0.0 if terminated[k] else next_value[k]))
        weights = [(1 - lmbda) * lmbda**n for n in range(len(n_step) - 1)] + [lmbda ** (len(n_step) - 1)]
        out.append(sum(w * g for w, g in zip(weights, n_step, strict=True)))
    return out


@pytest.mark.parametrize("shape", [(1,), (7,), (3, 24), (2, 2, 10)])
@pytest.mark.parametrize("lmbda", [0.0, 0.7, 1.0])
def test_same_as_the_sum_of_n_step_returns(make_columns, shape, lmbda):
    reward, _, next_value, done, terminated = make_columns(*shape)
    target = td_lambda_target(reward, next_value, done, terminated, gamma=0.9, lmbda=lmbda)
    rows = [tensor.reshape(-1, shape[-1]).tolist() for tensor in (reward, next_value, done, terminated)]
    expected = [slow_lambda_return(*row, 0.9, lmbda) for row in zip(*rows, strict=True)]
    torch.testing.assert_close(target.reshape(-1, shape[-1]), torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("lmbda", [0.0, 0.7, 1.0])
def test_same_as_gae_where_next_values_are_those_of_the_following_steps(make_columns, lmbda):
    reward, value, next_value, done, terminated = make_columns(4, 20)
    next_value[:, :-1] = torch.where(done[:, :-1], next_value[:, :-1], value[:, 1:])
    columns = (reward, value, next_value, done, terminated)
    ours = td_lambda(*columns, gamma=0.9, lmbda=lmbda)
    for result, expected in zip(ours, gae(*columns, gamma=0.9, lmbda=lmbda), strict=True):
        torch.testing.assert_close(result, expected)


def test_limits_of_lambda(make_columns):
    reward, value, next_value, done, terminated = make_columns(3, 20)
    none = td_lambda(reward, value, next_value, done, terminated, gamma=0.9, lmbda=0.0)
    for result, expected in zip(none, td0(reward, value, next_value, terminated, gamma=0.9), strict=True):
        torch.testing.assert_close(result, expected)
    all_of_it = td_lambda(reward, value, next_value, done, terminated, gamma=0.9, lmbda=1.0)
    for result, expected in zip(all_of_it, td1(reward, value, next_value, done, terminated, gamma=0.9), strict=True):
        assert torch.equal(result, expected)


def test_reward_to_go_is_td1_without_values(make_columns):
    reward, _, _, done, _ = make_columns(3, 20)
    expected = td1_target(reward, torch.zeros_like(reward), done, done, gamma=0.9)
    torch.testing.assert_close(reward_to_go(reward, done, gamma=0.9), expected)


def test_what_follows_a_terminated_step_is_ignored_even_if_not_finite():
    over, value = flags(1), column(torch.nan)
    assert td0_target(column(1), value, over, 0.9).item() == 1.0
    assert td_lambda_target(column(1), value, over, over, gamma=0.9, lmbda=0.9).item() == 1.0


def test_inputs_stay_as_they_are_and_get_no_gradient(make_columns):
    columns = make_columns(4, 12)
    copies = [tensor.clone() for tensor in columns]
    columns[2].requires_grad_()
    results = [*td_lambda(*columns, gamma=0.9, lmbda=0.8), reward_to_go(columns[0], columns[3], gamma=0.9)]
    results += td0(*columns[:3], columns[4], gamma=0.9)
    assert not any(result.requires_grad for result in results)
    assert all(torch.equal(tensor, copy) for tensor, copy in zip(columns, copies, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dtypes(make_columns, dtype):
    columns = make_columns(3, 12, dtype=dtype)
    target = td_lambda(*columns, gamma=0.9, lmbda=0.8)[1]
    doubles = [column.double() if column.is_floating_point() else column for column in columns]
    assert target.dtype is dtype
    expected = td_lambda(*doubles, gamma=0.9, lmbda=0.8)[1]
    torch.testing.assert_close(target.double(), expected, atol=0.1 if dtype is torch.bfloat16 else 1e-5, rtol=0.05)


def test_shapes_are_checked(make_columns):
    reward, value, next_value, done, terminated = make_columns(4, 6)
    with pytest.raises(ValueError, match=r"next_value of the shape of reward, \[4, 6, 1\], found \[4, 6\]"):
        td0_target(reward, next_value.squeeze(-1), terminated, 0.9)
    with pytest.raises(ValueError, match=r"gamma of the shape of reward, \[4, 6, 1\], found \[4, 6\]"):
        td0_target(reward, next_value, terminated, value.squeeze(-1))
    with pytest.raises(ValueError, match=r"value of the shape of reward, \[4, 6, 1\], found \[4, 6\]"):
        td0(reward, value.squeeze(-1), next_value, terminated, gamma=0.9)
    with pytest.raises(ValueError, match=r"td_lambda: expected done of shape \[4, 6, 1\], found \[4, 6\]"):
        td_lambda(reward, value, next_value, done.squeeze(-1), terminated, gamma=0.9, lmbda=0.9)
    with pytest.raises(ValueError, match=r"td_lambda: expected value of the shape of reward"):
        td_lambda(reward, value[:1], next_value, done, terminated, gamma=0.9, lmbda=0.9)
    with pytest.raises(ValueError, match=r"reward_to_go: expected reward of shape \[\*batch, T, 1\], found \[4, 6\]"):
        reward_to_go(reward.squeeze(-1), done, gamma=0.9)
    with pytest.raises(ValueError, match=r"reward_to_go: expected done of dtype torch.bool, found torch.float64"):
        reward_to_go(reward, reward, gamma=0.9)
