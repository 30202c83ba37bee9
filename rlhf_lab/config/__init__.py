"""The schema of an experiment: names, types, units and ranges. Values live in `conf/`, one home for each.

Every class is a plain dataclass that Hydra checks the YAML against. `OmegaConf.to_object` turns the composed
configuration into these classes once, at the command line; nothing further in ever sees a DictConfig.

A field outside `Runtime` and `Tracker` changes a result and therefore enters the key of the stages that use it; a field
inside them says how a stage runs and never does. A field that a method does not use is not in that method's class.
"""

from __future__ import annotations

from dataclasses import dataclass

from rlhf_lab.config.contents import CONTENT, content_fields
from rlhf_lab.config.direct import DPO, IPO, KTO, Direct, ExpertIteration, SLiC
from rlhf_lab.config.models import (
    SFT,
    Half,
    Model,
    PretrainedModel,
    Rankings,
    RewardInit,
    RewardLoss,
    RewardModel,
    RewardTraining,
    ScratchModel,
)
from rlhf_lab.config.online import (
    GRPO,
    PPO,
    RLOO,
    Divergence,
    Grouped,
    Online,
    OnlineDPO,
    PairLoss,
    Penalised,
    Place,
)
from rlhf_lab.config.policies import Policy
from rlhf_lab.config.preferences import (
    Boltzmann,
    Flip,
    GoldArgmax,
    Labeler,
    Pool,
    Preferences,
    Unsure,
    Writer,
)
from rlhf_lab.config.runtime import NoTracker, Runtime, Tracker, Wandb, WandbMode
from rlhf_lab.config.selection import (
    BestOfN,
    BestOfPoisson,
    Hedged,
    HedgeTune,
    MBRBestOfN,
    Pessimism,
    SFTAnswers,
    SoftBestOfN,
)
from rlhf_lab.config.tasks import PairFile, PreferencePairs, SyntheticAssistant, Task

__all__ = [
    "CONTENT",
    "DPO",
    "GROUPS",
    "GRPO",
    "IPO",
    "KTO",
    "PPO",
    "RLOO",
    "SFT",
    "BestOfN",
    "BestOfPoisson",
    "Boltzmann",
    "Direct",
    "Divergence",
    "Experiment",
    "ExpertIteration",
    "Flip",
    "GoldArgmax",
    "Grouped",
    "Half",
    "HedgeTune",
    "Hedged",
    "Labeler",
    "MBRBestOfN",
    "Model",
    "NoTracker",
    "Online",
    "OnlineDPO",
    "PairFile",
    "PairLoss",
    "Penalised",
    "Pessimism",
    "Place",
    "Policy",
    "Pool",
    "PreferencePairs",
    "Preferences",
    "PretrainedModel",
    "Rankings",
    "RewardInit",
    "RewardLoss",
    "RewardModel",
    "RewardTraining",
    "Runtime",
    "SFTAnswers",
    "SLiC",
    "Score",
    "ScratchModel",
    "SoftBestOfN",
    "SyntheticAssistant",
    "Task",
    "Tracker",
    "Unsure",
    "Wandb",
    "WandbMode",
    "Writer",
    "content_fields",
    "register",
]


@dataclass(slots=True)
class Score:
    """What scores the stored samples beside gold and the proxy."""

    extra: list[str]  # "module:function" judges, function(prompts, answers) -> one number an answer


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
    "labeler": {"gold_argmax": GoldArgmax, "boltzmann": Boltzmann, "flip": Flip, "pool": Pool},
    "policy": {
        **{"bon": BestOfN, "soft_bon": SoftBestOfN, "best_of_poisson": BestOfPoisson, "mbr_bon": MBRBestOfN},
        **{"pessimism": Pessimism, "hedge_tune": HedgeTune},
        **{"ppo": PPO, "grpo": GRPO, "rloo": RLOO, "online_dpo": OnlineDPO},
        **{"dpo": DPO, "ipo": IPO, "slic": SLiC, "kto": KTO, "expert_iteration": ExpertIteration},
    },
    "tracker": {"disabled": NoTracker, "wandb": Wandb},
}


def register(group: str, name: str, schema: type) -> None:
    """Make `schema` available to YAML as `/schema/<group>@_here_: name` (see docs/extending.md)."""
    GROUPS.setdefault(group, {})[name] = schema
