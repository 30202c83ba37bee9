"""Losses of a reward model on pairs of answers, from the gap between their rewards and the label of the pair."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch.nn.functional import logsigmoid

from rlhf_lab.config.models import RewardLoss

# From gaps (preferred minus other) of any shape, losses of that shape.
Loss = Callable[[torch.Tensor], torch.Tensor]


def bradley_terry(gap: torch.Tensor) -> torch.Tensor:
    """Return -log sigmoid(gap), the negative log-likelihood of the Bradley-Terry model (2203.02155, Eq. 1)."""
    return -logsigmoid(gap)


def hinge(gap: torch.Tensor) -> torch.Tensor:
    """Return max(0, 1 - gap)."""
    return (1 - gap).clamp(min=0)


LOSSES: Mapping[RewardLoss, Loss] = {
    RewardLoss.bradley_terry: bradley_terry,
    RewardLoss.hinge: hinge,
}


def of_gaps(loss: RewardLoss, gap: torch.Tensor, preference: torch.Tensor) -> torch.Tensor:
    """Return the loss of each pair, preference x loss(gap) + (1 - preference) x loss(-gap).

    `gap` (any shape) is the reward of the first answer minus that of the second; `preference` (same shape), in [0, 1],
    is the share of the label that prefers the first.
    """
    per_side = LOSSES[loss]
    return preference * per_side(gap) + (1 - preference) * per_side(-gap)


def smoothed(preference: torch.Tensor, share: float) -> torch.Tensor:
    """Return labels smoothed by `share`: p + share x (1 - 2 p) for a preference p in [0, 1]."""
    return preference + share * (1 - 2 * preference)


def of_rankings(losses: torch.Tensor, pairs: torch.Tensor) -> torch.Tensor:
    """Return the mean over prompts of the mean loss of a prompt's pairs, () (2203.02155, Eq. 1).

    `losses` (P,) are those of all pairs in a batch; `pairs` (P,) is the number of pairs in it of the same prompt.
    """
    weight = 1 / pairs
    return (weight * losses).sum() / weight.sum()
