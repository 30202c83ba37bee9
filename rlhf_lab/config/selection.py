"""Rules that choose among stored SFT answers; nothing is trained, and every strength is computed from one table.

What is sampled does not depend on the rule or on the reward model: rules share the table. Their own fields are in
the key of the run alone. Rewards are in SDs of the proxy on the table.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

from rlhf_lab.config import ranges
from rlhf_lab.config.policies import Policy


@dataclass(slots=True)
class SFTAnswers:
    """The table of answers that rules choose from."""

    seed: int
    prompts: int
    samples: int


@dataclass(slots=True)
class BestOfN(Policy):
    """Best-of-n: the answer with the highest proxy among n."""

    STAGE: ClassVar[str] = "rlhf_lab.stages.policy.sft_answers"
    NEEDS: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        """Check ranges."""
        Policy.__post_init__(self)
        ranges.check(self, "samples", self.samples >= 2, ">= 2", "the curve goes up to n = samples / 2")

    def table(self) -> SFTAnswers:
        """What has to be sampled."""
        return SFTAnswers(self.seed, self.prompts, self.samples)


@dataclass(slots=True)
class SoftBestOfN(BestOfN):
    """One of n answers, with chances proportional to exp(inverse_temperature x proxy) (2506.19248)."""

    inverse_temperature: float  # per SD of the proxy

    def __post_init__(self) -> None:
        """Check ranges."""
        BestOfN.__post_init__(self)
        ranges.positive(self, "inverse_temperature")


@dataclass(slots=True)
class BestOfPoisson(BestOfN):
    """Best of 1 + Poisson(n - 1) answers: close to the exponential tilt of the proxy's quantiles (2506.19248)."""


@dataclass(slots=True)
class MBRBestOfN(BestOfN):
    """The highest proxy + proximity x likeness to the other answers among n (2404.01054)."""

    proximity: float  # SDs of the proxy per SD of likeness

    def __post_init__(self) -> None:
        """Check ranges."""
        BestOfN.__post_init__(self)
        ranges.positive(self, "proximity")


@dataclass(slots=True)
class Pessimism(BestOfN):
    """One of n answers, with chances proportional to relu(proxy - level) / beta of mean 1 (2503.21878)."""

    beta: float  # SDs of the proxy

    def __post_init__(self) -> None:
        """Check ranges."""
        BestOfN.__post_init__(self)
        ranges.positive(self, "beta")


class Hedged(Enum):
    """The rule whose strength is tuned."""

    bon = "bon"  # n
    soft_bon = "soft_bon"  # the inverse temperature, at n = samples / 4
    best_of_poisson = "best_of_poisson"  # the mean number of answers


@dataclass(slots=True)
class HedgeTune(BestOfN):
    """A rule at the strength where gold stops to gain, found from gold on a few questions (2506.19248)."""

    rule: Hedged
    gold_questions: int  # whose gold is looked at; they are left out of what is reported

    USES_GOLD: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check ranges."""
        BestOfN.__post_init__(self)
        ranges.positive(self, "gold_questions")
