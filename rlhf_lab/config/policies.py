"""Methods that optimise the proxy reward; those that are trained on rollouts are in `online`.

- Rules that choose among stored SFT answers (best-of-n and its kin). Nothing is trained, and every strength is computed
  from one table. The table does not depend on the rule or on the reward model, so that rules share it, and the fields
  of a rule are in the key of the run alone. Rewards are in SDs of the proxy on the table.
- Direct alignment, which learns from the preference pairs (DPO, IPO, SLiC, KTO).
- Expert iteration, which learns from its own best answers.
- Controls, which move away from SFT without any reward.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from typing import ClassVar

from rlhf_lab.config import checks
from rlhf_lab.config.registry import option


@dataclass(slots=True)
class Policy:
    """A method that optimises the proxy reward, and how it is evaluated on held-out prompts."""

    seed: int  # Seed of training and of sampling.
    prompts: int  # Number of held-out prompts at every evaluation; all there are if there are fewer.
    # Number of answers to each of them at every evaluation; for best-of-n the number of stored answers.
    samples: int

    STAGE: ClassVar[str] = ""
    NEEDS: ClassVar[tuple[str, ...]] = ("proxy",)  # beside task and sft: the reward model, the pairs
    USES_GOLD: ClassVar[bool] = False  # whether the true reward has a say in what is chosen

    def __post_init__(self) -> None:
        """Check ranges."""
        checks.seed(self)
        checks.positive(self, "prompts", "samples")


@dataclass(slots=True)
class Learned(Policy):
    """A policy whose weights are trained with Adam."""

    lr: float  # Peak learning rate.
    beta2: float  # Adam's beta2.

    def __post_init__(self) -> None:
        """Check ranges."""
        Policy.__post_init__(self)
        checks.positive(self, "lr")
        checks.check(self, "beta2", 0 <= self.beta2 < 1, "in [0, 1)", "Adam divides by 1 - beta2")


@dataclass(slots=True)
class Scheduled(Learned):
    """Training in one go: the rate rises once and stays, and evaluations are even in optimiser steps."""

    warmup: int  # Number of optimiser steps of linear warm-up.
    evaluations: int  # Number of evaluations beside that of SFT.

    def __post_init__(self) -> None:
        """Check ranges."""
        Learned.__post_init__(self)
        checks.positive(self, "evaluations")
        checks.check(self, "warmup", self.warmup >= 0, ">= 0", "it is a count")


@dataclass(slots=True)
class SFTAnswers:
    """The table of SFT answers that rules choose from."""

    seed: int  # Seed of sampling.
    prompts: int  # Number of held-out prompts.
    samples: int  # Number of answers to each.


@option("policy", "bon")
@dataclass(slots=True)
class BestOfN(Policy):
    """Best-of-n: the answer with the highest proxy among n."""

    STAGE: ClassVar[str] = "sft_answers"
    NEEDS: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        """Check ranges."""
        Policy.__post_init__(self)
        checks.check(self, "samples", self.samples >= 2, ">= 2", "the curve goes up to n = samples / 2")

    def table(self) -> SFTAnswers:
        """What has to be sampled."""
        return SFTAnswers(self.seed, self.prompts, self.samples)


@option("policy", "soft_bon")
@dataclass(slots=True)
class SoftBestOfN(BestOfN):
    """One of n answers, with probabilities proportional to exp(inverse_temperature x proxy) (2506.19248)."""

    inverse_temperature: float  # Inverse temperature per SD of the proxy; a large one is best-of-n.

    def __post_init__(self) -> None:
        """Check ranges."""
        BestOfN.__post_init__(self)
        checks.positive(self, "inverse_temperature")


@option("policy", "best_of_poisson")
@dataclass(slots=True)
class BestOfPoisson(BestOfN):
    """Best of 1 + Poisson(n - 1) answers: close to the exponential tilt of the proxy's quantiles
    (2506.19248).
    """


@option("policy", "mbr_bon")
@dataclass(slots=True)
class MBRBestOfN(BestOfN):
    """The answer with the highest proxy + proximity x likeness to the other answers among n (2404.01054)."""

    proximity: float  # Weight of the likeness to the other answers: SDs of the proxy per SD of likeness.

    def __post_init__(self) -> None:
        """Check ranges."""
        BestOfN.__post_init__(self)
        checks.positive(self, "proximity")


@option("policy", "pessimism")
@dataclass(slots=True)
class Pessimism(BestOfN):
    """One of n answers, with probabilities proportional to relu(proxy - level) / beta of mean 1
    (2503.21878).
    """

    beta: float  # Range of the proxy, in SDs, over which the probability rises; a small one is best-of-n.

    def __post_init__(self) -> None:
        """Check ranges."""
        BestOfN.__post_init__(self)
        checks.positive(self, "beta")


class Hedged(Enum):
    """The rule whose strength is tuned."""

    bon = "bon"  # best-of-n; its n is tuned
    soft_bon = "soft_bon"  # soft best-of-n at n = samples / 4; its inverse temperature is tuned
    best_of_poisson = "best_of_poisson"  # best-of-Poisson; the mean number of answers is tuned


@option("policy", "hedge_tune")
@dataclass(slots=True)
class HedgeTune(BestOfN):
    """A rule at the strength where gold stops to rise, found from gold on a few questions (2506.19248)."""

    rule: Hedged  # The rule whose strength is tuned.
    gold_questions: int  # Number of questions whose gold is looked at; they are left out of what is reported.

    USES_GOLD: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check ranges."""
        BestOfN.__post_init__(self)
        checks.positive(self, "gold_questions")


@dataclass(slots=True)
class Direct(Scheduled):
    """Direct alignment on the pairs that a reward model would learn from; evaluated on answers of its own."""

    epochs: int  # Number of passes over the pairs; choose several evaluations for each.
    batch: int  # Number of pairs in an optimiser step; with `kto`, half the number of answers.
    beta: float  # Strength of the pull to the reference in the method's own loss.

    NEEDS: ClassVar[tuple[str, ...]] = ("pairs",)

    def __post_init__(self) -> None:
        """Check ranges."""
        Scheduled.__post_init__(self)
        checks.positive(self, "epochs", "batch", "beta")

    def optimiser_steps(self, pairs: int) -> int:
        """Return the optimiser steps over so many pairs; ValueError if it is one, and that has a rate of 0."""
        steps = -(-self.epochs * pairs // self.batch)
        if steps == 1 and self.warmup > 0:
            raise ValueError(
                f"policy.epochs={self.epochs} of {pairs} pairs is one step of policy.batch={self.batch}, and the first "
                "step of a warm-up has a rate of 0: lower policy.batch, or set policy.warmup=0"
            )
        return steps


@option("policy", "dpo")
@dataclass(slots=True)
class DPO(Direct):
    """Direct preference optimisation: -log sigmoid(beta x difference of log-ratios) (2305.18290, Eq. 7)."""

    STAGE: ClassVar[str] = "dpo"
    LOSS: ClassVar[str] = "sigmoid"  # TRL's name


@option("policy", "ipo")
@dataclass(slots=True)
class IPO(DPO):
    """Identity preference optimisation: (difference of log-ratios - 1 / (2 beta))^2 (2310.12036, Eq. 17).

    A log-ratio is summed over an answer's tokens, as it is in the other losses; TRL by itself takes the mean.
    """

    LOSS: ClassVar[str] = "ipo"


@option("policy", "slic")
@dataclass(slots=True)
class SLiC(DPO):
    """Sequence likelihood calibration: max(0, 1 - beta x difference of log-ratios) (2305.10425)."""

    LOSS: ClassVar[str] = "hinge"


@option("policy", "kto")
@dataclass(slots=True)
class KTO(Direct):
    """Kahneman-Tversky optimisation on the pairs' answers taken one by one (2402.01306): 1 - sigmoid(beta x (log-ratio
    - z)) of a chosen answer, 1 - sigmoid(beta x (z - log-ratio)) of a rejected one, with z >= 0 the batch's mean
    log-ratio of answers to other prompts.
    """

    STAGE: ClassVar[str] = "kto"


@option("policy", "expert_iteration")
@dataclass(slots=True)
class ExpertIteration(Learned):
    """Rounds of best-of-n on training prompts followed by fine-tuning on what was chosen (2305.14387,
    App. A).

    The policy goes on from round to round; Adam starts afresh in each, at a constant rate.
    """

    rounds: int  # Number of rounds; each ends with an evaluation.
    asked: int  # Number of training prompts in a round; all there are if there are fewer.
    best_of: int  # Number of answers to each, of which the one with the highest proxy is learned.
    steps: int  # Number of optimiser steps of fine-tuning in a round.
    batch: int  # Number of answers in an optimiser step.

    STAGE: ClassVar[str] = "expert_iteration"

    def __post_init__(self) -> None:
        """Check ranges."""
        Learned.__post_init__(self)
        checks.positive(self, "rounds", "asked", "steps", "batch")
        checks.check(self, "best_of", self.best_of >= 2, ">= 2", "the best of one answer is any answer")


# --- controls -------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Untrained(Policy):
    """A change of the SFT model that no reward asks for, evaluated at several strengths in the place of checkpoints."""

    NEEDS: ClassVar[tuple[str, ...]] = ()


@option("policy", "weight_noise")
@dataclass(slots=True)
class WeightNoise(Untrained):
    """The SFT model with isotropic Gaussian noise on all weights, in one direction, at chosen KLs."""

    kls: list[float]  # KLs from SFT in nats, ascending, that the scale of the noise is searched for.

    STAGE: ClassVar[str] = "weight_noise"

    def __post_init__(self) -> None:
        """Check ranges."""
        Policy.__post_init__(self)
        rising = all(low < high for low, high in pairwise([0.0, *self.kls]))
        checks.check(
            self, "kls", bool(self.kls) and rising, "one or more, ascending from above 0", "they are a curve"
        )
        checks.check(self, "kls", all(map(math.isfinite, self.kls)), "finite", "they are searched for")


@option("policy", "temperature")
@dataclass(slots=True)
class Temperature(Untrained):
    """The SFT model sampled at lower temperatures: all that sharpening alone can gain."""

    temperatures: list[float]  # Temperatures, descending from below 1.

    STAGE: ClassVar[str] = "temperature"

    def __post_init__(self) -> None:
        """Check ranges."""
        Policy.__post_init__(self)
        falling = all(high > low for high, low in pairwise([1.0, *self.temperatures]))
        some = bool(self.temperatures) and min(self.temperatures) > 0
        checks.check(
            self,
            "temperatures",
            some and falling,
            "one or more, descending from below 1 to above 0",
            "SFT is at 1",
        )
