"""Losses of pairs of answers: what the gap of their rewards should be, given who prefers which by how much."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch.nn.functional import logsigmoid

from rlhf_lab.config.models import RewardLoss

Loss = Callable[[torch.Tensor], torch.Tensor]  # of gaps of the preferred side, any shape


def _bradley_terry(gap: torch.Tensor) -> torch.Tensor:
    return -logsigmoid(gap)


def _hinge(gap: torch.Tensor) -> torch.Tensor:
    return (1 - gap).clamp(min=0)


LOSSES: Mapping[RewardLoss, Loss] = {
    RewardLoss.bradley_terry: _bradley_terry,
    RewardLoss.hinge: _hinge,
}


def of_gaps(loss: RewardLoss, gap: torch.Tensor, preference: torch.Tensor) -> torch.Tensor:
    """The loss of each pair, like `gap`: preference x loss(gap) + (1 - preference) x loss(-gap).

    `gap` is the reward of the first minus that of the second, `preference` in [0, 1] the label's share for the first.
    """
    of_side = LOSSES[loss]
    return preference * of_side(gap) + (1 - preference) * of_side(-gap)


def smoothed(preference: torch.Tensor, share: float) -> torch.Tensor:
    """Labels that give `share` of themselves to the other side."""
    return preference + share * (1 - 2 * preference)


def of_rankings(losses: torch.Tensor, pairs: torch.Tensor) -> torch.Tensor:
    """The mean over prompts of the mean over a prompt's pairs, () (2203.02155, Eq. 1).

    `losses` (P,) of all pairs in a batch; `pairs` (P,) how many pairs each one's prompt has there.
    """
    weight = 1 / pairs
    return (weight * losses).sum() / weight.sum()
