"""Experiments that differ in one field, for tests of what every field must do."""

import dataclasses
import enum
from functools import cache

from composing import experiment

from rlhf_lab.config.intervention import SyntheticData
from rlhf_lab.config.labelers import Mixture
from rlhf_lab.config.models import Half
from rlhf_lab.config.policies import Untrained
from rlhf_lab.config.reward import GivenReward
from rlhf_lab.config.runtime import Runtime, Tracker
from rlhf_lab.config.tasks import Supervised, SyntheticAssistant

CASES = [
    ("policy=bon", "labeler=gold_argmax", "rm.half=first"),
    ("policy=bon", "rm_combination=uwo"),
    ("policy=ppo", "policy.kl_coef=0.1", "rm_combination=lower_bound", "reward_shaping=clip"),
    ("policy=ppo", "policy.kl_coef=0.1", "labeler=boltzmann", "reward_shaping=agreement_penalty"),
    ("policy=grpo", "policy.kl_coef=0.1", "labeler=limited"),
    ("policy=bon", "task=every_family", "labeler=vulnerable", "labeler@labeler.first=confident"),
    ("policy=grpo", "policy.kl_coef=0.1", "task=every_family", "labeler=flawed"),
    ("policy=ppo", "policy.kl_coef=0.1", "rm_combination=constrained"),
    ("policy=ppo", "policy.kl_coef=0.1", "task=every_family", "score.second_turns=2"),
    ("policy=online_dpo", "task=supervised", "task.imitations=true", "task.supervised=monitored"),
    ("policy=bon", "task=every_family", "task.deference=0.5", "intervention=synthetic_data"),
    ("policy=hedge_tune",),
    ("policy=ipo", "model@preferences.model=10k"),
    ("policy=expert_iteration",),
    ("policy=ppo", "policy.kl_coef=0.1", "reward=visible_gold"),
    ("policy=grpo", "policy.kl_coef=0.1", "reward=noise"),
    ("policy=weight_noise",),
    ("policy=temperature",),
    ("policy=ppo", "policy.kl_coef=0.1", "labeler=flip", "tracker=wandb"),
    (
        "policy=ppo",
        "policy.kl_coef=0.1",
        "rm=pretrained",
        "rm.model.path={file}",
        "model=pretrained",
        "model.path={file}",
    ),
    ("policy=bon", "task=preference_pairs", "task.path={file}"),
]


def variants(config, folder, root=None, path=()):
    """(dotted path, experiment with that one field changed, whether the key should stay)."""
    root = root or config
    skipped = {("score", "other_half")} if root.rm.half is Half.both else set()  # refused there
    if not isinstance(root.task, SyntheticAssistant):
        skipped |= {("score", "behaviour"), ("score", "utility")}
    if not (isinstance(root.task, SyntheticAssistant) and root.task.challenges):
        skipped |= {("score", "second_turns")}  # nobody has words for them
    if root.score.second_turns:
        skipped |= {("task", "challenges")}  # they need its words
    if isinstance(root.task, Supervised):
        skipped |= {("task", "tags")}  # refused there without
    if isinstance(root.intervention, SyntheticData):
        skipped |= {("task", "tags")}  # its prompts have none
    if isinstance(root.reward, GivenReward):  # what a learned reward alone has
        skipped |= {("rm",), ("preferences",), ("labeler",), ("rm_combination",), ("reward_shaping",)}
        skipped |= {("score", "other_half")}
    if isinstance(root.policy, Untrained):
        skipped |= {("score", "activations"), ("score", "second_turns")}  # they have no model of their own
    if isinstance(root.labeler, Mixture):
        skipped |= {("score", "utility")}
    for field in dataclasses.fields(config):
        value, here = getattr(config, field.name), (*path, field.name)
        if here in skipped:
            continue
        if dataclasses.is_dataclass(value):
            yield from variants(value, folder, root, here)
            continue
        neutral = isinstance(config, (Runtime, Tracker))
        yield ".".join(here), replaced(root, here, alternatives(field, value, folder)), neutral


def alternatives(field, value, folder):
    if isinstance(value, enum.Enum):
        return [other for other in type(value) if other is not value]
    if isinstance(value, dict):  # of labelers: one of another temperature less
        return [dict(list(value.items())[1:])]
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, (int, float)):
        return [value + 1, value + 0.25, value * 2, value / 2]
    if isinstance(value, list):
        if field.name == "parts":
            return [["courtesy"]]
        return (
            [["json:dumps"]]
            if "str" in field.type
            else [[factor * one for one in value] for factor in (2, 0.5)]
        )
    if value is None and "float" in field.type:
        return [0.5]
    if value is None and "int" in field.type:
        return [7]
    if value is None and "Model" in field.type:
        return [another_model()]
    return [str(folder / "other")] if field.metadata.get("content") else ["f" * 40]


@cache
def another_model():
    return experiment("model=1k").model


def replaced(config, path, values):
    """`config` with the field at `path` set to the first of `values` that is in its range."""
    for value in values:
        try:
            return _with(config, path, value)
        except ValueError:
            continue
    raise AssertionError(f"no other value for {'.'.join(path)} is in its range")


def _with(config, path, value):
    name, *rest = path
    return dataclasses.replace(config, **{name: _with(getattr(config, name), rest, value) if rest else value})
