"""The stages of the proxy: reward models, how several become one, and the shaped reward that a policy optimises.

    reward_model ── proxy                                              rm_combination=single
    reward_model x M ── weight_average                                                warm
    reward_model x M ── ensemble (on one scale: reference_rewards of references)      mean, min, uwo, ...
    proxy ── shaped                                                    reward_shaping

A proxy is one folder that `rlhf_lab.scoring.proxy` reads. Members are trained once and score samples once; rules
that combine them differ in a stage that only reads scores.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

from rlhf_lab.config import checks
from rlhf_lab.config.combination import Combination, Ensemble, Seeds, Several, WeightAverage
from rlhf_lab.config.models import Model, RewardInit, RewardModel, RewardTraining, ScratchModel
from rlhf_lab.config.shaping import NoShaping, Shaping
from rlhf_lab.stages.proxies import CombinedScore, ReferenceRewards, References
from rlhf_lab.stages.registry import node
from rlhf_lab.store.artifacts import Node

MEMBER_SEEDS = 1000  # between the seeds of two members; replicates are fewer apart


def language_model(model: Model, task: Node) -> Node:
    """Return the stage of a model before fine-tuning: trained on the task's corpus, or a given checkpoint."""
    return node(model.STAGE, model, task=task)


def reward_model(config: RewardModel, task: Node, pairs: Node, trunk: Node) -> Node:
    """Return the stage of a reward model that is trained on `pairs`, started from `trunk`."""
    training = RewardTraining(*(getattr(config, field.name) for field in fields(RewardTraining)))
    return node("reward_model", training, task=task, pairs=pairs, trunk=trunk)


def members(rm: RewardModel, combination: Combination, task: Node, pairs: Node, sft: Node) -> list[Node]:
    """Return the stages of the reward models of which the proxy is made."""
    return [
        reward_model(
            member, task, pairs, sft if member.init is RewardInit.sft else language_model(member.model, task)
        )
        for member in _members(rm, combination)
    ]


def _members(rm: RewardModel, combination: Combination) -> list[RewardModel]:
    """Return the configurations of the members, the first as given; members of an average share the initial head."""
    if not isinstance(combination, Several):
        return [rm]
    configs = []
    for number in range(combination.members):
        seed = (rm.seed + MEMBER_SEEDS * number) % checks.SEEDS
        member = replace(rm, seed=seed)
        if isinstance(combination, WeightAverage) and number > 0:
            member = replace(member, head_seed=rm.seed if rm.head_seed is None else rm.head_seed)
        if combination.seeds is Seeds.pretrain and isinstance(rm.model, ScratchModel):
            model = replace(rm.model, seed=(rm.model.seed + MEMBER_SEEDS * number) % checks.SEEDS)
            member = replace(member, model=model)
        configs.append(member)
    return configs


@dataclass(frozen=True)
class Proxies:
    """The stages of an experiment's proxy: its members, the reward that is optimised, and the recorded score."""

    combination: Combination
    members: Sequence[Node]
    task: Node
    sft: Node

    @property
    def whole(self) -> Node:
        """Return the stage that combines the members."""
        if isinstance(self.combination, WeightAverage):
            compared = {name: self.members[0].inputs[name] for name in ("task", "pairs")}
            return node("weight_average", self.combination, **self._named("member"), **compared)
        if isinstance(self.combination, Ensemble):
            inputs = self._named("member") | self._reference_rewards(self.members)
            return node("ensemble", self.combination, **inputs)
        return self.members[0]

    @property
    def scored(self) -> Sequence[Node]:
        """Return the stages of the models that score answers."""
        return self.members if isinstance(self.combination, Ensemble) else [self.whole]

    def shaped(self, shaping: Shaping) -> Node:
        """Return the stage of the reward that is optimised."""
        if isinstance(shaping, NoShaping):
            return self.whole
        return node("shaped", shaping, proxy=self.whole, **self._reference_rewards(self.scored))

    def score(self, samples: Node, proxy: Callable[[Node], Node], shaping: Shaping) -> Node:
        """Return the stage of the recorded score of samples; `proxy` makes the stage of one model's scores."""
        if isinstance(shaping, NoShaping) and not isinstance(self.combination, Ensemble):
            return proxy(self.whole)
        scores = {f"scores.{number}": proxy(model) for number, model in enumerate(self.scored)}
        folder, config = self.shaped(shaping), CombinedScore(len(scores))
        return node("combined_score", config, ensemble=folder, samples=samples, **scores)

    def _named(self, name: str) -> dict[str, Node]:
        return {f"{name}.{number}": member for number, member in enumerate(self.members)}

    def _reference_rewards(self, models: Sequence[Node]) -> dict[str, Node]:
        answers = node("references", References(), task=self.task, sft=self.sft)
        return {
            f"rewards.{number}": node(
                "reference_rewards", ReferenceRewards(), task=self.task, references=answers, member=model
            )
            for number, model in enumerate(models)
        }
