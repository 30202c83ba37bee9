"""Proxies of several reward models: what is shared, what is scored, and that policies and records see one reward."""

from collections import Counter

import numpy as np
import pyarrow.compute as pc
import pytest
from composing import experiment, realised
from runtime import RUNTIME

from rlhf_lab.models import tokenization
from rlhf_lab.pipeline.plan import plan
from rlhf_lab.scoring import reward_models
from rlhf_lab.store.comparisons import heldout
from rlhf_lab.store.records import Run, read_table

THREE = ("rm_combination.members=3",)
BASE = ("experiment=tiny", "rm=1k")
TINY = (*BASE, *THREE)
SMALL = (
    *BASE,
    "model.steps=20",
    "rm.model.steps=20",
    "sft.steps=10",
    "preferences.pairs=40",
    "task.base_documents=400",
    "task.demonstrations=200",
)


def names(leaf):
    return Counter(node.name for node in leaf.walk())


def keys(leaf, name):
    return {node.key for node in leaf.walk() if node.name == name}


def test_rules_share_members_and_their_scores():
    asked = [experiment(*TINY, f"rm_combination={rule}") for rule in ("mean", "min", "uwo", "median")]
    leaves = [plan(one) for one in asked]
    assert len(set.union(*(keys(leaf, "reward_model") for leaf in leaves))) == 3
    assert len(set.union(*(keys(leaf, "score") for leaf in leaves))) == 4  # gold and three members
    assert len({leaf.key for leaf in leaves}) == 4
    alone = plan(experiment("experiment=tiny", "rm=1k"))
    assert keys(alone, "reward_model") | keys(alone, "score") <= {node.key for node in leaves[0].walk()}


def test_members_differ_in_the_seeds_that_are_said():
    finetuned = plan(experiment(*TINY, "rm_combination=mean"))
    pretrained = plan(experiment(*TINY, "rm_combination=mean", "rm_combination.seeds=pretrain"))
    assert names(finetuned)["base"] == 2 and names(pretrained)["base"] == 4
    assert len(keys(finetuned, "reward_model") & keys(pretrained, "reward_model")) == 1  # the first


def test_averaged_members_share_trunk_and_head():
    leaf = plan(experiment(*TINY, "rm_combination=warm", "rm.seed=5"))
    members = [node.config for node in leaf.walk() if node.name == "reward_model"]
    assert sorted(one.seed for one in members) == [5, 1005, 2005]
    assert {one.seed if one.head_seed is None else one.head_seed for one in members} == {5}
    assert names(leaf)["base"] == 2


def test_pretrained_members_need_language_models_that_are_trained_here(tmp_path):
    with pytest.raises(ValueError, match="seeds=pretrain needs language models"):
        experiment(*TINY, "rm_combination=mean", "rm_combination.seeds=pretrain", "rm.init=scratch")


def test_a_shaping_without_a_learner_is_refused():
    with pytest.raises(ValueError, match="BestOfN learns from no proxy"):
        experiment("policy=bon", "reward_shaping=par")


@pytest.fixture(scope="module")
def store(pipelines):
    return pipelines


def made(store, *overrides):
    return realised(store, *SMALL, *overrides)


def node(leaf, name, **inputs):
    return next(one for one in leaf.walk() if one.name == name)


def test_the_recorded_proxy_is_the_rule_of_its_members_on_one_scale(store):
    leaf = made(store, *THREE, "rm_combination=uwo", "rm_combination.weight=0.3")
    scores = read_table(store.path(leaf.inputs["proxy"]) / "scores.parquet")
    members = np.stack([scores[f"proxy.{number}"].to_numpy() for number in range(3)])
    expected = members.mean(axis=0) - 0.3 * members.var(axis=0)
    np.testing.assert_allclose(scores["proxy"].to_numpy(), expected, atol=1e-5)
    assert abs(members.mean()) < 0.2 and 0.8 < members.std() < 1.2  # SFT answers to other prompts


def test_policies_are_rewarded_with_what_is_recorded(store):
    leaf = made(store, *THREE, "rm_combination=min", "rm_combination.offset=prompt")
    task, ensemble = store.path(node(leaf, "task")), store.path(node(leaf, "ensemble"))
    samples = read_table(store.path(leaf.inputs["samples"]) / "samples.parquet").slice(0, 200)
    writer = tokenization.load_tokenizer(store.path(leaf.inputs["samples"]) / "tokenizer")
    prompts = read_table(task / "prompts.parquet")
    heldout = prompts["prompt_id"].to_numpy()[np.array(prompts["split"].to_pylist()) == "heldout"]
    rows = np.searchsorted(heldout, samples["prompt_id"].to_numpy()).tolist()
    rewards = reward_models.rewards_of_split(task, ensemble, writer, "heldout", RUNTIME)
    recorded = read_table(store.path(leaf.inputs["proxy"]) / "scores.parquet")["proxy"].to_numpy()[:200]
    np.testing.assert_allclose(rewards(rows, samples["token_ids"].to_pylist()), recorded, atol=1e-4)


def test_halves_of_the_questions_train_two_reward_models_and_each_judges_the_other(store):
    halves = [
        made(store, "rm.batch=4", f"rm.half={half}", "score.other_half=true") for half in ("first", "second")
    ]
    first, second = (keys(leaf, "reward_model") for leaf in halves)
    assert first == second and len(first) == 2
    proxy, test = (
        [read_table(store.path(leaf.inputs[name]) / "scores.parquet")[name].to_numpy() for leaf in halves]
        for name in ("proxy", "test")
    )
    np.testing.assert_array_equal(proxy[0], test[1])
    np.testing.assert_array_equal(proxy[1], test[0])
    assert not np.array_equal(proxy[0], proxy[1])
    learned = [_trained_on(store, leaf) for leaf in halves]
    assert all(len(of) > 0 for of in learned)
    assert not set(learned[0]) & set(learned[1])
    (pairs,) = {store.path(node(leaf, "preferences")) for leaf in halves}
    every = read_table(pairs / "pairs.parquet")
    assert Counter(learned[0]) + Counter(learned[1]) == Counter(
        every.filter(pc.equal(every["split"], "train"))["question_id"].to_pylist()
    )


def _trained_on(store, leaf):
    """The question of every pair that a record says the run's reward model learned from."""
    run = Run(leaf.key, "adhoc", {}, (), {}, "made", store.root, "BestOfN", False)
    (of,) = run.reward_models()
    pairs = run.comparisons(of)
    return pairs.filter(pc.equal(pairs["split"], "train"))["question_id"].to_pylist()


def test_the_other_half_is_refused_where_there_is_none():
    with pytest.raises(ValueError, match=r"set rm\.half=first"):
        experiment("score.other_half=true")


def test_averaged_weights_are_the_mean(store):
    from rlhf_lab.models.loading import load_reward_model

    leaf = made(store, *THREE, "rm_combination=warm")
    folders = [store.path(one) / "model" for one in leaf.walk() if one.name == "reward_model"]
    members = [load_reward_model(folder).state_dict() for folder in folders]
    whole = load_reward_model(store.path(node(leaf, "weight_average")) / "model").state_dict()
    for name, weight in whole.items():
        expected = sum(member[name] for member in members) / 3
        np.testing.assert_allclose(weight.numpy(), expected.numpy(), atol=1e-6)


def test_averaged_weights_are_judged_like_any_reward_model(store):
    leaf = made(store, *THREE, "rm_combination=warm", "rm.batch=4")  # members differ in the order of steps
    run = Run(leaf.key, "adhoc", {}, (), {}, "made", store.root, "BestOfN", False)
    average = node(leaf, "weight_average").key
    assert set(run.reward_models()) == {average} | keys(leaf, "reward_model")
    assert set(run.scored_by()) == {average}  # members score no sample
    pairs = [run.comparisons(key) for key in run.reward_models()]
    assert len({of.drop_columns(["chosen_reward", "rejected_reward"]).num_rows for of in pairs}) == 1
    rewards = [of["chosen_reward"].to_numpy()[heldout(of)] for of in pairs]
    assert np.isfinite(rewards).all() and len({of.tobytes() for of in rewards}) == len(rewards)
    assert run.evaluation("proxy")["all"]["n"] == len(rewards[0])


def test_a_shaped_reward_is_learned_from_and_the_proxy_is_recorded(store):
    policy = ("policy=ppo", "policy.steps=2", "policy.prompts=8", "policy.samples=2", "policy.evaluations=1")
    plain = made(store, *THREE, "rm_combination=mean", *policy)
    shaped = made(store, *THREE, "rm_combination=mean", "reward_shaping=par", *policy)
    assert plain.inputs["samples"].key != shaped.inputs["samples"].key
    folder = store.path(node(shaped, "shaped"))
    writer = tokenization.load_tokenizer(store.path(shaped.inputs["samples"]) / "tokenizer")
    rewards = reward_models.rewards_of_split(
        store.path(node(shaped, "task")), folder, writer, "train", RUNTIME
    )
    answers = read_table(store.path(shaped.inputs["samples"]) / "samples.parquet")["token_ids"].to_pylist()
    found = rewards([*range(len(answers))], answers)
    assert (found > 0).all() and (found < 1).all()  # a chance
    recorded = read_table(store.path(shaped.inputs["proxy"]) / "scores.parquet")["proxy"].to_numpy()
    assert recorded.min() < 0  # not shaped
