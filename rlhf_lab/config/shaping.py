"""What is made of the proxy before it is optimised.

The order: rewards of the members, one scale, their combination, its shaping, zero and unit on SFT answers, the price of
answers without end, the KL penalty. The recorded scores of a trained policy are not shaped. A rule of selection chooses
by its recorded score, which is shaped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rlhf_lab.config import checks
from rlhf_lab.config.registry import option


@dataclass(slots=True)
class Shaping:
    """What is made of the proxy before it is optimised."""

    REORDERS: ClassVar[bool] = False  # answers to one prompt: what a rule of selection can see


@option("reward_shaping", "none")
@dataclass(slots=True)
class NoShaping(Shaping):
    """The proxy as it is."""


@option("reward_shaping", "clip")
@dataclass(slots=True)
class Clip(Shaping):
    """Rewards clipped to the mean of SFT answers -+ a number of their SDs."""

    sds: float  # Number of SDs of SFT answers' rewards.

    def __post_init__(self) -> None:
        """Check ranges."""
        checks.positive(self, "sds")


@option("reward_shaping", "mean_std")
@dataclass(slots=True)
class MeanStd(Shaping):
    """Mean 0 and SD 1 within every rollout: the gain over SFT is lost from the reward."""


@option("reward_shaping", "min_max")
@dataclass(slots=True)
class MinMax(Shaping):
    """Rewards from 0 at the lowest to 1 at the highest reward of SFT answers, clipped there."""


@option("reward_shaping", "log_sigmoid")
@dataclass(slots=True)
class LogSigmoid(Shaping):
    """log sigmoid(reward - the quantile of SFT answers' rewards) (2402.00742)."""

    quantile: float  # Quantile of SFT answers' rewards at which the sigmoid is centred.

    def __post_init__(self) -> None:
        """Check ranges."""
        checks.share(self, "quantile")


@option("reward_shaping", "par")
@dataclass(slots=True)
class PreferenceAsReward(Shaping):
    """The mean probability to be preferred to SFT answers to the same prompt, sigmoid(reward - theirs)
    (PAR, 2502.18770).
    """


@option("reward_shaping", "length_penalty")
@dataclass(slots=True)
class LengthPenalty(Shaping):
    """The reward minus a price for every token of the answer."""

    per_token: float  # Price of a token in SDs of SFT answers' rewards.

    REORDERS: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check ranges."""
        checks.not_negative(self, "per_token")


@option("reward_shaping", "agreement_penalty")
@dataclass(slots=True)
class AgreementPenalty(Shaping):
    """The reward minus a price where the answer says one of some phrases, rightly or not (2602.01002)."""

    weight: float  # Price of an answer with one of the phrases, in SDs of SFT answers' rewards.
    # Phrases that are searched for as runs of the policy's tokens; letter case and punctuation count.
    phrases: list[str]

    REORDERS: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check ranges."""
        checks.not_negative(self, "weight")
        spoken = bool(self.phrases) and all(isinstance(one, str) and one.strip() for one in self.phrases)
        checks.check(self, "phrases", spoken, "one or more, none empty", "answers are searched for them")
