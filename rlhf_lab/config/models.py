"""Language models, how they are fine-tuned, and reward models."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import ClassVar

from rlhf_lab.config import ranges
from rlhf_lab.config.contents import CONTENT


@dataclass(slots=True)
class Model:
    """A language model to start from."""

    STAGE: ClassVar[str] = ""


@dataclass(slots=True)
class ScratchModel(Model):
    """A small Llama-style model trained from scratch on the task's base corpus."""

    hidden: int
    layers: int
    heads: int
    intermediate: int
    steps: int  # optimiser steps of pre-training
    batch: int  # blocks of prompt_tokens + answer_tokens tokens
    lr: float  # peak
    seed: int

    STAGE: ClassVar[str] = "rlhf_lab.stages.base"

    def __post_init__(self) -> None:
        """Check ranges."""
        ranges.seed(self)
        ranges.positive(self, "hidden", "layers", "heads", "intermediate", "steps", "batch", "lr")
        whole = self.hidden % (2 * self.heads) == 0
        ranges.check(self, "hidden", whole, "a multiple of 2 x heads", "rotary positions")


@dataclass(slots=True)
class PretrainedModel(Model):
    """A checkpoint: a local folder or a hub id with a pinned revision."""

    path: str = field(metadata=CONTENT)
    revision: str | None

    STAGE: ClassVar[str] = "rlhf_lab.stages.pretrained"


@dataclass(slots=True)
class SFT:
    """Supervised fine-tuning on demonstrations; its result is the initial policy and the KL reference."""

    steps: int
    batch: int
    lr: float
    seed: int

    def __post_init__(self) -> None:
        """Check ranges."""
        ranges.seed(self)
        ranges.positive(self, "steps", "batch", "lr")


class RewardInit(Enum):
    """Where a reward model's trunk comes from."""

    lm = "lm"  # a language model of its own size
    scratch = "scratch"  # random weights


@dataclass(slots=True)
class RewardModel:
    """A Bradley-Terry reward model."""

    model: Model
    init: RewardInit
    epochs: int  # 0 uses the checkpoint as it is
    batch: int  # pairs
    lr: float
    seed: int  # of the head, the order of pairs and the labelled tail

    def __post_init__(self) -> None:
        """Check ranges."""
        ranges.seed(self)
        ranges.positive(self, "batch", "lr")
        ranges.check(self, "epochs", self.epochs >= 0, ">= 0", "0 uses the checkpoint as it is")
