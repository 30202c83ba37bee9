"""The schema of an experiment: names, types, units and ranges. Values live in `conf/`, one home for each.

Every class is a plain dataclass that Hydra checks the YAML against. `OmegaConf.to_object` turns the composed
configuration into these classes once, at the command line; nothing further in ever sees a DictConfig.

A field outside `Runtime` and `Tracker` changes a result and therefore enters the key of the stages that use it; a field
inside them says how a stage runs and never does. A field that a method does not use is not in that method's class.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from enum import Enum
from typing import Any, ClassVar

from rlhf_lab import ranges

# marks a field that names files: the key holds a digest of what they contain, not the name
CONTENT = {"content": True}


# --- task --------------------------------------------------------------------------------------------------------


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
        ranges.seed(self)
        some = 0 < self.heldout_share < 1
        ranges.check(self, "heldout_share", some, "between 0 and 1", "both sides of the split need questions")
        ranges.positive(self, "prompt_tokens", "answer_tokens")


@dataclass(slots=True)
class SyntheticAssistant(Task):
    """The embedded task: questions whose true answer is known, a grammar of answers, a rubric as gold."""

    entities: int  # facts = entities x attributes
    attributes: int
    sums: int  # arithmetic questions, distinct up to commutation
    operations: int  # at most so many + and - in a sum (its difficulty)
    largest_number: int
    base_documents: int
    fact_share: float  # of the base corpus: plain sentences that state a fact or a sum
    demonstrations: int
    demonstration_quality: float  # share of good parts in a demonstrated answer
    demonstration_correct: float  # share of demonstrations whose claim is right

    STAGE: ClassVar[str] = "rlhf_lab.stages.task"

    def __post_init__(self) -> None:
        """Check ranges."""
        Task.__post_init__(self)
        ranges.positive(self, "entities", "attributes", "sums", "operations", "largest_number")
        ranges.positive(self, "base_documents", "demonstrations")
        ranges.share(self, "fact_share", "demonstration_quality", "demonstration_correct")


@dataclass(slots=True)
class PairFile(Task):
    """Comparisons of two answers in a file: text to learn from, prompts to answer, choices to fit a gold reward to."""

    path: str = field(metadata=CONTENT)  # JSON lines (gzip or not), or a hub data set id
    revision: str | None  # commit of a hub data set
    vocabulary: int  # tokens of the byte-level BPE trained on the training dialogues

    STAGE: ClassVar[str] = "rlhf_lab.stages.task"

    def __post_init__(self) -> None:
        """Check ranges."""
        Task.__post_init__(self)
        enough = self.vocabulary >= 300
        ranges.check(self, "vocabulary", enough, ">= 300", "256 bytes and the special tokens come first")


@dataclass(slots=True)
class PreferencePairs(PairFile):
    """Real comparisons; the gold reward is a model trained on them and frozen (2210.10760, section 2)."""

    gold: RewardModel  # trained on the human choices


# --- models ------------------------------------------------------------------------------------------------------


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


# --- preferences -------------------------------------------------------------------------------------------------


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


# --- policies ----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Policy:
    """A way to optimise against the proxy reward, and how it is evaluated on held-out prompts."""

    seed: int
    prompts: int  # held-out prompts sampled at every evaluation; all there are if fewer
    samples: int  # answers for each of them at every evaluation

    STAGE: ClassVar[str] = ""
    NEEDS_REWARD_MODEL: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check ranges."""
        ranges.seed(self)
        ranges.positive(self, "prompts", "samples")


@dataclass(slots=True)
class BestOfN(Policy):
    """Best-of-n: `samples` SFT answers a prompt, from which the curve for every n is computed later."""

    STAGE: ClassVar[str] = "rlhf_lab.stages.policy.bon"
    NEEDS_REWARD_MODEL: ClassVar[bool] = False  # the samples do not depend on it, only their scores

    def __post_init__(self) -> None:
        """Check ranges."""
        Policy.__post_init__(self)
        ranges.check(self, "samples", self.samples >= 2, ">= 2", "the curve goes up to n = samples / 2")


@dataclass(slots=True)
class PPO(Policy):
    """Proximal policy optimisation with a critic of its own, started from the reward model (2203.02155, C.4)."""

    steps: int  # optimiser steps
    rollout: int  # answers per rollout
    minibatches: int  # a rollout is cut into so many for each pass
    passes: int  # over each rollout
    lr: float
    critic_lr: float
    warmup: int  # optimiser steps of linear warm-up
    beta2: float  # of Adam
    kl_coef: float  # per-token KL penalty against SFT in the reward, in SDs of the proxy per nat; 0 allowed
    clip: float  # of the probability ratio
    value_clip: float  # of the value's change, in SDs of the proxy
    gamma: float
    gae_lambda: float
    evaluations: int  # on a schedule even in optimiser steps, that is in sqrt(KL) where nothing penalises it

    STAGE: ClassVar[str] = "rlhf_lab.stages.policy.ppo"

    def __post_init__(self) -> None:
        """Check ranges."""
        Policy.__post_init__(self)
        ranges.positive(self, "steps", "rollout", "minibatches", "passes", "lr", "critic_lr", "evaluations")
        penalty = 0 <= self.kl_coef < float("inf")
        ranges.check(self, "kl_coef", penalty, ">= 0 and finite", "a negative penalty pays for drift")
        equal = self.rollout % self.minibatches == 0
        ranges.check(self, "rollout", equal, "a multiple of minibatches", "equal batches")
        ranges.check(self, "warmup", self.warmup >= 0, ">= 0", "it is a count")
        ranges.check(self, "beta2", 0 <= self.beta2 < 1, "in [0, 1)", "Adam divides by 1 - beta2")
        ranges.share(self, "gamma", "gae_lambda")
        ranges.positive(self, "clip", "value_clip")


# --- the rest ----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Score:
    """What scores the stored samples beside gold and the proxy."""

    extra: list[str]  # "module:function" judges, function(prompts, answers) -> one number an answer


@dataclass(slots=True)
class Tracker:
    """A mirror of the records; never a source. No key depends on it."""


@dataclass(slots=True)
class NoTracker(Tracker):
    """Records only."""


class WandbMode(Enum):
    """Where W&B writes."""

    offline = "offline"
    online = "online"


@dataclass(slots=True)
class Wandb(Tracker):
    """Weights & Biases."""

    mode: WandbMode
    project: str
    entity: str | None
    tags: list[str]


@dataclass(slots=True)
class Runtime:
    """How stages run. Nothing here changes a result, and no key depends on it."""

    store: str  # folder of everything made; also RLHF_LAB_STORE
    plan: bool  # print what would be made, and make nothing
    force: list[str]  # stages to make again although they are made, such as [reward_model]
    device: str  # cpu, cuda, cuda:1, ...
    threads: int  # of torch, in each worker
    score_batch: int  # answers scored at once
    log_every: int  # optimiser steps between two lines of metrics.jsonl
    checkpoint_minutes: float  # between two checkpoints of a policy that is trained; 0: after every rollout

    def __post_init__(self) -> None:
        """Check ranges."""
        named = bool(self.store.strip())
        ranges.check(
            self, "store", named, "the name of a folder", "nothing would say what lies in it is a store"
        )
        ranges.positive(self, "threads", "score_batch", "log_every")
        forward = self.checkpoint_minutes >= 0
        ranges.check(self, "checkpoint_minutes", forward, ">= 0", "0 is after every rollout")


@dataclass(slots=True)
class Experiment:
    """One run: everything from the task to the scores of one policy."""

    task: Task
    model: Model
    sft: SFT
    preferences: Preferences
    labeler: Labeler
    rm: RewardModel
    policy: Policy
    score: Score
    tracker: Tracker
    runtime: Runtime

    def __post_init__(self) -> None:
        """Check what holds between parts."""
        kinds = self.labeler.TASKS
        if not isinstance(self.task, kinds):
            named = " or ".join(kind.__name__ for kind in kinds)
            labeler, task = type(self.labeler).__name__, type(self.task).__name__
            raise ValueError(
                f"the labeler {labeler} labels {named}, the task is {task}: choose another of them"
            )


GROUPS: dict[
    str, dict[str, type]
] = {  # config group -> schema name -> class; conf/<group>/*.yaml fill in the values
    "task": {"synthetic_assistant": SyntheticAssistant, "preference_pairs": PreferencePairs},
    "model": {"scratch": ScratchModel, "pretrained": PretrainedModel},
    "rm": {"reward_model": RewardModel},
    "labeler": {"gold_argmax": GoldArgmax, "boltzmann": Boltzmann, "flip": Flip},
    "policy": {"bon": BestOfN, "ppo": PPO},
    "tracker": {"disabled": NoTracker, "wandb": Wandb},
}


def register(group: str, name: str, schema: type) -> None:
    """Make `schema` available to YAML as `/schema/<group>@_here_: name` (see docs/extending.md)."""
    GROUPS.setdefault(group, {})[name] = schema


def content_fields(config: Any) -> dict[str, str]:
    """The fields of `config` that name files, with their values."""
    return {f.name: getattr(config, f.name) for f in fields(config) if f.metadata.get("content")}
