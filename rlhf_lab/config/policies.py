"""Ways to optimise against the proxy reward: what all, and all that are trained, have in common."""

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
    NEEDS: ClassVar[tuple[str, ...]] = ("proxy",)  # beside task and sft: the reward model, the pairs
    USES_GOLD: ClassVar[bool] = False  # whether the true reward has a say in what is chosen

    def __post_init__(self) -> None:
        """Check ranges."""
        ranges.seed(self)
        ranges.positive(self, "prompts", "samples")


@dataclass(slots=True)
class Learned(Policy):
    """A policy whose weights Adam moves."""

    lr: float  # at its largest
    beta2: float  # of Adam

    def __post_init__(self) -> None:
        """Check ranges."""
        Policy.__post_init__(self)
        ranges.positive(self, "lr")
        ranges.check(self, "beta2", 0 <= self.beta2 < 1, "in [0, 1)", "Adam divides by 1 - beta2")


@dataclass(slots=True)
class Scheduled(Learned):
    """Training in one go: a rate that rises once and stays, and evaluations even in optimiser steps."""

    warmup: int  # optimiser steps of linear warm-up
    evaluations: int

    def __post_init__(self) -> None:
        """Check ranges."""
        Learned.__post_init__(self)
        ranges.positive(self, "evaluations")
        ranges.check(self, "warmup", self.warmup >= 0, ">= 0", "it is a count")
