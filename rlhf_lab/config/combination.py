"""How the rewards of several reward models become one.

Members are put on one scale first: their mean reward of SFT answers is subtracted, and the result is divided by the SD
of these rewards. SDs and variances over members divide by the number of members (ddof 0).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

from rlhf_lab.config import checks
from rlhf_lab.config.registry import option


class Seeds(Enum):
    """The seeds in which the members of an ensemble differ."""

    finetune = "finetune"  # members differ in the head and in the order of the comparisons
    pretrain = "pretrain"  # members also start from language models that were trained with different seeds


class Offset(Enum):
    """The mean that is subtracted from a member's rewards; comparisons say nothing of the level of a
    prompt.
    """

    all = "all"  # the member's mean over SFT answers to all prompts
    prompt = "prompt"  # the member's mean over SFT answers to the same prompt


@dataclass(slots=True)
class Combination:
    """How the proxy reward is made of reward models."""


@option("rm_combination", "single")
@dataclass(slots=True)
class Single(Combination):
    """One reward model; nothing is combined."""


@dataclass(slots=True)
class Several(Combination):
    """Several reward models that are trained on the same comparisons; the first is the one of `single`."""

    members: int  # Number of reward models.
    seeds: Seeds  # Seeds in which they differ; the seeds of two members are 1000 apart.

    def __post_init__(self) -> None:
        """Check ranges."""
        checks.check(self, "members", self.members >= 2, ">= 2", "one reward model is rm_combination=single")


@dataclass(slots=True)
class Ensemble(Several):
    """Reward models whose rewards of an answer are combined."""

    # Members are put on one scale by SFT answers: this mean is subtracted, and the result divided by their
    # SD.
    offset: Offset


@option("rm_combination", "mean")
@dataclass(slots=True)
class Mean(Ensemble):
    """The mean over members."""


@option("rm_combination", "min")
@dataclass(slots=True)
class Minimum(Ensemble):
    """The lowest reward of the members: worst-case optimisation (WCO, 2310.02743, Eq. 5)."""


@option("rm_combination", "median")
@dataclass(slots=True)
class Median(Ensemble):
    """The median over members."""


@option("rm_combination", "uwo")
@dataclass(slots=True)
class UncertaintyWeighted(Ensemble):
    """The mean minus `weight` times the variance over members (UWO, 2310.02743, Eq. 6)."""

    weight: float  # Weight of the variance over members.

    def __post_init__(self) -> None:
        """Check ranges."""
        Ensemble.__post_init__(self)
        checks.not_negative(self, "weight")


@option("rm_combination", "lower_bound")
@dataclass(slots=True)
class LowerBound(Ensemble):
    """The mean minus a number of SDs over members."""

    sds: float  # Number of SDs over members that are subtracted from their mean.

    def __post_init__(self) -> None:
        """Check ranges."""
        Ensemble.__post_init__(self)
        checks.not_negative(self, "sds")


class Form(Enum):
    """The condition on each member's mean reward, and so the range of its multiplier (2310.04373)."""

    mu = "mu"  # the mean is at least the threshold; the multiplier is in (0, 1)
    xi = "xi"  # the mean is at the threshold; the multiplier is in (-1, 1)


@option("rm_combination", "constrained")
@dataclass(slots=True)
class Constrained(Ensemble):
    """A threshold on each member's mean reward, enforced by multipliers that weigh the members
    (2310.04373).

    The formulas are in `rlhf_lab.functional.multipliers`. The recorded proxy is the mean of the members.
    """

    form: Form  # Condition on each member's mean reward.
    # Thresholds in SDs of each member on SFT answers: one number for all members, or one for each.
    thresholds: list[float]
    lr: float  # Learning rate of the multipliers' parameters, per SD; they take one step for each rollout.
    momentum: float  # Momentum of the multipliers' SGD.
    limit: float  # Largest absolute value of the multipliers' parameters.

    def __post_init__(self) -> None:
        """Check ranges."""
        Ensemble.__post_init__(self)
        fits = len(self.thresholds) in (1, self.members)
        checks.check(self, "thresholds", fits, f"one number or {self.members}", "each member has one")
        finite = all(math.isfinite(threshold) for threshold in self.thresholds)
        checks.check(self, "thresholds", finite, "finite", "rewards are compared with them")
        checks.positive(self, "lr", "limit")
        checks.check(self, "momentum", 0 <= self.momentum < 1, "in [0, 1)", "at 1 it would never forget")


@option("rm_combination", "warm")
@dataclass(slots=True)
class WeightAverage(Several):
    """One reward model whose weights are the mean of the members' (WARM, 2401.12187); members share trunk
    and head.
    """

    def __post_init__(self) -> None:
        """Check ranges."""
        Several.__post_init__(self)
        shared = self.seeds is Seeds.finetune
        checks.check(self, "seeds", shared, "finetune", "only models with one initialisation can be averaged")
