"""What is optimised instead of the proxy itself (formulas)."""

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


class Asked(NamedTuple):
    """What is rewarded."""

    reward: Floats  # (N,)
    tokens: Floats  # (N,) of each answer
    references: Floats  # (N, K) rewards of SFT answers to the same prompt
    says: NDArray[np.bool_]  # (N,) whether each answer says one of the shaping's phrases


@singledispatch
def shaped(shaping: Shaping, asked: Asked, references: Floats) -> Floats:
    """The shaped reward (N,); `references` (Q, K) are the rewards of SFT answers to all prompts."""
    raise TypeError(f"{type(shaping).__name__} shapes no reward: register a function with shaped.register")


@shaped.register
def _(shaping: Clip, asked: Asked, references: Floats) -> Floats:
    reach = shaping.sds * references.std()
    return np.clip(asked.reward, references.mean() - reach, references.mean() + reach)


@shaped.register
def _(shaping: MeanStd, asked: Asked, references: Floats) -> Floats:
    sd = asked.reward.std()
    return (asked.reward - asked.reward.mean()) / (sd if sd > 0 else 1.0)


@shaped.register
def _(shaping: MinMax, asked: Asked, references: Floats) -> Floats:
    low, high = references.min(), references.max()
    return np.clip((asked.reward - low) / (high - low), 0, 1)


@shaped.register
def _(shaping: LogSigmoid, asked: Asked, references: Floats) -> Floats:
    return -np.logaddexp(0, np.quantile(references, shaping.quantile) - asked.reward)


@shaped.register
def _(shaping: PreferenceAsReward, asked: Asked, references: Floats) -> Floats:
    return np.mean(1 / (1 + np.exp(asked.references - asked.reward[:, None])), axis=1)


@shaped.register
def _(shaping: LengthPenalty, asked: Asked, references: Floats) -> Floats:
    return asked.reward - shaping.per_token * references.std() * asked.tokens


@shaped.register
def _(shaping: AgreementPenalty, asked: Asked, references: Floats) -> Floats:
    return asked.reward - shaping.weight * references.std() * asked.says
