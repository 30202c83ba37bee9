"""Rules that make one reward of the rewards of several reward models, the members of an ensemble.

`combined` applies a rule to rewards (M, N) of M members for N answers, after `scale` has put the members on one scale:
the reward of a member is r_m = (reward - level) / sd. To add a rule, add its configuration to
`rlhf_lab.config.combination` and register a function here.
"""

from __future__ import annotations

from functools import singledispatch

import numpy as np
from numpy.typing import NDArray

from rlhf_lab.config.combination import (
    Combination,
    Constrained,
    LowerBound,
    Mean,
    Median,
    Minimum,
    Offset,
    UncertaintyWeighted,
)

Floats = NDArray[np.float64]


@singledispatch
def combined(rule: Combination, rewards: Floats) -> Floats:
    """Return one reward per answer (N,) from the rewards of the members (M, N), which are on one scale.

    Variances and SDs are taken over members with ddof 0. Raises TypeError for a rule that no function is registered
    for.
    """
    raise TypeError(f"{type(rule).__name__} combines no rewards: register a function with combined.register")


@combined.register
def mean(rule: Mean, rewards: Floats) -> Floats:
    """Return mean_m r_m."""
    return rewards.mean(axis=0)


@combined.register
def constrained(rule: Constrained, rewards: Floats) -> Floats:
    """Return mean_m r_m, which is only recorded: a policy learns from `multipliers.mixed` (2310.04373)."""
    return rewards.mean(axis=0)


@combined.register
def minimum(rule: Minimum, rewards: Floats) -> Floats:
    """Return min_m r_m, worst-case optimisation (2310.02743, Eq. 5)."""
    return rewards.min(axis=0)


@combined.register
def median(rule: Median, rewards: Floats) -> Floats:
    """Return median_m r_m."""
    return np.median(rewards, axis=0)


@combined.register
def uncertainty_weighted(rule: UncertaintyWeighted, rewards: Floats) -> Floats:
    """Return mean_m r_m - weight x var_m r_m, uncertainty-weighted optimisation (2310.02743, Eq. 6)."""
    return rewards.mean(axis=0) - rule.weight * rewards.var(axis=0)


@combined.register
def lower_bound(rule: LowerBound, rewards: Floats) -> Floats:
    """Return mean_m r_m - sds x sd_m r_m, a lower confidence bound."""
    return rewards.mean(axis=0) - rule.sds * rewards.std(axis=0)


def scale(rewards: Floats, offset: Offset) -> tuple[Floats, float]:
    """Return the level of each prompt (Q,) and the SD that put a member on the common scale.

    `rewards` (Q, K) are the member's rewards of K SFT answers to each of Q prompts. The level is their mean over all
    answers (`Offset.all`) or over the answers to the prompt (`Offset.prompt`); the SD is that of rewards - level, with
    one degree of freedom less per prompt in the second case. Raises FloatingPointError if the SD is zero or not finite.
    """
    per_prompt = offset is Offset.prompt
    level = rewards.mean(axis=1) if per_prompt else np.full(len(rewards), rewards.mean())
    answers = rewards.shape[1]
    correction = answers / (answers - 1) if per_prompt and answers > 1 else 1.0
    sd = float(np.sqrt(((rewards - level[:, None]) ** 2).mean() * correction))
    if not (np.isfinite(sd) and sd > 0):
        raise FloatingPointError(f"a member's rewards of SFT answers have an SD of {sd}: nothing to optimise")
    return level, sd
