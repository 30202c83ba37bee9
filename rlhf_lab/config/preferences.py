"""Pairs of answers, and who says which of two is better."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rlhf_lab.config import ranges
from rlhf_lab.config.tasks import Task


@dataclass(slots=True)
class Preferences:
    """Pairs of SFT answers to training prompts."""

    pairs: int
    seed: int

    def __post_init__(self) -> None:
        """Check ranges."""
        ranges.seed(self)
        ranges.positive(self, "pairs")


@dataclass(slots=True)
class Labeler:
    """Who says which answer of a pair is better."""

    TASKS: ClassVar[tuple[type, ...]] = (Task,)  # those whose gold it can make use of


@dataclass(slots=True)
class GoldArgmax(Labeler):
    """The answer with the higher gold, always (2210.10760)."""


@dataclass(slots=True)
class Boltzmann(Labeler):
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
