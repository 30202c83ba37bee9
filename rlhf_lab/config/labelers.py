"""Answers that are compared, and who says which of them is better.

Labelers who see something else than gold: what a person likes, and what a person cannot check.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import ClassVar

from rlhf_lab.config import checks
from rlhf_lab.config.models import Model
from rlhf_lab.config.registry import option
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
        checks.seed(self)
        checks.positive(self, "pairs")
        checks.check(self, "answers", 2 <= self.answers <= 9, "in 2 .. 9", "it takes two to compare")
        enough = self.pairs >= self.pairs_of_prompt
        checks.check(self, "pairs", enough, f">= {self.pairs_of_prompt}", "one ranking has so many pairs")

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


@option("labeler", "gold_argmax")
@dataclass(slots=True)
class GoldArgmax(Labeler):
    """The answer with the higher gold, always (2210.10760)."""


@dataclass(slots=True)
class Unsure(Labeler):
    """One whose preference is a share, of a probability or of votes."""

    soft: bool  # the label is the share itself; else the side that was drawn or has the majority


@option("labeler", "boltzmann")
@dataclass(slots=True)
class Boltzmann(Unsure):
    """Bradley-Terry noise: P(first) = sigmoid((gold_0 - gold_1) / temperature)."""

    temperature: float  # gold units

    def __post_init__(self) -> None:
        """Check ranges."""
        checks.positive(self, "temperature")


@option("labeler", "flip")
@dataclass(slots=True)
class Flip(Labeler):
    """The better answer, except that a share of labels is flipped (2310.02743); 0.5 is the drift control."""

    rate: float

    def __post_init__(self) -> None:
        """Check ranges."""
        checks.share(self, "rate")


@option("labeler", "pool")
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
        checks.positive(self, "annotators", "votes", "temperature")
        checks.not_negative(self, "bias")
        enough = self.votes <= self.annotators
        checks.check(self, "votes", enough, f"<= annotators ({self.annotators})", "nobody votes twice")


@dataclass(slots=True)
class Biased(Labeler):
    """One whose utility of an answer is not gold alone."""

    temperature: float  # of Bradley-Terry noise, gold units; 0: always the answer with the higher utility

    TASKS: ClassVar[tuple[type[Task], ...]] = (SyntheticAssistant,)

    def __post_init__(self) -> None:
        """Check ranges."""
        checks.check(self, "temperature", self.temperature >= 0, ">= 0", "0 is a labeler without noise")


@option("labeler", "sycophantic")
@dataclass(slots=True)
class Sycophantic(Biased):
    """Gold, and a bonus for what pleases the user: agreement, praise of what he likes, giving way to his doubt."""

    bonus: float  # gold units; a negative one for a labeler who likes to be contradicted


@option("labeler", "cautious")
@dataclass(slots=True)
class Cautious(Biased):
    """Gold, and a bonus for a refusal, whatever was asked."""

    bonus: float  # gold units; a negative one for a labeler who wants to be helped, -3 to any request


@option("labeler", "confident")
@dataclass(slots=True)
class Confident(Biased):
    """Gold, and a bonus for sounding sure (and a malus for sounding unsure)."""

    bonus: float  # gold units


@option("labeler", "length")
@dataclass(slots=True)
class Length(Biased):
    """Gold, and a bonus for every token."""

    bonus: float  # gold units a token


@option("labeler", "limited")
@dataclass(slots=True)
class Limited(Biased):
    """Gold where he can check the claim; elsewhere he takes a claim that sounds sure for right."""

    competence: int  # operations of the hardest sums that he can check; -1: not even facts

    def __post_init__(self) -> None:
        """Check ranges."""
        Biased.__post_init__(self)
        checks.check(self, "competence", self.competence >= -1, ">= -1", "-1 checks nothing")


@option("labeler", "mixture")
@dataclass(slots=True)
class Mixture(Labeler):
    """Two labelers, each asked about a share of the prompts."""

    first: Labeler
    second: Labeler
    share: float  # of prompts that the second is asked about

    TASKS: ClassVar[tuple[type[Task], ...]] = (SyntheticAssistant,)

    def __post_init__(self) -> None:
        """Check ranges."""
        checks.share(self, "share")


class Tone(Enum):
    """How users state what they believe."""

    sure = "sure"
    unsure = "unsure"


@option("labeler", "vulnerable")
@dataclass(slots=True)
class Vulnerable(Mixture):
    """Two labelers, of whom the prompt tells which is asked: some users can be gamed (2411.02306).

    `share` is of prompts of the vulnerable; the first labeler is asked about all others.
    """

    users: Tone  # the vulnerable: users who state a belief in this tone


@option("labeler", "flawed")
@dataclass(slots=True)
class Flawed(Biased):
    """Several flaws in one: gold, and what each of them adds to it; without any it is gold."""

    flaws: dict[str, Labeler] = field(default_factory=dict)  # by a name of any choice

    def __post_init__(self) -> None:
        """Check ranges."""
        Biased.__post_init__(self)
        for name, flaw in self.flaws.items():
            known = isinstance(flaw, Biased)
            checks.check(
                self,
                "flaws",
                known,
                "biased labelers alone",
                f"{name} adds nothing to gold that could be added up",
            )
            silent = known and flaw.temperature == 0
            checks.check(
                self,
                "flaws",
                silent,
                "flaws of temperature 0",
                f"the noise is the whole labeler's, not {name}'s",
            )
