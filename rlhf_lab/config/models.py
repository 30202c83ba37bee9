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

    hidden: int  # Width of the hidden states.
    layers: int  # Number of layers.
    heads: int  # Number of attention heads.
    intermediate: int  # Width of the MLPs.
    # SD of the weights before training; `null` is 1 / sqrt(inputs) of each layer, less for layers that write.
    init_sd: float | None
    tied: bool  # Whether the words that are read and the words that are written share their vectors.
    # Whether documents are cut into blocks of `task.prompt_tokens` + `task.answer_tokens` tokens; else each is a row.
    packed: bool
    steps: int  # Number of optimiser steps of pre-training.
    batch: int  # Number of blocks or documents in a step.
    lr: float  # Peak learning rate, after a warm-up of a twentieth of the steps.
    decay: float  # Share of the steps, the last ones, in which the learning rate falls to zero.
    seed: int  # Seed of the weights and of the order of the corpus.

    STAGE: ClassVar[str] = "base"

    def __post_init__(self) -> None:
        """Check ranges."""
        checks.seed(self)
        checks.positive(self, "hidden", "layers", "heads", "intermediate", "steps", "batch", "lr")
        if self.init_sd is not None:
            checks.positive(self, "init_sd")
        checks.check(self, "decay", 0 < self.decay <= 1, "in (0, 1]", "it is a share, and training ends at 0")
        whole = self.hidden % (2 * self.heads) == 0
        checks.check(self, "hidden", whole, "a multiple of 2 x heads", "rotary positions")


@option("model", "pretrained")
@dataclass(slots=True)
class PretrainedModel(Model):
    """A checkpoint: a local folder or a hub id with a pinned revision."""

    path: str = field(metadata=CONTENT)  # Local folder, or hub id.
    revision: str | None  # Commit of a hub id, 40 digits.

    STAGE: ClassVar[str] = "pretrained"


@dataclass(slots=True)
class SFT:
    """Supervised fine-tuning on demonstrations; its result is the initial policy and the KL reference."""

    steps: int  # Number of optimiser steps; 0 leaves the base model as it is.
    batch: int  # Number of demonstrations in a step.
    lr: float  # Peak learning rate.
    seed: int  # Seed of the order of the demonstrations.

    def __post_init__(self) -> None:
        """Check ranges."""
        checks.seed(self)
        checks.positive(self, "batch", "lr")
        checks.check(self, "steps", self.steps >= 0, ">= 0", "0 leaves the base model as it is")


class RewardInit(Enum):
    """The model that a reward model starts from."""

    lm = "lm"  # a language model of its own size
    sft = "sft"  # the initial policy; `rm.model` is not used
    scratch = "scratch"  # random weights


class RewardLoss(Enum):
    """A loss of the difference between the rewards of two answers."""

    bradley_terry = "bradley_terry"  # -log sigmoid(difference)
    hinge = "hinge"  # max(0, 1 - difference)


class Rankings(Enum):
    """How several pairs of one prompt are learned from."""

    whole = "whole"  # in one step, each with weight 1 / C(K, 2) (2203.02155, Eq. 1)
    shuffled = "shuffled"  # as pairs like any other, in different steps; this overfits in 2203.02155


class Half(Enum):
    """The training questions whose comparisons are learned from (2204.05862, section 4.2)."""

    both = "both"  # all
    first = "first"  # the first half
    second = "second"  # the second half


@dataclass(slots=True)
class RewardTraining:
    """How a reward model is trained on comparisons."""

    init: RewardInit  # The model that it starts from.
    loss: RewardLoss  # Loss of the difference between the rewards of two answers.
    # Difference that is asked for, per unit of the pair's difference in gold; 0 is none (2307.09288, Eq. 2).
    margin: float
    smoothing: float  # Share of each label that is given to the other side.
    # Step of the labels to the model's own predictions after each epoch; 0 is none (2401.16335).
    data_smoothing: float
    center: float  # Weight of the squared sum of a pair's rewards (2312.09244, Eq. 2).
    dropout: float  # Dropout of attention while training.
    frozen: bool  # Whether only the head learns.
    rankings: Rankings  # How several pairs of one prompt are learned from.
    half: Half  # Half of the training questions whose comparisons are learned from.
    epochs: int  # Number of passes over the pairs; 0 uses the checkpoint as it is.
    batch: int  # Number of pairs in a step.
    lr: float  # Peak learning rate.
    seed: int  # Seed of the head, of the order of pairs and of the labelled rest.
    head_seed: int | None  # Seed of the head alone; `null` takes `rm.seed`.

    def __post_init__(self) -> None:
        """Check ranges."""
        checks.seed(self)
        checks.positive(self, "batch", "lr")
        checks.check(self, "epochs", self.epochs >= 0, ">= 0", "0 uses the checkpoint as it is")
        checks.not_negative(self, "margin", "center")
        checks.share(self, "data_smoothing")
        few = 0 <= self.smoothing < 0.5
        checks.check(self, "smoothing", few, "in [0, 0.5)", "from 0.5 on the label is the other way round")
        checks.check(self, "dropout", 0 <= self.dropout < 1, "in [0, 1)", "at 1 nothing would be left")
        if self.head_seed is not None:
            whole = 0 <= self.head_seed < checks.SEEDS
            checks.check(self, "head_seed", whole, "in 0 .. 2^32 - 1", "random generators take no other seed")


@option("rm", "reward_model")
@dataclass(slots=True)
class RewardModel(RewardTraining):
    """A reward model: the language model that it starts from, and how it is trained."""

    model: Model  # The language model that it starts from.
