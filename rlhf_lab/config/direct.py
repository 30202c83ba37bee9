"""Policies that learn without rollouts scored step by step: from the preference pairs, or from chosen answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rlhf_lab.config import ranges
from rlhf_lab.config.policies import Learned, Scheduled


@dataclass(slots=True)
class Direct(Scheduled):
    """Direct alignment on the pairs that the reward model would learn from; evaluated on answers of its own."""

    epochs: int  # over the pairs; choose several evaluations for each
    batch: int  # pairs in an optimiser step; of kto, half the answers in one
    beta: float  # the pull to the reference, see each method

    NEEDS: ClassVar[tuple[str, ...]] = ("pairs",)

    def __post_init__(self) -> None:
        """Check ranges."""
        Scheduled.__post_init__(self)
        ranges.positive(self, "epochs", "batch", "beta")


@dataclass(slots=True)
class DPO(Direct):
    """Direct preference optimisation: -log sigmoid(beta x difference of log-ratios) (2305.18290, Eq. 7)."""

    STAGE: ClassVar[str] = "rlhf_lab.stages.policy.dpo"
    LOSS: ClassVar[str] = "sigmoid"  # TRL's name


@dataclass(slots=True)
class IPO(DPO):
    """Identity preference optimisation: (difference of log-ratios - 1 / (2 beta))^2 (2310.12036, Eq. 17).

    A log-ratio is summed over an answer's tokens, as it is in the other losses; TRL by itself takes the mean.
    """

    LOSS: ClassVar[str] = "ipo"


@dataclass(slots=True)
class SLiC(DPO):
    """Sequence likelihood calibration: max(0, 1 - beta x difference of log-ratios) (2305.10425)."""

    LOSS: ClassVar[str] = "hinge"


@dataclass(slots=True)
class KTO(Direct):
    """Kahneman-Tversky optimisation on the pairs' answers taken one by one (2402.01306): 1 - sigmoid(beta x (log-ratio
    - z)) of a chosen answer, 1 - sigmoid(beta x (z - log-ratio)) of a rejected one, with z >= 0 the batch's mean
    log-ratio of answers to other prompts.
    """

    STAGE: ClassVar[str] = "rlhf_lab.stages.policy.kto"


@dataclass(slots=True)
class ExpertIteration(Learned):
    """Rounds of best-of-n on training prompts followed by fine-tuning on what was chosen (2305.14387, App. A).

    The policy goes on from round to round; Adam starts afresh in each, at a constant rate.
    """

    rounds: int  # each ends with an evaluation
    asked: int  # training prompts in a round; all there are if fewer
    best_of: int  # answers to each, of which the one with the highest proxy is learned
    steps: int  # optimiser steps of fine-tuning in a round
    batch: int  # answers in an optimiser step

    STAGE: ClassVar[str] = "rlhf_lab.stages.policy.expert_iteration"

    def __post_init__(self) -> None:
        """Check ranges."""
        Learned.__post_init__(self)
        ranges.positive(self, "rounds", "asked", "steps", "batch")
        ranges.check(self, "best_of", self.best_of >= 2, ">= 2", "the best of one answer is any answer")
