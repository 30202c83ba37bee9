"""What a policy optimises: a reward that was learned from comparisons, or, in control runs, another one.

Controls say what a learned reward is to be compared with: the true reward itself, its parts that a reader can see, and
a reward that says nothing. Preferences and reward models are not made for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rlhf_lab.config import checks
from rlhf_lab.config.registry import option


@dataclass(slots=True)
class Reward:
    """The reward that a policy optimises."""

    USES_GOLD: ClassVar[bool] = False  # whether it is the true reward, or a part of it
    SUFFIX: ClassVar[str] = ""  # of the name of the stage that optimises it


@option("reward", "learned")
@dataclass(slots=True)
class LearnedReward(Reward):
    """The proxy: reward models that learn from comparisons, combined and shaped."""


@dataclass(slots=True)
class GivenReward(Reward):
    """A reward that is not learned: a control."""


@option("reward", "gold")
@dataclass(slots=True)
class GoldReward(GivenReward):
    """The true reward. A policy that optimises it is an oracle, and is marked `uses_gold`."""

    parts: list[str]  # Parts of the rubric that are summed, such as `courtesy`; [] is gold as a whole.

    USES_GOLD: ClassVar[bool] = True
    SUFFIX: ClassVar[str] = "_on_gold"

    def __post_init__(self) -> None:
        """Check that nothing is summed twice."""
        once = len(set(self.parts)) == len(self.parts)
        checks.check(self, "parts", once, "names, each part once", "they are summed")


@option("reward", "noise")
@dataclass(slots=True)
class NoiseReward(GivenReward):
    """Independent standard normal numbers: a reward that says nothing of an answer."""

    seed: int  # Seed of the numbers.

    SUFFIX: ClassVar[str] = "_on_noise"

    def __post_init__(self) -> None:
        """Check ranges."""
        checks.seed(self)
