"""The whole shape of an experiment on one screen: which stage feeds which.

    task ── base ── sft ─┬─ preferences ── reward_model ─┐
                         └───────────────────────────── policy ── score (gold, proxy, judges) ── run

`plan` builds this graph of keys without making anything; `rlhf_lab.execution` makes what is missing.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from importlib import import_module

from rlhf_lab import sources
from rlhf_lab.config import (
    BestOfN,
    Experiment,
    Labeler,
    Model,
    PairFile,
    Policy,
    PreferencePairs,
    Preferences,
    RewardInit,
    RewardModel,
    RewardTraining,
    Writer,
    content_fields,
)
from rlhf_lab.store import Node


@dataclass(slots=True)
class Labelled:
    """The configuration of the preferences stage: how many pairs, and who labels them."""

    preferences: Preferences
    labeler: Labeler


@dataclass(slots=True)
class Scorer:
    """One scorer of stored samples."""

    name: str  # gold, proxy, or a judge as "module:function"
    source: str | None = None  # digest of a judge's module


@dataclass(slots=True)
class Run:
    """The leaf ties samples and scores together; a rule of selection says how it chooses among them."""

    rule: Policy | None = None


def node(stage: str, config: object, **inputs: Node) -> Node:
    """A node of the stage in module `stage`, at that module's VERSION."""
    contents = {
        name: sources.fingerprint(value, getattr(config, "revision", None))
        for name, value in content_fields(config).items()
    }
    return Node(stage, import_module(stage).VERSION, config, inputs, contents)


def language_model(model: Model, task: Node) -> Node:
    """The model before fine-tuning: trained from scratch on the task's corpus, or a given checkpoint."""
    return node(model.STAGE, model, task=task)


def reward_model(config: RewardModel, task: Node, pairs: Node, trunk: Node) -> Node:
    """A reward model on `pairs`, started from `trunk`."""
    training = RewardTraining(*(getattr(config, field.name) for field in fields(RewardTraining)))
    return node("rlhf_lab.stages.reward_model", training, task=task, pairs=pairs, trunk=trunk)


def plan(experiment: Experiment) -> Node:
    """The leaf of the experiment's graph; `plan(e).walk()` yields every stage, inputs first."""
    e = experiment
    task, gold = node(e.task.STAGE, e.task), {}  # the rubric is a gold that needs no model
    if isinstance(e.task, PreferencePairs):
        task = node(e.task.STAGE, PairFile(*(getattr(e.task, f.name) for f in fields(PairFile))))
        gold["gold"] = reward_model(e.task.gold, task, task, language_model(e.task.gold.model, task))

    base = language_model(e.model, task)
    sft = node("rlhf_lab.stages.sft", e.sft, task=task, base=base)
    compared = Labelled(e.preferences, e.labeler)
    writer = {Writer.sft: sft, Writer.base: base}[e.preferences.writer]
    pairs = node("rlhf_lab.stages.preferences", compared, task=task, writer=writer, **gold)
    trunk = sft if e.rm.init is RewardInit.sft else language_model(e.rm.model, task)
    proxy = reward_model(e.rm, task, pairs, trunk)

    rule = e.policy if isinstance(e.policy, BestOfN) else None
    sampled = e.policy.table() if isinstance(e.policy, BestOfN) else e.policy
    needed = {name: {"proxy": proxy, "pairs": pairs}[name] for name in e.policy.NEEDS}
    samples = node(e.policy.STAGE, sampled, task=task, sft=sft, **needed)

    def score(scorer: Scorer, **model: Node) -> Node:
        return node("rlhf_lab.stages.score", scorer, task=task, samples=samples, **model)

    scores = {"gold": score(Scorer("gold"), **gold), "proxy": score(Scorer("proxy"), proxy=proxy)}
    scores |= {name: score(Scorer(name, sources.module_digest(name))) for name in e.score.extra}
    return node("rlhf_lab.stages.run", Run(rule), samples=samples, **scores)
