"""The stages by name, and the nodes that they are in the graph of an experiment.

The name of a stage is its identity: it enters every key and names the folder of its artifacts. The module that holds
its code may move or get another name, and nothing that was made is made again.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from rlhf_lab.config.checks import content_fields
from rlhf_lab.config.registry import GROUPS
from rlhf_lab.config.reward import GivenReward
from rlhf_lab.store import sources
from rlhf_lab.store.artifacts import Node

HERE = "rlhf_lab.stages"
MODULES = {  # any other stage is a way to optimise of its own: a module of its name in `policy/`
    "task": f"{HERE}.task",
    "supervised": f"{HERE}.supervised",
    "deference": f"{HERE}.deference",
    "base": f"{HERE}.base",
    "pretrained": f"{HERE}.pretrained",
    "sft": f"{HERE}.sft",
    "intervention": f"{HERE}.intervention",
    "preferences": f"{HERE}.preferences",
    "reward_model": f"{HERE}.reward_model",
    "weight_average": f"{HERE}.proxies",
    "references": f"{HERE}.proxies",
    "reference_rewards": f"{HERE}.proxies",
    "ensemble": f"{HERE}.proxies",
    "shaped": f"{HERE}.proxies",
    "ppo": f"{HERE}.policy.trainers",
    "grpo": f"{HERE}.policy.trainers",
    "rloo": f"{HERE}.policy.trainers",
    "online_dpo": f"{HERE}.policy.trainers",
    "dpo": f"{HERE}.policy.trainers",
    "kto": f"{HERE}.policy.trainers",
    "given_score": f"{HERE}.given_reward",
    "second_turns": f"{HERE}.second_turns",
    "activations": f"{HERE}.activations",
    "score": f"{HERE}.score",
    "combined_score": f"{HERE}.proxies",
    "run": f"{HERE}.run",
}
ON_GIVEN = tuple(reward.SUFFIX for reward in GROUPS["reward"].values() if issubclass(reward, GivenReward))


def module(stage: str) -> ModuleType:
    """Return the module of a stage, which has `VERSION`, `run(config, inputs, out, runtime)` and perhaps `check`."""
    if stage.endswith(ON_GIVEN):
        return import_module(f"{HERE}.given_reward")
    return import_module(MODULES.get(stage, f"{HERE}.policy.{stage}"))


def version(stage: str) -> int:
    """Return the VERSION of a stage; a module of several stages has one for each name."""
    versions = module(stage).VERSION
    return versions[stage] if isinstance(versions, dict) else versions


def node(stage: str, config: object, **inputs: Node) -> Node:
    """Return the node of a stage at its present VERSION; files that `config` names enter its key by their contents.

    A stage of another package is given by its module ("my_lab.colder"); the last part is the name of the stage.
    Raises ValueError if two modules claim one name.
    """
    if "." in stage:
        path, stage = stage, stage.rpartition(".")[2]
        if MODULES.setdefault(stage, path) != path:
            raise ValueError(
                f"two modules claim the stage {stage!r}: {MODULES[stage]} and {path}; rename one of them"
            )
    contents = {
        name: sources.fingerprint(value, getattr(config, "revision", None))
        for name, value in content_fields(config).items()
    }
    return Node(stage, version(stage), config, inputs, contents)
