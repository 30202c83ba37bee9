"""The graph of an experiment: which stage reads which.

    task ── base ── sft ─┬─ preferences ── reward_model ─┐
                         └───────────────────────────── policy ── score (gold, proxy, judges) ── run

Further stages stand in this graph where the configuration asks for them:

- `preferences.model`: another base model and its SFT write the answers that are compared.
- `deference`: SFT learns from demonstrations that may follow the user.
- `intervention`: the SFT model is fine-tuned further, and every later stage starts from the result.
- `supervised`: on a tagged task, stages after `base` see some of the training prompts only.
- several reward models in the place of one, and a shaped reward: see `plan_proxy`.
- `reward`: a control run optimises gold itself, or noise, and neither preferences nor reward models are made.

`plan` builds this graph of keys without making anything; `rlhf_lab.pipeline.execution` makes what is missing.
"""

from __future__ import annotations

from dataclasses import fields, replace

from rlhf_lab.config.experiment import Experiment
from rlhf_lab.config.intervention import SyntheticData
from rlhf_lab.config.labelers import Preferences, Writer
from rlhf_lab.config.models import Half, Model
from rlhf_lab.config.policies import BestOfN
from rlhf_lab.config.reward import GivenReward
from rlhf_lab.config.shaping import NoShaping
from rlhf_lab.config.tasks import (
    Deferential,
    PairFile,
    PreferencePairs,
    Supervised,
    Supervision,
    SyntheticAssistant,
    Tagged,
    Task,
)
from rlhf_lab.pipeline.plan_proxy import Proxies, language_model, members, reward_model
from rlhf_lab.stages.activations import HiddenStates
from rlhf_lab.stages.deference import Deference
from rlhf_lab.stages.given_reward import GivenScore, OptimisedReward
from rlhf_lab.stages.intervention import OnTask
from rlhf_lab.stages.preferences import Labelled
from rlhf_lab.stages.registry import node
from rlhf_lab.stages.run import Run
from rlhf_lab.stages.score import Scorer
from rlhf_lab.stages.second_turns import SecondTurns
from rlhf_lab.stages.supervised import Oversight
from rlhf_lab.store import sources
from rlhf_lab.store.artifacts import Node
from rlhf_lab.store.records import TURNS, TURNS_READ


def plan(experiment: Experiment) -> Node:
    """Return the last stage of the experiment's graph; its `walk()` yields every stage, inputs first."""
    e = experiment
    task, gold = node(e.task.STAGE, _files(e.task)), {}  # the rubric is a gold that needs no model
    if isinstance(e.task, PreferencePairs):
        gold["gold"] = reward_model(e.task.gold, task, task, language_model(e.task.gold.model, task))

    seen = task  # with the training prompts that are supervised
    if isinstance(e.task, Supervised) and e.task.supervised is not Supervision.both:
        seen = node("supervised", Oversight(e.task.supervised), task=task)
    shown = _shown(e.task, seen)

    def writers(model: Model) -> dict[Writer, Node]:
        """Return the stages whose models may write the compared answers."""
        base = language_model(model, task)
        sft = node("sft", e.sft, task=shown, base=base)
        return {Writer.base: base, Writer.sft: _after(e, shown, sft)}

    sft = writers(e.model)[Writer.sft]
    preferences = Preferences(*(getattr(e.preferences, field.name) for field in fields(Preferences)))
    compared = Labelled(preferences, e.labeler)
    writer = writers(e.preferences.model or e.model)[preferences.writer]
    pairs = node("preferences", compared, task=seen, writer=writer, **gold)
    proxies = Proxies(e.rm_combination, members(e.rm, e.rm_combination, task, pairs, sft), task, sft)

    rule = e.policy if isinstance(e.policy, BestOfN) else None
    sampled = e.policy.table() if isinstance(e.policy, BestOfN) else e.policy
    given = e.reward if isinstance(e.reward, GivenReward) else None
    if given is not None and "proxy" in e.policy.NEEDS:
        optimised = OptimisedReward(e.policy, given)
        samples = node(e.policy.STAGE + given.SUFFIX, optimised, task=seen, sft=sft, rubric=task, **gold)
    else:
        upstream = {"proxy": proxies.shaped(e.reward_shaping), "pairs": pairs}
        needed = {name: upstream[name] for name in e.policy.NEEDS}
        samples = node(e.policy.STAGE, sampled, task=seen, sft=sft, **needed)

    def score(scorer: Scorer, **model: Node) -> Node:
        """Return the stage that gives the samples one column of scores."""
        return node("score", scorer, task=task, samples=samples, **model)

    def proxy(member: Node) -> Node:
        """Return the stage that scores the samples with this proxy."""
        return score(Scorer("proxy"), proxy=member)

    scores = {"gold": score(Scorer("gold"), **gold)}
    if given is not None:
        scores["proxy"] = node("given_score", GivenScore(given), task=task, samples=samples, **gold)
    else:  # what a policy learned from is not what is recorded
        chosen_by = e.reward_shaping if rule else NoShaping()
        scores["proxy"] = proxies.score(samples, proxy, chosen_by)
    if e.score.behaviour:
        scores["behaviour"] = score(Scorer("behaviour"))
    if e.score.utility:
        scores["utility"] = score(Scorer("utility", labeler=e.labeler))
    if e.score.other_half:
        other = replace(e.rm, half=Half.second if e.rm.half is Half.first else Half.first)
        (test,) = members(other, e.rm_combination, task, pairs, sft)
        scores["test"] = score(Scorer("test"), proxy=test)
    scores |= {name: score(Scorer(name, sources.module_digest(name))) for name in e.score.extra}
    if e.score.second_turns:
        scores |= second_turns(e, task, sft, {"proxy": proxies.whole} if rule else {"policy": samples})
    if e.score.activations:
        scores["activations"] = node("activations", HiddenStates(), task=task, sft=sft, samples=samples)
    return node("run", Run(rule), samples=samples, **scores)


def second_turns(e: Experiment, task: Node, sft: Node, optimised: dict[str, Node]) -> dict[str, Node]:
    """Return the stages in which the policy's own answers are doubted, and scored; best-of-n is at n = samples / 4."""
    best_of = e.policy.samples // 4 if isinstance(e.policy, BestOfN) else 1
    config = SecondTurns(e.policy.seed, e.score.second_turns, best_of)
    turns = node("second_turns", config, task=task, sft=sft, **optimised)
    read = node("score", Scorer("second_turns"), task=task, samples=turns)
    return {TURNS: turns, TURNS_READ: read}


def _files(task: Task) -> Task:
    """Return the part of a task's configuration on which its files depend."""
    kinds = (PreferencePairs, PairFile), (Supervised, Tagged), (Deferential, SyntheticAssistant)
    for kind, base in kinds:
        if isinstance(task, kind):
            return base(*(getattr(task, field.name) for field in fields(base)))
    return task


def _shown(config: Task, seen: Node) -> Node:
    """Return the stage with the demonstrations of SFT, some of which may follow the user."""
    if not isinstance(config, (Deferential, Supervised)) or config.deference == 0:
        return seen
    files = _files(config)
    assert isinstance(files, SyntheticAssistant)
    return node("deference", Deference(files, config.deference), task=seen)


def _after(e: Experiment, shown: Node, sft: Node) -> Node:
    """Return the stage of the SFT model after the intervention, if there is one."""
    files = _files(e.task)
    if not (isinstance(e.intervention, SyntheticData) and isinstance(files, SyntheticAssistant)):
        return sft
    return node("intervention", OnTask(files, e.intervention), task=shown, sft=sft)
