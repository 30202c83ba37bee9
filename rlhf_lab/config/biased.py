"""Labelers who see something else than gold: what a person likes, and what a person cannot check."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import ClassVar

from rlhf_lab.config import ranges
from rlhf_lab.config.preferences import Labeler
from rlhf_lab.config.tasks import SyntheticAssistant, Task


@dataclass(slots=True)
class Biased(Labeler):
    """One whose utility of an answer is not gold alone."""

    temperature: float  # of Bradley-Terry noise, gold units; 0: always the answer with the higher utility

    TASKS: ClassVar[tuple[type[Task], ...]] = (SyntheticAssistant,)

    def __post_init__(self) -> None:
        """Check ranges."""
        ranges.check(self, "temperature", self.temperature >= 0, ">= 0", "0 is a labeler without noise")


@dataclass(slots=True)
class Sycophantic(Biased):
    """Gold, and a bonus for what pleases the user: agreement, praise of what he likes, giving way to his doubt."""

    bonus: float  # gold units; a negative one for a labeler who likes to be contradicted


@dataclass(slots=True)
class Cautious(Biased):
    """Gold, and a bonus for a refusal, whatever was asked."""

    bonus: float  # gold units; a negative one for a labeler who wants to be helped, -3 to any request


@dataclass(slots=True)
class Confident(Biased):
    """Gold, and a bonus for sounding sure (and a malus for sounding unsure)."""

    bonus: float  # gold units


@dataclass(slots=True)
class Length(Biased):
    """Gold, and a bonus for every token."""

    bonus: float  # gold units a token


@dataclass(slots=True)
class Limited(Biased):
    """Gold where he can check the claim; elsewhere he takes a claim that sounds sure for right."""

    competence: int  # operations of the hardest sums that he can check; -1: not even facts

    def __post_init__(self) -> None:
        """Check ranges."""
        Biased.__post_init__(self)
        ranges.check(self, "competence", self.competence >= -1, ">= -1", "-1 checks nothing")


@dataclass(slots=True)
class Mixture(Labeler):
    """Two labelers, each asked about a share of the prompts."""

    first: Labeler
    second: Labeler
    share: float  # of prompts that the second is asked about

    TASKS: ClassVar[tuple[type[Task], ...]] = (SyntheticAssistant,)

    def __post_init__(self) -> None:
        """Check ranges."""
        ranges.share(self, "share")


class Tone(Enum):
    """How users state what they believe."""

    sure = "sure"
    unsure = "unsure"


@dataclass(slots=True)
class Vulnerable(Mixture):
    """Two labelers, of whom the prompt tells which is asked: some users can be gamed (2411.02306).

    `share` is of prompts of the vulnerable; the first labeler is asked about all others.
    """

    users: Tone  # the vulnerable: users who state a belief in this tone


@dataclass(slots=True)
class Flawed(Biased):
    """Several flaws in one: gold, and what each of them adds to it; without any it is gold."""

    flaws: dict[str, Labeler] = field(default_factory=dict)  # by a name of any choice

    def __post_init__(self) -> None:
        """Check ranges."""
        Biased.__post_init__(self)
        for name, flaw in self.flaws.items():
            known = isinstance(flaw, Biased)
            ranges.check(
                self,
                "flaws",
                known,
                "biased labelers alone",
                f"{name} adds nothing to gold that could be added up",
            )
            silent = known and flaw.temperature == 0
            ranges.check(
                self,
                "flaws",
                silent,
                "flaws of temperature 0",
                f"the noise is the whole labeler's, not {name}'s",
            )
