"""Answers that are compared, and who says which of them is better."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

from rlhf_lab.config import ranges
from rlhf_lab.config.models import Model
from rlhf_lab.config.tasks import SyntheticAssistant, Task


class Writer(Enum):
    """Whose answers are compared."""

    sft = "sft"  # the policy that is optimised: on-policy
    base = "base"  # the language model before fine-tuning: off-policy


@dataclass(slots=True)
class Preferences:
    """Comparisons of answers to training prompts."""

    pairs: int  # at most; rankings are whole
    answers: int  # to each prompt, all pairs of which are compared (2203.02155, section 3.5)
    writer: Writer
    seed: int

    def __post_init__(self) -> None:
        """Check ranges."""
        ranges.seed(self)
        ranges.positive(self, "pairs")
        ranges.check(self, "answers", 2 <= self.answers <= 9, "in 2 .. 9", "it takes two to compare")
        enough = self.pairs >= self.pairs_of_prompt
        ranges.check(self, "pairs", enough, f">= {self.pairs_of_prompt}", "one ranking has so many pairs")

    @property
    def pairs_of_prompt(self) -> int:
        """How many pairs one ranking has, C(K, 2)."""
        return self.answers * (self.answers - 1) // 2


@dataclass(slots=True)
class WrittenPreferences(Preferences):
    """Comparisons, and the language model whose answers are compared."""

    model: Model | None  # fine-tuned like the policy's for the writer `sft`; null: the policy's own


@dataclass(slots=True)
class Labeler:
    """Who says which answer of a pair is better."""

    TASKS: ClassVar[tuple[type, ...]] = (Task,)  # those whose gold it can make use of


@dataclass(slots=True)
class GoldArgmax(Labeler):
    """The answer with the higher gold, always (2210.10760)."""


@dataclass(slots=True)
class Unsure(Labeler):
    """One whose preference is a share, of a probability or of votes."""

    soft: bool  # the label is the share itself; else the side that was drawn or has the majority


@dataclass(slots=True)
class Boltzmann(Unsure):
    """Bradley-Terry noise: P(first) = sigmoid((gold_0 - gold_1) / temperature)."""

    temperature: float  # gold units

    def __post_init__(self) -> None:
        """Check ranges."""
        ranges.positive(self, "temperature")


@dataclass(slots=True)
class Flip(Labeler):
    """The better answer, except that a share of labels is flipped (2310.02743); 0.5 is the drift control."""

    rate: float

    def __post_init__(self) -> None:
        """Check ranges."""
        ranges.share(self, "rate")


@dataclass(slots=True)
class Pool(Unsure):
    """Annotators with weights of their own on the parts of gold and on length; several vote on each pair.

    An annotator's utility is gold + sum of w x part, each part in SDs over the answers and w normal of SD `bias`.
    """

    annotators: int  # in the pool
    votes: int  # different annotators asked about each pair; the majority's label, a coin when they are even
    bias: float  # gold units
    temperature: float  # of each annotator's Bradley-Terry noise, gold units

    TASKS: ClassVar[tuple[type, ...]] = (SyntheticAssistant,)

    def __post_init__(self) -> None:
        """Check ranges."""
        ranges.positive(self, "annotators", "votes", "temperature")
        ranges.not_negative(self, "bias")
        enough = self.votes <= self.annotators
        ranges.check(self, "votes", enough, f"<= annotators ({self.annotators})", "nobody votes twice")
