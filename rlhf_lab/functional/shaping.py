"""Shapings of the proxy reward: what a policy is trained on in place of the proxy itself.

Write r for the proxy reward of an answer and r_ref for the rewards of answers of the SFT model. To add a shaping, add
its configuration to `rlhf_lab.config.shaping` and register a function here.
"""

from __future__ import annotations

from functools import singledispatch
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlhf_lab.config.shaping import (
    AgreementPenalty,
    Clip,
    LengthPenalty,
    LogSigmoid,
    MeanStd,
    MinMax,
    PreferenceAsReward,
    Shaping,
)

Floats = NDArray[np.float64]


class Answers(NamedTuple):
    """N answers whose rewards are shaped."""

    reward: Floats  # (N,) by the proxy
    tokens: Floats  # (N,) length in tokens
    references: Floats  # (N, K) rewards of K SFT answers to the same prompt
    has_phrase: NDArray[np.bool_]  # (N,) whether the answer contains one of the phrases of the shaping


@singledispatch
def shaped(shaping: Shaping, answers: Answers, references: Floats) -> Floats:
    """Return the shaped rewards (N,) of `answers`.

    `references` (Q, K) are the rewards r_ref of K SFT answers to each of all Q prompts. Raises TypeError for a shaping
    that no function is registered for.
    """
    raise TypeError(f"{type(shaping).__name__} shapes no reward: register a function with shaped.register")


@shaped.register
def clip(shaping: Clip, answers: Answers, references: Floats) -> Floats:
    """Return r clipped to mean(r_ref) +- sds x SD(r_ref)."""
    reach = shaping.sds * references.std()
    return np.clip(answers.reward, references.mean() - reach, references.mean() + reach)


@shaped.register
def mean_std(shaping: MeanStd, answers: Answers, references: Floats) -> Floats:
    """Return (r - mean(r)) / SD(r), over the N answers of a rollout."""
    sd = answers.reward.std()
    return (answers.reward - answers.reward.mean()) / (sd if sd > 0 else 1.0)


@shaped.register
def min_max(shaping: MinMax, answers: Answers, references: Floats) -> Floats:
    """Return (r - min(r_ref)) / (max(r_ref) - min(r_ref)), clipped to [0, 1]."""
    low, high = references.min(), references.max()
    return np.clip((answers.reward - low) / (high - low), 0, 1)


@shaped.register
def log_sigmoid(shaping: LogSigmoid, answers: Answers, references: Floats) -> Floats:
    """Return log sigmoid(r - q), with q a quantile of r_ref (2402.00742)."""
    return -np.logaddexp(0, np.quantile(references, shaping.quantile) - answers.reward)


@shaped.register
def preference_as_reward(shaping: PreferenceAsReward, answers: Answers, references: Floats) -> Floats:
    """Return mean_k sigmoid(r - r_ref_k) over SFT answers to the same prompt (PAR, 2502.18770)."""
    return np.mean(1 / (1 + np.exp(answers.references - answers.reward[:, None])), axis=1)


@shaped.register
def length_penalty(shaping: LengthPenalty, answers: Answers, references: Floats) -> Floats:
    """Return r - per_token x SD(r_ref) x tokens."""
    return answers.reward - shaping.per_token * references.std() * answers.tokens


@shaped.register
def agreement_penalty(shaping: AgreementPenalty, answers: Answers, references: Floats) -> Floats:
    """Return r - weight x SD(r_ref) for answers that contain one of the phrases, r for others."""
    return answers.reward - shaping.weight * references.std() * answers.has_phrase
