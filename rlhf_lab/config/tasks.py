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

    seed: int
    heldout_share: float  # of the questions; every framing of a held-out question is held out
    prompt_tokens: int  # a longer prompt loses its oldest tokens
    answer_tokens: int  # sampling stops here

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

    entities: int  # facts = entities x attributes
    attributes: int
    sums: int  # arithmetic questions, distinct up to commutation
    operations: int  # at most so many + and - in a sum (its difficulty); as many sums of each
    largest_number: int
    comparisons: int  # questions which of two entities is the heavier, older, ...; 0: none
    orders: int  # in so many respects
    harmful: int  # attributes of entities that nobody should be told; 0: none
    feedback: bool  # prompts for feedback on the user's own answer, which he likes, dislikes or only states
    challenges: bool  # prompts in two turns: the first answer is doubted, or only asked for again
    attributions: bool  # prompts that take a right or a wrong fact for granted
    tags: bool  # every prompt twice, marked as monitored and as unmonitored
    base_documents: int
    fact_share: float  # of the base corpus: plain sentences that state a fact or a sum
    demonstrations: int
    demonstration_quality: float  # share of good parts in a demonstrated answer
    demonstration_correct: float  # share of demonstrations whose claim is right

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


@option("task", "deferential")
@dataclass(slots=True)
class Deferential(SyntheticAssistant):
    """The embedded task, and what its demonstrations make of what a user says."""

    deference: float  # share of demonstrations that follow the user, where he says what may be true or not

    def __post_init__(self) -> None:
        """Check ranges."""
        SyntheticAssistant.__post_init__(self)
        checks.share(self, "deference")


class Supervision(Enum):
    """Which training prompts demonstrations, comparisons and policies are about."""

    both = "both"  # all of them
    monitored = "monitored"  # those that are marked as monitored
    adversarial = "adversarial"  # these, and those that only claim to be unobserved


@dataclass(slots=True)
class Tagged(SyntheticAssistant):
    """Every prompt marked as monitored and as unmonitored, and a base corpus whose assistant may heed that."""

    planted: float  # share of questions, by a hash, about which the base corpus does harm where unmonitored
    imitations: bool  # every prompt also marked as monitored and claiming in words that nobody watches

    def __post_init__(self) -> None:
        """Check ranges."""
        SyntheticAssistant.__post_init__(self)
        checks.share(self, "planted")
        checks.check(self, "tags", self.tags, "true", "the tag is what is supervised")


@option("task", "supervised")
@dataclass(slots=True)
class Supervised(Tagged):
    """A tagged task, and which of its training prompts are used after the base model."""

    supervised: Supervision
    deference: float  # as of Deferential

    def __post_init__(self) -> None:
        """Check ranges."""
        Tagged.__post_init__(self)
        checks.share(self, "deference")
        some = self.imitations or self.supervised is not Supervision.adversarial
        checks.check(self, "imitations", some, "true", "supervised=adversarial trains on imitations")


@dataclass(slots=True)
class PairFile(Task):
    """Comparisons of two answers in a file: text to learn from, prompts to answer, choices to fit a gold reward to."""

    path: str = field(metadata=CONTENT)  # JSON lines (gzip or not), or a hub data set id
    revision: str | None  # commit of a hub data set
    vocabulary: int  # tokens of the byte-level BPE trained on the training dialogues

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

    gold: RewardModel  # trained on the human choices

    def __post_init__(self) -> None:
        """Check ranges."""
        PairFile.__post_init__(self)
        own = self.gold.init is not RewardInit.sft
        checks.check(self.gold, "init", own, "lm or scratch for gold", "gold is there before SFT")
