"""Language models, how they are fine-tuned, and reward models."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import ClassVar

from rlhf_lab.config import checks
from rlhf_lab.config.checks import CONTENT
from rlhf_lab.config.registry import option


@dataclass(slots=True)
class Model:
    """A language model to start from."""

    STAGE: ClassVar[str] = ""


@option("model", "scratch")
@dataclass(slots=True)
class ScratchModel(Model):
    """A small Llama-style model trained from scratch on the task's base corpus."""

    hidden: int
    layers: int
    heads: int
    intermediate: int
    init_sd: float  # of the weights before training
    steps: int  # optimiser steps of pre-training
    batch: int  # blocks of prompt_tokens + answer_tokens tokens
    lr: float  # peak
    seed: int

    STAGE: ClassVar[str] = "base"

    def __post_init__(self) -> None:
        """Check ranges."""
        checks.seed(self)
        checks.positive(self, "hidden", "layers", "heads", "intermediate", "init_sd", "steps", "batch", "lr")
        whole = self.hidden % (2 * self.heads) == 0
        checks.check(self, "hidden", whole, "a multiple of 2 x heads", "rotary positions")


@option("model", "pretrained")
@dataclass(slots=True)
class PretrainedModel(Model):
    """A checkpoint: a local folder or a hub id with a pinned revision."""

    path: str = field(metadata=CONTENT)
    revision: str | None

    STAGE: ClassVar[str] = "pretrained"


@dataclass(slots=True)
class SFT:
    """Supervised fine-tuning on demonstrations; its result is the initial policy and the KL reference."""

    steps: int
    batch: int
    lr: float
    seed: int

    def __post_init__(self) -> None:
        """Check ranges."""
        checks.seed(self)
        checks.positive(self, "steps", "batch", "lr")


class RewardInit(Enum):
    """Where a reward model's trunk comes from."""

    lm = "lm"  # a language model of its own size
    sft = "sft"  # the initial policy; its own model is not used
    scratch = "scratch"  # random weights


class RewardLoss(Enum):
    """A loss of the gap between the rewards of two answers."""

    bradley_terry = "bradley_terry"  # -log sigmoid(gap)
    hinge = "hinge"  # max(0, 1 - gap)


class Rankings(Enum):
    """How the pairs of one prompt are learned from, where there are several."""

    whole = "whole"  # in one step, each weighing 1 / C(K, 2) (2203.02155, Eq. 1)
    shuffled = "shuffled"  # as pairs like any other, in steps of their own: overfits there


class Half(Enum):
    """Which training questions' comparisons are learned from (2204.05862, section 4.2)."""

    both = "both"
    first = "first"
    second = "second"


@dataclass(slots=True)
class RewardTraining:
    """How a reward model is trained on comparisons."""

    init: RewardInit
    loss: RewardLoss
    margin: (
        float  # of the gap that is asked for, per unit of the gold gap of a pair; 0: none (2307.09288, Eq. 2)
    )
    smoothing: float  # share of each label that is given to the other side
    data_smoothing: (
        float  # step of the labels to the model's own predictions after each epoch (2401.16335); 0: none
    )
    center: float  # of the squared sum of a pair's rewards (2312.09244, Eq. 2)
    dropout: float  # of attention, while training
    frozen: bool  # only the head learns
    rankings: Rankings
    half: Half
    epochs: int  # 0 uses the checkpoint as it is
    batch: int  # pairs
    lr: float
    seed: int  # of the head, the order of pairs and the labelled tail
    head_seed: int | None  # of the head alone; null: seed

    def __post_init__(self) -> None:
        """Check ranges."""
        checks.seed(self)
        checks.positive(self, "batch", "lr")
        checks.check(self, "epochs", self.epochs >= 0, ">= 0", "0 uses the checkpoint as it is")
        checks.not_negative(self, "margin", "center")
        checks.share(self, "smoothing", "data_smoothing")
        checks.check(self, "dropout", 0 <= self.dropout < 1, "in [0, 1)", "something has to be left")
        if self.head_seed is not None:
            whole = 0 <= self.head_seed < checks.SEEDS
            checks.check(self, "head_seed", whole, "in 0 .. 2^32 - 1", "random generators take no other")


@option("rm", "reward_model")
@dataclass(slots=True)
class RewardModel(RewardTraining):
    """A reward model: the language model it starts from, and how it is trained."""

    model: Model
