"""Losses of pairs, worked by hand."""

import math

import pytest
import torch

from rlhf_lab.config.models import RewardLoss
from rlhf_lab.functional.preference_losses import of_gaps, of_rankings, smoothed

GAPS = torch.tensor([2.0, 0.0, -1.0])
SURE = torch.ones(3)


def log_sigmoid(x):
    return -math.log1p(math.exp(-x))


def test_bradley_terry_of_hard_labels():
    found = of_gaps(RewardLoss.bradley_terry, GAPS, SURE)
    assert found.tolist() == pytest.approx([-log_sigmoid(2), math.log(2), -log_sigmoid(-1)])


def test_bradley_terry_of_a_share_is_a_cross_entropy_with_its_minimum_at_the_logit():
    share, gap = torch.tensor([0.8]), torch.tensor([math.log(4.0)], requires_grad=True)
    loss = of_gaps(RewardLoss.bradley_terry, gap, share)
    assert loss.item() == pytest.approx(-0.8 * math.log(0.8) - 0.2 * math.log(0.2))
    loss.backward()
    assert gap.grad.item() == pytest.approx(0, abs=1e-7)


def test_hinge_asks_for_a_gap_of_one_and_no_more():
    assert of_gaps(RewardLoss.hinge, GAPS, SURE).tolist() == pytest.approx([0, 1, 2])
    half = of_gaps(RewardLoss.hinge, torch.tensor([0.5]), torch.tensor([0.75]))
    assert half.item() == pytest.approx(0.75 * 0.5 + 0.25 * 1.5)


def test_smoothing_gives_a_share_of_the_label_away():
    assert smoothed(torch.tensor([1.0, 0.5, 0.8]), 0.1).tolist() == pytest.approx([0.9, 0.5, 0.74])


def test_every_prompt_weighs_the_same_however_many_pairs_it_has():
    losses = torch.tensor([1.0, 2.0, 3.0, 10.0])  # a ranking of three answers, and a pair
    assert of_rankings(losses, torch.tensor([3, 3, 3, 1])).item() == pytest.approx((2 + 10) / 2)
