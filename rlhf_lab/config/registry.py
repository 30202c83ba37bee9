"""The options of every config group: a schema for each, whose values stand in `conf/<group>/*.yaml`."""

from __future__ import annotations

from rlhf_lab.config.combination import (
    Constrained,
    LowerBound,
    Mean,
    Median,
    Minimum,
    Single,
    UncertaintyWeighted,
    WeightAverage,
)
from rlhf_lab.config.intervention import NoIntervention, SyntheticData
from rlhf_lab.config.labelers import (
    Boltzmann,
    Cautious,
    Confident,
    Flawed,
    Flip,
    GoldArgmax,
    Length,
    Limited,
    Mixture,
    Pool,
    Sycophantic,
    Vulnerable,
)
from rlhf_lab.config.models import PretrainedModel, RewardModel, ScratchModel
from rlhf_lab.config.online import GRPO, PPO, RLOO, OnlineDPO
from rlhf_lab.config.policies import (
    DPO,
    IPO,
    KTO,
    BestOfN,
    BestOfPoisson,
    ExpertIteration,
    HedgeTune,
    MBRBestOfN,
    Pessimism,
    SLiC,
    SoftBestOfN,
)
from rlhf_lab.config.runtime import NoTracker, Wandb
from rlhf_lab.config.shaping import (
    AgreementPenalty,
    Clip,
    LengthPenalty,
    LogSigmoid,
    MeanStd,
    MinMax,
    NoShaping,
    PreferenceAsReward,
)
from rlhf_lab.config.tasks import Deferential, PreferencePairs, Supervised, SyntheticAssistant

GROUPS: dict[str, dict[str, type]] = {
    "task": {
        "synthetic_assistant": SyntheticAssistant,
        "deferential": Deferential,
        "supervised": Supervised,
        "preference_pairs": PreferencePairs,
    },
    "model": {"scratch": ScratchModel, "pretrained": PretrainedModel},
    "intervention": {"none": NoIntervention, "synthetic_data": SyntheticData},
    "rm": {"reward_model": RewardModel},
    "rm_combination": {
        "single": Single,
        "mean": Mean,
        "min": Minimum,
        "median": Median,
        "uwo": UncertaintyWeighted,
        "lower_bound": LowerBound,
        "warm": WeightAverage,
        "constrained": Constrained,
    },
    "reward_shaping": {
        "none": NoShaping,
        "clip": Clip,
        "mean_std": MeanStd,
        "min_max": MinMax,
        "log_sigmoid": LogSigmoid,
        "par": PreferenceAsReward,
        "length_penalty": LengthPenalty,
        "agreement_penalty": AgreementPenalty,
    },
    "labeler": {
        "gold_argmax": GoldArgmax,
        "boltzmann": Boltzmann,
        "flip": Flip,
        "pool": Pool,
        "sycophantic": Sycophantic,
        "confident": Confident,
        "length": Length,
        "limited": Limited,
        "cautious": Cautious,
        "flawed": Flawed,
        "mixture": Mixture,
        "vulnerable": Vulnerable,
    },
    "policy": {
        "bon": BestOfN,
        "soft_bon": SoftBestOfN,
        "best_of_poisson": BestOfPoisson,
        "mbr_bon": MBRBestOfN,
        "pessimism": Pessimism,
        "hedge_tune": HedgeTune,
        "ppo": PPO,
        "grpo": GRPO,
        "rloo": RLOO,
        "online_dpo": OnlineDPO,
        "dpo": DPO,
        "ipo": IPO,
        "slic": SLiC,
        "kto": KTO,
        "expert_iteration": ExpertIteration,
    },
    "tracker": {"disabled": NoTracker, "wandb": Wandb},
}


def register(group: str, name: str, schema: type) -> None:
    """Make `schema` available to YAML as `/schema/<group>@_here_: name` (see docs/extending.md)."""
    GROUPS.setdefault(group, {})[name] = schema


def named(kind: str) -> type:
    """The class of an option by its name, that of another package too; KeyError if nothing is called so."""
    return {schema.__name__: schema for schemas in GROUPS.values() for schema in schemas.values()}[kind]
