"""The embedded task from end to end, too small to mean anything: who sees what, and what is made again when."""

import json
import sys
from dataclasses import replace

import numpy as np
import pyarrow.compute as pc
import pytest
from composing import experiment, realised
from runtime import RUNTIME

from rlhf_lab.models import loading
from rlhf_lab.pipeline import execution, plan
from rlhf_lab.stages import base, registry
from rlhf_lab.store.records import read_table

PPO = ["policy=ppo", "policy.steps=4", "policy.rollout=16", "policy.evaluations=2"]
DIRECT = [[f"policy={name}", "policy.batch=32", "policy.evaluations=2"] for name in ("dpo", "kto")]
EXPERT = ["policy=expert_iteration", "policy.rounds=2", "policy.steps=2", "policy.asked=8", "policy.batch=8"]


@pytest.fixture(scope="module")
def store(pipelines):
    return pipelines


def made(store, *overrides):
    """The typed experiment and its leaf, which has been made."""
    wanted = experiment("experiment=tiny", *overrides)
    leaf = plan.plan(wanted)
    execution.realise(leaf, store, wanted.runtime)
    return wanted, leaf


def table(store, node, name):
    return read_table(store.path(node) / f"{name}.parquet")


def test_held_out_questions_are_in_no_training_pair_and_only_they_are_sampled(store):
    for overrides in ([], PPO):
        _, leaf = made(store, *overrides)
        proxy = leaf.inputs["proxy"].inputs["proxy"]
        prompts = table(store, proxy.inputs["task"], "prompts")
        heldout = set(prompts.filter(pc.equal(prompts["split"], "heldout"))["question_id"].to_pylist())
        trained = set(prompts.filter(pc.equal(prompts["split"], "train"))["question_id"].to_pylist())
        assert heldout and trained and not heldout & trained
        pairs = table(store, proxy.inputs["pairs"], "pairs")
        train = pairs.filter(pc.equal(pairs["split"], "train"))
        assert set(train["question_id"].to_pylist()) <= trained and len(train) == 64
        assert set(table(store, leaf.inputs["samples"], "samples")["question_id"].to_pylist()) <= heldout


def test_a_pair_is_labelled_by_gold_and_its_margin_says_by_how_much(store):
    _, leaf = made(store)
    pairs = table(store, leaf.inputs["proxy"].inputs["proxy"].inputs["pairs"], "pairs")
    margin = pairs["margin"].to_numpy()
    assert (margin >= 0).all() and (margin > 0).any()
    assert (pairs["tied"].to_numpy() == (margin == 0)).all()
    assert all(pairs["chosen_ids"].to_pylist()) and 0.2 < np.mean(pairs["first"].to_numpy()) < 0.8


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        PPO,
        [*PPO, "reward=noise"],
        *(pytest.param(policy, marks=pytest.mark.slow) for policy in (*DIRECT, EXPERT)),
    ],
    ids=["best-of-n", "PPO", "PPO on noise", "DPO", "KTO", "expert iteration"],
)
def test_a_policy_says_the_same_when_gold_cannot_be_asked(store, tmp_path, monkeypatch, overrides):
    wanted, leaf = made(store, *overrides)
    samples = leaf.inputs["samples"]
    for name in ("rlhf_lab.gold.rewards", "rlhf_lab.gold.rubric"):
        monkeypatch.setitem(sys.modules, name, None)  # importing it raises
    out = tmp_path / "again"
    out.mkdir()
    inputs = {name: store.path(node) for name, node in samples.inputs.items()}
    registry.module(samples.name).run(samples.config, inputs, out, wanted.runtime)
    assert (out / "samples.parquet").read_bytes() == (store.path(samples) / "samples.parquet").read_bytes()


@pytest.mark.parametrize(
    "stage, names, first, second",
    [
        ("base", ["model/model.safetensors"], "model.seed=0", "model.seed=1"),
        ("sft", ["model/model.safetensors"], "sft.seed=0", "sft.seed=1"),
        ("preferences", ["pairs.parquet"], "preferences.seed=0", "preferences.seed=1"),
        ("reward_model", ["heldout.parquet"], "rm.head_seed=0", "rm.head_seed=1"),
        ("reward_model", ["heldout.parquet"], "rm.seed=0", "rm.seed=1"),  # the order of the pairs
        ("sft_answers", ["samples.parquet"], "policy.seed=0", "policy.seed=1"),
    ],
)
def test_a_seed_changes_what_its_stage_makes(store, stage, names, first, second):
    """Batches of 8 pairs have an order; the seed of the head is fixed where another seed is tried."""
    same = [] if "head_seed" in first else ["rm.head_seed=0"]
    nodes = [
        realised(store, "experiment=tiny", "rm.batch=8", *same, seed, stage=stage) for seed in (first, second)
    ]
    assert nodes[0].key != nodes[1].key
    for name in names:
        contents = [(store.path(node) / name).read_bytes() for node in nodes]
        assert contents[0] != contents[1]


@pytest.mark.parametrize("shown", ["weights", "order"])
def test_the_seed_of_a_base_model_draws_its_weights_and_its_batches(store, tmp_path, monkeypatch, shown):
    node = realised(store, "experiment=tiny", stage="base")
    inputs = {name: store.path(each) for name, each in node.inputs.items()}
    build = loading.build_language_model
    drawn = []

    def built(config, tokenizer, length, seed):
        drawn.append(seed)
        return build(config, tokenizer, length, 0)

    if shown == "order":
        monkeypatch.setattr(loading, "build_language_model", built)
    weights = []
    for seed in (0, 1):
        out = tmp_path / f"{seed}"
        out.mkdir()
        steps = 4 if shown == "order" else 1
        base.run(replace(node.config, seed=seed, steps=steps), inputs, out, RUNTIME)
        weights.append((out / "model" / "model.safetensors").read_bytes())
    assert weights[0] != weights[1]
    assert drawn == ([0, 1] if shown == "order" else [])


def test_the_recorded_proxy_is_the_reward_models_and_not_gold():
    leaf = plan.plan(experiment("experiment=tiny"))
    scorers = {name: leaf.inputs[name] for name in ("gold", "proxy")}
    assert {name: node.config.name for name, node in scorers.items()} == {"gold": "gold", "proxy": "proxy"}
    assert {*scorers["proxy"].inputs} == {"task", "samples", "proxy"}
    assert scorers["proxy"].inputs["proxy"].name == "reward_model" and "proxy" not in scorers["gold"].inputs


def test_a_judge_adds_one_score_and_nothing_else_runs(store, tmp_path, monkeypatch):
    (tmp_path / "length_judge.py").write_text(
        "def words(prompts, answers):\n    return [len(a.split()) for a in answers]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    _, plain = made(store)
    before = {node.key for node in plain.walk()}
    wanted = experiment("experiment=tiny", "score.extra=[length_judge:words]")
    leaf = plan.plan(wanted)
    new = execution.missing(leaf, store)
    assert [node.name for node in new] == ["score", "run"] and not {node.key for node in new} & before
    execution.realise(leaf, store, wanted.runtime)
    judged = table(store, leaf.inputs["length_judge:words"], "scores")["length_judge:words"].to_pylist()
    answers = table(store, leaf.inputs["samples"], "samples")["text"].to_pylist()
    assert judged == [len(answer.split()) for answer in answers]
    (tmp_path / "length_judge.py").write_text(
        "def words(prompts, answers):\n    return [0 for a in answers]\n"
    )
    assert plan.plan(wanted).key != leaf.key  # another judge under the same name


@pytest.mark.parametrize(
    "returns, error", [("[1.0]", "one for each answer"), ("[float('nan')] * len(a)", "not finite")]
)
def test_a_judge_that_answers_nonsense_is_refused(store, tmp_path, monkeypatch, returns, error):
    name = f"judge_{abs(hash(returns))}"
    (tmp_path / f"{name}.py").write_text(f"def f(p, a):\n    return {returns}\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises((ValueError, FloatingPointError), match=error):
        made(store, f"score.extra=[{name}:f]")


def test_the_reward_model_reports_accuracy_beside_content_blind_baselines(store):
    _, leaf = made(store)
    found = json.loads((store.path(leaf.inputs["proxy"].inputs["proxy"]) / "evaluation.json").read_text())
    assert found["parameters"] == 1056
    assert found["untied"]["n"] <= found["all"]["n"]
    assert found["all"]["accuracy"]["se"] > 0 and found["all"]["log_loss"] > 0
    assert set(found["baselines"]) == {"length", "position"}
    assert found["baselines"]["position"]["mean"] == pytest.approx(0.5, abs=0.1)
