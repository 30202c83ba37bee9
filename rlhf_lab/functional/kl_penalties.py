"""Penalties on the divergence of a policy from its reference, in the reward or in the loss, on answers (B, T).

A divergence D = E_policy[f(r) / r] of whole answers, with r = policy / reference, has the gradient
E_policy[f'(r) grad log policy] (for every f-divergence; constants in f' add nothing). A penalty in the reward therefore
subtracts f'(r). A penalty in the loss is an estimator of D that is never negative (`rlhf_lab.functional.divergence`)
times the ratio to the policy that sampled, which has that gradient by differentiation. The forward KL is an expectation
over the reference and is estimated from answers of the reference: a policy's own answers lack what it no longer says.
Coefficients weigh nats of a whole answer, or one unit of sqrt(chi-squared).

To add a penalty, add a member to `rlhf_lab.config.online.Divergence` and an entry to `PENALTIES`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from rlhf_lab.config.online import Divergence
from rlhf_lab.functional import divergence

LARGEST = 10.0  # nats of a whole answer's log-ratio inside an exponential, as in 2403.03185
LEAST_CHI2 = 1e-4  # under the root, whose slope at zero is infinite

# (log_ratio, mask), both (B, T), the log-ratio log policy - log reference of the sampled tokens -> (B, T)
RewardPenalty = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

# (logps, old_logps, ref_logps, mask), all (B, T): log-probabilities of the sampled tokens under the policy now, under
# the model that sampled them, and under the reference -> the divergence per answer, a scalar
LossPenalty = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Penalty:
    """The two forms of one penalty at coefficient 1."""

    in_loss: LossPenalty
    in_reward: RewardPenalty | None = None  # subtracted from the reward of each token; None: only in the loss
    from_reference: bool = False  # whether the loss is an expectation over answers that the reference sampled


def reverse_kl_reward(log_ratio: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the log-ratio of every token (B, T): f(r) = r log r, f'(r) = log r + 1."""
    return log_ratio * mask


def reverse_kl_loss(
    logps: torch.Tensor, old_logps: torch.Tensor, ref_logps: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """Return KL(policy || reference) per answer, summed over tokens given their prefixes (GRPO's penalty)."""
    return (torch.exp(logps - old_logps) * divergence.k3(logps - ref_logps) * mask).sum(1).mean()


def forward_kl_loss(
    logps: torch.Tensor, old_logps: torch.Tensor, ref_logps: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """Return KL(reference || policy) per answer, from tokens that the reference sampled."""
    return ((ref_logps - logps) * mask).sum(1).mean()


def sqrt_chi2_reward(log_ratio: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return f'(r) of whole answers at their last tokens (B, T), for the root of chi-squared: f(r) = (r - 1)^2."""
    answer = (log_ratio * mask).sum(1).clamp(-LARGEST, LARGEST)
    chi2 = divergence.chi2(answer).mean().clamp(min=LEAST_CHI2)
    last = mask.sum(1, keepdim=True) - 1
    return torch.zeros_like(log_ratio).scatter_add(1, last, (torch.expm1(answer) / chi2.sqrt())[:, None])


def sqrt_chi2_loss(
    logps: torch.Tensor, old_logps: torch.Tensor, ref_logps: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """Return the root of chi-squared(policy || reference) of whole answers."""
    answer = ((logps - ref_logps) * mask).sum(1).clamp(-LARGEST, LARGEST)
    ratio = ((logps - old_logps) * mask).sum(1).clamp(-LARGEST, LARGEST).exp()
    return (ratio * divergence.chi2(answer)).mean().clamp(min=LEAST_CHI2).sqrt()


PENALTIES = {
    Divergence.reverse_kl: Penalty(reverse_kl_loss, in_reward=reverse_kl_reward),
    Divergence.forward_kl: Penalty(forward_kl_loss, from_reference=True),
    Divergence.sqrt_chi2: Penalty(sqrt_chi2_loss, in_reward=sqrt_chi2_reward),
}


def adapted(coefficient: float, kl: float, target: float) -> float:
    """Return the coefficient after a rollout at `kl` nats from the reference (1909.08593, section 2.2)."""
    error = min(max(kl / target - 1, -0.2), 0.2)
    return coefficient * (1 + 0.1 * error)
