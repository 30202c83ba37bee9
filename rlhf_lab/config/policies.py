"""Ways to optimise against the proxy reward."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rlhf_lab.config import ranges


@dataclass(slots=True)
class Policy:
    """A way to optimise against the proxy reward, and how it is evaluated on held-out prompts."""

    seed: int
    prompts: int  # held-out prompts sampled at every evaluation; all there are if fewer
    samples: int  # answers for each of them at every evaluation

    STAGE: ClassVar[str] = ""
    NEEDS_REWARD_MODEL: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check ranges."""
        ranges.seed(self)
        ranges.positive(self, "prompts", "samples")


@dataclass(slots=True)
class BestOfN(Policy):
    """Best-of-n: `samples` SFT answers a prompt, from which the curve for every n is computed later."""

    STAGE: ClassVar[str] = "rlhf_lab.stages.policy.bon"
    NEEDS_REWARD_MODEL: ClassVar[bool] = False  # the samples do not depend on it, only their scores

    def __post_init__(self) -> None:
        """Check ranges."""
        Policy.__post_init__(self)
        ranges.check(self, "samples", self.samples >= 2, ">= 2", "the curve goes up to n = samples / 2")


@dataclass(slots=True)
class PPO(Policy):
    """Proximal policy optimisation with a critic of its own, started from the reward model (2203.02155, C.4)."""

    steps: int  # optimiser steps
    rollout: int  # answers per rollout
    minibatches: int  # a rollout is cut into so many for each pass
    passes: int  # over each rollout
    lr: float
    critic_lr: float
    warmup: int  # optimiser steps of linear warm-up
    beta2: float  # of Adam
    kl_coef: float  # per-token KL penalty against SFT in the reward, in SDs of the proxy per nat; 0 allowed
    clip: float  # of the probability ratio
    value_clip: float  # of the value's change, in SDs of the proxy
    gamma: float
    gae_lambda: float
    evaluations: int  # on a schedule even in optimiser steps, that is in sqrt(KL) where nothing penalises it

    STAGE: ClassVar[str] = "rlhf_lab.stages.policy.ppo"

    def __post_init__(self) -> None:
        """Check ranges."""
        Policy.__post_init__(self)
        ranges.positive(self, "steps", "rollout", "minibatches", "passes", "lr", "critic_lr", "evaluations")
        penalty = 0 <= self.kl_coef < float("inf")
        ranges.check(self, "kl_coef", penalty, ">= 0 and finite", "a negative penalty pays for drift")
        equal = self.rollout % self.minibatches == 0
        ranges.check(self, "rollout", equal, "a multiple of minibatches", "equal batches")
        ranges.check(self, "warmup", self.warmup >= 0, ">= 0", "it is a count")
        ranges.check(self, "beta2", 0 <= self.beta2 < 1, "in [0, 1)", "Adam divides by 1 - beta2")
        ranges.share(self, "gamma", "gae_lambda")
        ranges.positive(self, "clip", "value_clip")
