"""What is made of the proxy before a policy learns from it.

The order: rewards of the members, one scale, their combination, its shaping, zero and unit on SFT answers, the price on
answers without end, the penalty. Scores that are recorded are not shaped.
"""

from __future__ import annotations

from dataclasses import dataclass

from rlhf_lab.config import ranges


@dataclass(slots=True)
class Shaping:
    """What is made of the proxy before a policy learns from it."""


@dataclass(slots=True)
class NoShaping(Shaping):
    """The proxy as it is."""


@dataclass(slots=True)
class Clip(Shaping):
    """Cut at the mean of SFT answers -+ so many of their SDs."""

    sds: float

    def __post_init__(self) -> None:
        """Check ranges."""
        ranges.positive(self, "sds")


@dataclass(slots=True)
class MeanStd(Shaping):
    """Mean 0 and SD 1 within every rollout: what it gains on SFT is lost from the reward."""


@dataclass(slots=True)
class MinMax(Shaping):
    """From 0 at the lowest to 1 at the highest reward of SFT answers, cut there."""


@dataclass(slots=True)
class LogSigmoid(Shaping):
    """log sigmoid(reward - the quantile of SFT answers' rewards) (2402.00742)."""

    quantile: float

    def __post_init__(self) -> None:
        """Check ranges."""
        ranges.share(self, "quantile")


@dataclass(slots=True)
class PreferenceAsReward(Shaping):
    """The mean chance to be preferred to SFT answers to the same prompt, sigmoid(reward - theirs) (PAR, 2502.18770)."""


@dataclass(slots=True)
class LengthPenalty(Shaping):
    """Less so much for every token of the answer."""

    per_token: float  # SDs of the proxy on SFT answers

    def __post_init__(self) -> None:
        """Check ranges."""
        ranges.not_negative(self, "per_token")
