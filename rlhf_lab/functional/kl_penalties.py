"""Penalties on the divergence of a policy from its reference, in the reward or in the loss, on answers (B, T).

A divergence D = E_policy[f(r)/r] of whole answers, r = policy / reference, has the gradient E_policy[f'(r) grad log
policy] (for every f-divergence; constants in f' add nothing). In the reward f'(r) is therefore what is subtracted. In
the loss an estimator of D that is never negative (`divergence`), times the ratio to the policy that sampled,
has that gradient by differentiation. The forward KL is an expectation over the reference and is taken from answers of
the reference: what a policy no longer says cannot be seen in its own. Coefficients weigh nats of a whole answer, or one
of sqrt(chi-squared).
"""

from __future__ import annotations

import torch

from rlhf_lab.config.online import Divergence
from rlhf_lab.functional import divergence

LARGEST = 10.0  # nats of a whole answer's log-ratio inside an exponential, as in 2403.03185
LEAST_CHI2 = 1e-4  # under the root, whose slope at zero is infinite


def of_rewards(kind: Divergence, log_ratio: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """What is subtracted from the reward of each token (B, T) at coefficient 1; only KL is spread over tokens.

    `log_ratio` (B, T) is log policy - log reference of the sampled tokens.
    """
    if kind is Divergence.reverse_kl:  # f(r) = r log r, f'(r) = log r + 1
        return log_ratio * mask
    assert kind is Divergence.sqrt_chi2, "the schema refuses the forward KL here"
    whole = (log_ratio * mask).sum(1).clamp(-LARGEST, LARGEST)  # the root of f(r) = (r - 1)^2
    chi2 = divergence.chi2(whole).mean().clamp(min=LEAST_CHI2)
    last = mask.sum(1, keepdim=True) - 1
    return torch.zeros_like(log_ratio).scatter_add(1, last, (torch.expm1(whole) / chi2.sqrt())[:, None])


def reverse_kl(
    logps: torch.Tensor, old_logps: torch.Tensor, ref_logps: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """KL(policy || reference) per answer for the loss, summed over tokens given their prefixes (GRPO's penalty).

    All are (B, T) log-probabilities of sampled tokens: of the policy now, when it sampled, and of the reference.
    """
    return (torch.exp(logps - old_logps) * divergence.k3(logps - ref_logps) * mask).sum(1).mean()


def sqrt_chi2(
    logps: torch.Tensor, old_logps: torch.Tensor, ref_logps: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """The root of chi-squared(policy || reference) of whole answers for the loss; arguments as for `reverse_kl`."""
    whole = ((logps - ref_logps) * mask).sum(1).clamp(-LARGEST, LARGEST)
    moved = ((logps - old_logps) * mask).sum(1).clamp(-LARGEST, LARGEST).exp()
    return (moved * divergence.chi2(whole)).mean().clamp(min=LEAST_CHI2).sqrt()


def forward_kl(logps: torch.Tensor, ref_logps: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """KL(reference || policy) per answer for the loss, from (B, T) tokens that the reference sampled."""
    return ((ref_logps - logps) * mask).sum(1).mean()


def adapted(coefficient: float, kl: float, target: float) -> float:
    """The coefficient after a rollout at `kl` nats from the reference (1909.08593, section 2.2)."""
    error = min(max(kl / target - 1, -0.2), 0.2)
    return coefficient * (1 + 0.1 * error)
