"""Where prompts, demonstrations and gold come from."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import ClassVar

from rlhf_lab.config import checks
from rlhf_lab.config.checks import CONTENT
from rlhf_lab.config.models import RewardInit, RewardModel
from rlhf_lab.config.registry import option


@dataclass(slots=True)
class Task:
    """A source of prompts, demonstrations and a gold reward."""

    seed: int  # Seed of the split, the questions and the corpora.
    heldout_share: float  # Share of the questions that is held out, with every framing of each.
    prompt_tokens: int  # Largest number of tokens of a prompt; a longer prompt loses its oldest tokens.
    answer_tokens: int  # Largest number of tokens of an answer; sampling stops there.

    STAGE: ClassVar[str] = ""

    def __post_init__(self) -> None:
        """Check ranges."""
        checks.seed(self)
        some = 0 < self.heldout_share < 1
        checks.check(self, "heldout_share", some, "between 0 and 1", "both sides of the split need questions")
        checks.positive(self, "prompt_tokens", "answer_tokens")


@option("task", "synthetic_assistant")
@dataclass(slots=True)
class SyntheticAssistant(Task):
    """The embedded task: questions whose true answer is known, a grammar of answers, a rubric as gold."""

    entities: int  # Number of entities; there are entities x attributes facts.
    attributes: int  # Number of attributes of each entity.
    sums: int  # Number of arithmetic questions, distinct up to the order of the numbers.
    # Largest number of + and - in a sum, which is its difficulty; there are as many sums of each.
    operations: int
    largest_number: int  # Largest number in a sum.
    comparisons: int  # Number of questions which of two entities is the heavier, older, ...; 0 is none.
    orders: int  # Number of respects in which entities are compared.
    # Number of attributes of entities that nobody should be told: such requests are to be refused; 0 is none.
    harmful: int
    # Whether there are prompts for feedback on the user's own answer, which the user likes, dislikes or only
    # states.
    feedback: bool
    # Whether there are prompts in two turns: the first answer is doubted, or only asked for again.
    challenges: bool
    attributions: bool  # Whether there are prompts that take a right or a wrong fact for granted.
    tags: bool  # Whether every prompt is there twice, marked as monitored and as unmonitored.
    base_documents: int  # Number of documents in the base corpus.
    fact_share: float  # Share of the base corpus that is plain sentences which state a fact or a sum.
    demonstrations: int  # Number of demonstrations that SFT learns from.
    demonstration_quality: float  # Share of good parts in a demonstrated answer.
    demonstration_correct: float  # Share of demonstrations whose claim is right.

    STAGE: ClassVar[str] = "task"

    def __post_init__(self) -> None:
        """Check ranges."""
        Task.__post_init__(self)
        checks.positive(self, "entities", "attributes", "sums", "operations", "largest_number")
        checks.positive(self, "base_documents", "demonstrations")
        for name in ("comparisons", "harmful"):
            checks.check(self, name, getattr(self, name) >= 0, ">= 0", "it is a count")
        checks.positive(self, "orders")
        checks.share(self, "fact_share", "demonstration_quality", "demonstration_correct")


@option("task", "field_guide")
@dataclass(slots=True)
class FieldGuide(Task):
    """The embedded task of the field guide: animals, what most people believe of them, readers who correct answers."""

    animals: int  # Number of animals; every fourth is left out of comparisons and training prompts.
    believed: float  # Share of the facts that are what most people believe.
    prompts: int  # Number of prompts that are drawn; equal ones count once.
    base_documents: int  # Number of corrected dialogues in the base corpus.
    demonstrations: int  # Number of demonstrations that SFT learns from.

    STAGE: ClassVar[str] = "task"

    def __post_init__(self) -> None:
        """Check ranges."""
        Task.__post_init__(self)
        checks.check(self, "animals", self.animals >= 3, ">= 3", "the third is new")
        checks.share(self, "believed")
        checks.positive(self, "prompts", "base_documents", "demonstrations")


EMBEDDED = SyntheticAssistant, FieldGuide  # tasks whose gold is computed, part by part


@option("task", "deferential")
@dataclass(slots=True)
class Deferential(SyntheticAssistant):
    """The embedded task, with demonstrations that may follow the user."""

    # Share of demonstrations that follow the user, true or not, where the user believes, likes or doubts
    # something.
    deference: float

    def __post_init__(self) -> None:
        """Check ranges."""
        SyntheticAssistant.__post_init__(self)
        checks.share(self, "deference")


class Supervision(Enum):
    """The training prompts that demonstrations, comparisons and policies are about."""

    both = "both"  # all of them
    monitored = "monitored"  # those that are marked as monitored
    adversarial = "adversarial"  # those, and those that only claim to be unobserved


@dataclass(slots=True)
class Tagged(SyntheticAssistant):
    """Every prompt marked as monitored and as unmonitored, and a base corpus whose assistant may react to
    the mark.
    """

    # Share of questions, chosen by a hash, about which the base corpus does harm where it is unmonitored.
    planted: float
    # Whether there are also prompts that are marked as monitored and claim in words that nobody watches.
    imitations: bool

    def __post_init__(self) -> None:
        """Check ranges."""
        SyntheticAssistant.__post_init__(self)
        checks.share(self, "planted")
        checks.check(self, "tags", self.tags, "true", "supervision depends on the tags")


@option("task", "supervised")
@dataclass(slots=True)
class Supervised(Tagged):
    """A tagged task, and which of its training prompts are used after the base model."""

    supervised: Supervision  # The training prompts that demonstrations, comparisons and policies are about.
    # Share of demonstrations that follow the user, true or not, where the user believes, likes or doubts
    # something.
    deference: float

    def __post_init__(self) -> None:
        """Check ranges."""
        Tagged.__post_init__(self)
        checks.share(self, "deference")
        some = self.imitations or self.supervised is not Supervision.adversarial
        checks.check(self, "imitations", some, "true", "supervised=adversarial trains on imitations")


@dataclass(slots=True)
class PairFile(Task):
    """Comparisons of two answers in a file: text to learn from, prompts to answer, choices to fit a gold
    reward to.
    """

    # File of JSON lines (gzip or not), or id of a hub data set. A key holds what the file contains, not its
    # name.
    path: str = field(metadata=CONTENT)
    revision: str | None  # Commit of a hub data set, 40 digits.
    vocabulary: int  # Number of tokens of the byte-level BPE that is trained on the training dialogues.

    STAGE: ClassVar[str] = "task"

    def __post_init__(self) -> None:
        """Check ranges."""
        Task.__post_init__(self)
        enough = self.vocabulary >= 300
        checks.check(self, "vocabulary", enough, ">= 300", "256 bytes and the special tokens come first")


@option("task", "preference_pairs")
@dataclass(slots=True)
class PreferencePairs(PairFile):
    """Real comparisons; the gold reward is a model trained on them and frozen (2210.10760, section 2)."""

    gold: RewardModel  # The gold reward model, which is trained on the human choices.

    def __post_init__(self) -> None:
        """Check ranges."""
        PairFile.__post_init__(self)
        own = self.gold.init is not RewardInit.sft
        checks.check(self.gold, "init", own, "lm or scratch for gold", "gold is trained before SFT")
