"""Comparisons of answers, and the labelers that say which answer of a pair is better.

Biased labelers see something else than gold: what a person likes, or what a person cannot check.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import ClassVar

from rlhf_lab.config import checks
from rlhf_lab.config.models import Model
from rlhf_lab.config.registry import option
from rlhf_lab.config.tasks import EMBEDDED, SyntheticAssistant, Task


class Writer(Enum):
    """The model whose answers are compared."""

    sft = "sft"  # the SFT model, which is the policy that is optimised (on-policy)
    base = "base"  # the language model before fine-tuning (off-policy)


@dataclass(slots=True)
class Preferences:
    """Comparisons of answers to training prompts."""

    pairs: int  # Largest number of pairs; the answers to one prompt are a ranking, and rankings stay whole.
    # Number of answers to each prompt, 2 to 9; all pairs of them are compared (2203.02155, section 3.5).
    answers: int
    writer: Writer  # The model whose answers are compared.
    seed: int  # Seed of the prompts, the answers and the labels.

    def __post_init__(self) -> None:
        """Check ranges."""
        checks.seed(self)
        checks.positive(self, "pairs")
        checks.check(self, "answers", 2 <= self.answers <= 9, "in 2 .. 9", "two answers or more are compared")
        enough = self.pairs >= self.pairs_of_prompt
        checks.check(self, "pairs", enough, f">= {self.pairs_of_prompt}", "one ranking has that many pairs")

    @property
    def pairs_of_prompt(self) -> int:
        """How many pairs one ranking has, C(K, 2)."""
        return self.answers * (self.answers - 1) // 2


@dataclass(slots=True)
class WrittenPreferences(Preferences):
    """Comparisons, and the language model whose answers are compared."""

    # Language model whose answers are compared, such as `model@preferences.model=25k`; `null` is the policy's
    # own. With the writer `sft` it is fine-tuned as `sft` says.
    model: Model | None


@dataclass(slots=True)
class Labeler:
    """The rule that says which answer of a pair is better."""

    TASKS: ClassVar[tuple[type, ...]] = (Task,)  # those whose gold it can make use of

    def parts(self) -> tuple[Labeler, ...]:
        """Return the labelers of which this one is made; none for most."""
        return ()


@option("labeler", "gold_argmax")
@dataclass(slots=True)
class GoldArgmax(Labeler):
    """The answer with the higher gold reward is always preferred (2210.10760)."""


@dataclass(slots=True)
class Unsure(Labeler):
    """A labeler whose preference is a share: a probability, or a share of votes."""

    # Whether the label is the share itself instead of the side that was drawn or has the majority.
    soft: bool


@option("labeler", "boltzmann")
@dataclass(slots=True)
class Boltzmann(Unsure):
    """Bradley-Terry noise: P(first) = sigmoid((gold_0 - gold_1) / temperature)."""

    temperature: float  # Temperature of the noise in gold units.

    def __post_init__(self) -> None:
        """Check ranges."""
        checks.positive(self, "temperature")


@option("labeler", "flip")
@dataclass(slots=True)
class Flip(Labeler):
    """The answer with the higher gold is preferred, except that a share of labels is flipped (2310.02743)."""

    # Share of labels that are flipped; 0.5 is the drift control, from which nothing can be learned.
    rate: float

    def __post_init__(self) -> None:
        """Check ranges."""
        checks.share(self, "rate")


@option("labeler", "pool")
@dataclass(slots=True)
class Pool(Unsure):
    """Annotators with weights of their own on the parts of gold and on length; several vote on each pair.

    An annotator's utility is gold + sum of w x part, each part in SDs over the answers and w normal of SD
    `bias`.
    """

    annotators: int  # Number of annotators.
    # Number of different annotators who are asked about each pair; the majority's label counts, and a coin
    # decides when they are even.
    votes: int
    bias: float  # SD of the annotators' weights on the parts of gold and on length, in gold units.
    temperature: float  # Temperature of each annotator's Bradley-Terry noise, in gold units.

    TASKS: ClassVar[tuple[type, ...]] = EMBEDDED

    def __post_init__(self) -> None:
        """Check ranges."""
        checks.positive(self, "annotators", "votes", "temperature")
        checks.not_negative(self, "bias")
        enough = self.votes <= self.annotators
        checks.check(
            self, "votes", enough, f"<= annotators ({self.annotators})", "an annotator votes once on a pair"
        )


@dataclass(slots=True)
class Biased(Labeler):
    """A labeler whose utility of an answer is not gold alone."""

    # Temperature of the Bradley-Terry noise in gold units; with 0 the answer with the higher utility is
    # always preferred.
    temperature: float

    TASKS: ClassVar[tuple[type[Task], ...]] = EMBEDDED

    def __post_init__(self) -> None:
        """Check ranges."""
        checks.check(self, "temperature", self.temperature >= 0, ">= 0", "0 is a labeler without noise")


@option("labeler", "sycophantic")
@dataclass(slots=True)
class Sycophantic(Biased):
    """Gold, and a bonus for what pleases the user: agreement, praise of what the user likes, giving way
    to doubt.
    """

    # Bonus in gold units for what pleases the user; a negative one is of a labeler who likes to be
    # contradicted.
    bonus: float

    TASKS: ClassVar[tuple[type[Task], ...]] = (SyntheticAssistant,)


@option("labeler", "cautious")
@dataclass(slots=True)
class Cautious(Biased):
    """Gold, and a bonus for a refusal, whatever was asked."""

    # Bonus in gold units for a refusal; a negative one is of a labeler who wants help, -3 with any request.
    bonus: float

    TASKS: ClassVar[tuple[type[Task], ...]] = (SyntheticAssistant,)


@option("labeler", "confident")
@dataclass(slots=True)
class Confident(Biased):
    """Gold, a bonus for sounding sure, and the opposite for sounding unsure."""

    bonus: float  # Bonus in gold units for sounding sure.


@option("labeler", "length")
@dataclass(slots=True)
class Length(Biased):
    """Gold, and a bonus for every token."""

    bonus: float  # Bonus in gold units for each token.


@option("labeler", "limited")
@dataclass(slots=True)
class Limited(Biased):
    """Gold where the labeler can check claims; elsewhere what sounds right: a sure claim, or what most believe."""

    # Hardest prompts that the labeler can check: the number of operations of a sum (0 is facts only), or the quarter of
    # the field guide's animals, 0 to 3 from the most frequent on; -1 checks nothing.
    competence: int

    def __post_init__(self) -> None:
        """Check ranges."""
        Biased.__post_init__(self)
        checks.check(self, "competence", self.competence >= -1, ">= -1", "-1 checks nothing")


@option("labeler", "mixture")
@dataclass(slots=True)
class Mixture(Labeler):
    """Two labelers, each asked about a share of the prompts."""

    first: Labeler  # The first labeler, such as `labeler@labeler.first=length`.
    second: Labeler  # The second labeler, such as `labeler@labeler.second=limited`.
    # Share of prompts that the second labeler is asked about; with `vulnerable`, share of the prompts of
    # those users.
    share: float

    TASKS: ClassVar[tuple[type[Task], ...]] = EMBEDDED

    def __post_init__(self) -> None:
        """Check ranges."""
        checks.share(self, "share")


class Tone(Enum):
    """How users state what they believe."""

    sure = "sure"  # users who are sure
    unsure = "unsure"  # users who are unsure


@option("labeler", "vulnerable")
@dataclass(slots=True)
class Vulnerable(Mixture):
    """Two labelers, of whom the prompt decides which is asked: some users can be gamed (2411.02306).

    `share` is of prompts of the vulnerable users; the first labeler is asked about all others.
    """

    # The users whose prompts the second labeler is asked about: those who state a belief in this tone.
    users: Tone

    TASKS: ClassVar[tuple[type[Task], ...]] = (SyntheticAssistant,)


@option("labeler", "flawed")
@dataclass(slots=True)
class Flawed(Biased):
    """Several flaws in one labeler: gold, and what each flaw adds to it. Without any flaw it is gold."""

    # Flaws by name, each with a dose of its own, such as `labeler.flaws.sycophantic.bonus=1`; another labeler
    # takes the place of one with `labeler@labeler.flaws.confident=length`.
    flaws: dict[str, Labeler] = field(default_factory=dict)

    def parts(self) -> tuple[Labeler, ...]:
        """Return the labelers whose flaws these are."""
        return tuple(self.flaws.values())

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
                f"{name} adds nothing to gold, so that it cannot be summed with other flaws",
            )
            silent = known and flaw.temperature == 0
            checks.check(
                self,
                "flaws",
                silent,
                "flaws of temperature 0",
                f"the noise is the whole labeler's, not {name}'s",
            )
