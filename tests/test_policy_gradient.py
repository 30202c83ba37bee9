from __future__ import annotations

import math

import pytest
import torch

from rlhf_lab.functional import policy_gradient as pg

MASK = torch.tensor([[True, True, True], [True, False, False]])


def test_the_score_comes_last_and_the_penalty_everywhere() -> None:
    taken = torch.tensor([[0.05, -0.1, 0.2], [0.1, 0.7, 0.7]])
    rewards = pg.token_rewards(torch.tensor([10.0, 20.0]), taken, MASK)
    assert rewards == pytest.approx(torch.tensor([[-0.05, 0.1, 9.8], [19.9, 0.0, 0.0]]))


def test_gae_by_hand() -> None:
    rewards = torch.tensor([[1.0, 0.0, 2.0], [3.0, 0.0, 0.0]])
    values = torch.tensor([[0.5, 1.0, 1.5], [2.0, 9.0, 9.0]])  # the 9s stand behind the end
    last = 2.0 - 1.5
    middle = (0.0 + 0.9 * 1.5 - 1.0) + 0.9 * 0.8 * last
    first = (1.0 + 0.9 * 1.0 - 0.5) + 0.9 * 0.8 * middle
    expected = torch.tensor([[first, middle, last], [1.0, 0.0, 0.0]])
    assert pg.gae(rewards, values, MASK, gamma=0.9, lam=0.8) == pytest.approx(expected)


def test_gae_with_lambda_one_is_the_return_less_the_value() -> None:
    rewards = torch.tensor([[1.0, 2.0, 3.0]])
    values = torch.tensor([[0.1, 0.2, 0.3]])
    advantages = pg.gae(rewards, values, MASK[:1], gamma=1.0, lam=1.0)
    assert advantages + values == pytest.approx(torch.tensor([[6.0, 5.0, 3.0]]))


def test_whitened_over_tokens_only() -> None:
    white = pg.whiten(torch.tensor([[1.0, 2.0, 3.0], [6.0, 100.0, 100.0]]), MASK)
    tokens = white[MASK]
    assert float(tokens.mean()) == pytest.approx(0, abs=1e-6)
    assert float(tokens.std(unbiased=False)) == pytest.approx(1, abs=1e-4)
    assert (white[~MASK] == 0).all()


def test_the_policy_loss_stops_at_the_clip_where_it_would_gain() -> None:
    mask, old = torch.ones(1, 4, dtype=torch.bool), torch.zeros(1, 4)
    ratio = torch.tensor([[1.5, 1.5, 0.5, 0.5]])
    advantages = torch.tensor([[1.0, -1.0, 1.0, -1.0]])
    logps = ratio.log().requires_grad_()
    loss, clipped = pg.clipped_policy_loss(logps, old, advantages, mask, clip=0.2)
    assert loss.item() == pytest.approx(-(1.2 - 1.5 + 0.5 - 0.8) / 4)
    assert float(clipped) == 1.0
    loss.backward()
    assert logps.grad is not None
    assert logps.grad[0].tolist() == pytest.approx([0.0, 1.5 / 4, -0.5 / 4, 0.0])


def test_the_value_loss_takes_the_worse_of_free_and_held() -> None:
    mask = torch.ones(1, 2, dtype=torch.bool)
    values, old, returns = torch.tensor([[2.0, 0.1]]), torch.tensor([[0.0, 0.0]]), torch.tensor([[2.0, 1.0]])
    loss = pg.clipped_value_loss(values, old, returns, mask, clip=0.5)
    assert float(loss) == pytest.approx(0.5 * (1.5**2 + 0.9**2) / 2)


def test_explained_variance() -> None:
    returns = torch.tensor([[1.0, 2.0, 3.0], [4.0, 0.0, 0.0]])
    assert float(pg.explained_variance(returns, returns, MASK)) == pytest.approx(1)
    assert float(pg.explained_variance(torch.full((2, 3), 2.5), returns, MASK)) == pytest.approx(0)
    half = returns.where(returns > 2, 1.5)  # right about two of the four
    assert float(pg.explained_variance(half, returns, MASK)) == pytest.approx(1 - 0.125 / 1.25)
    assert math.isfinite(float(pg.explained_variance(half, torch.ones(2, 3), MASK)))
