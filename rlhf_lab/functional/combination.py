"""The rewards of several reward models as one: members on one scale, then a rule (formulas)."""

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
    """One reward (N,) of the members' (M, N), which are on one scale; variances over members have ddof 0."""
    raise TypeError(f"{type(rule).__name__} combines no rewards: register a function with combined.register")


@combined.register
def _(rule: Mean, rewards: Floats) -> Floats:
    return rewards.mean(axis=0)


@combined.register
def _(rule: Constrained, rewards: Floats) -> Floats:
    return rewards.mean(
        axis=0
    )  # what is recorded; a policy learns from rlhf_lab.functional.multipliers.mixed


@combined.register
def _(rule: Minimum, rewards: Floats) -> Floats:
    return rewards.min(axis=0)


@combined.register
def _(rule: Median, rewards: Floats) -> Floats:
    return np.median(rewards, axis=0)


@combined.register
def _(rule: UncertaintyWeighted, rewards: Floats) -> Floats:
    return rewards.mean(axis=0) - rule.weight * rewards.var(axis=0)


@combined.register
def _(rule: LowerBound, rewards: Floats) -> Floats:
    return rewards.mean(axis=0) - rule.sds * rewards.std(axis=0)


def scale(rewards: Floats, offset: Offset) -> tuple[Floats, float]:
    """What to take from a member's rewards of each prompt (Q,), and what to divide them by, from its rewards of SFT
    answers (Q, K).

    The unit is the SD of what is left of these; ArithmeticError where nothing is.
    """
    whole = np.full(len(rewards), rewards.mean())
    level = whole if offset is Offset.all else rewards.mean(axis=1)
    answers = rewards.shape[1]
    free = answers / (answers - 1) if offset is Offset.prompt and answers > 1 else 1.0
    sd = float(np.sqrt(((rewards - level[:, None]) ** 2).mean() * free))
    if not (np.isfinite(sd) and sd > 0):
        raise FloatingPointError(f"a member's rewards of SFT answers have an SD of {sd}: nothing to optimise")
    return level, sd
