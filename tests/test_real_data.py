"""The whole pipeline on real comparisons: gold is a model; policy and reward models may be checkpoints."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import checkpoints
import numpy as np
import pytest
from dialogues import rows, save
from reward_models import reward_model, scratch
from runtime import RUNTIME

from rlhf_lab.config.combination import Single
from rlhf_lab.config.experiment import Experiment, Score
from rlhf_lab.config.intervention import NoIntervention
from rlhf_lab.config.labelers import GoldArgmax, Writer, WrittenPreferences
from rlhf_lab.config.models import SFT, Model, PretrainedModel, RewardModel
from rlhf_lab.config.online import PPO, Divergence, Place
from rlhf_lab.config.policies import DPO, BestOfN, ExpertIteration, Policy
from rlhf_lab.config.reward import LearnedReward
from rlhf_lab.config.runtime import NoTracker
from rlhf_lab.config.shaping import NoShaping
from rlhf_lab.config.tasks import PreferencePairs
from rlhf_lab.models import loading, tokenization
from rlhf_lab.pipeline import execution, plan
from rlhf_lab.scoring import reward_models
from rlhf_lab.store.artifacts import Node, Store
from rlhf_lab.store.records import read_table

SMALL = scratch()
PROXY = reward_model(SMALL, batch=16, lr=1e-3)
GOLD = reward_model(
    scratch(hidden=24),
    epochs=2,
    batch=16,
    lr=1e-3,
)
BON = BestOfN(seed=0, prompts=8, samples=6)
PROXIMAL = PPO(
    seed=0, prompts=8, samples=2, steps=4, rollout=16, minibatches=1, passes=2, lr=1e-3, critic_lr=1e-3,
    warmup=1, beta2=0.95, kl_coef=0.0, clip=0.2, value_clip=0.2, gamma=1.0, gae_lambda=0.95, evaluations=2,
    eos_penalty=0.0, reference_ema=0.0, kl_budget=None,
    divergence=Divergence.reverse_kl, kl_place=Place.reward, kl_target=None, ptx_coef=0.0, ptx_batch=4,
)  # fmt: skip
DIRECT = DPO(
    seed=0, prompts=8, samples=2, epochs=1, batch=8, lr=1e-3, warmup=1, beta2=0.95, beta=0.1, evaluations=2
)  # fmt: skip
EXPERT = ExpertIteration(
    seed=0, prompts=8, samples=2, rounds=2, asked=8, best_of=4, steps=2, batch=4, lr=1e-3, beta2=0.95
)  # fmt: skip

PLAIN = Score(  # gold and the proxy
    extra=[], behaviour=False, utility=False, activations=False, other_half=False, second_turns=0
)


def experiment(path: Path, policy: Policy, model: Model = SMALL, rm: RewardModel = PROXY) -> Experiment:
    task = PreferencePairs(
        seed=0, heldout_share=0.3, prompt_tokens=32, answer_tokens=16, path=str(path), revision=None,
        vocabulary=400, gold=GOLD,
    )  # fmt: skip
    return Experiment(
        task, model, SFT(10, 8, 1e-3, 0), NoIntervention(), WrittenPreferences(40, 2, Writer.sft, 0, None),
        GoldArgmax(), rm, Single(), LearnedReward(), NoShaping(), policy, PLAIN, NoTracker(), RUNTIME,
    )  # fmt: skip


@pytest.fixture(scope="module")
def store(pipelines: Store) -> Store:
    return pipelines


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("data") / "pairs.jsonl.gz", rows(120), compress=True)


def made(store: Store, wanted: Experiment) -> Mapping[str, Node]:
    """The nodes of the experiment by what they are, all of them made."""
    leaf = plan.plan(wanted)
    execution.realise(leaf, store, RUNTIME)
    assert store.made(leaf)
    gold, proxy = leaf.inputs["gold"], leaf.inputs["proxy"]
    return {
        "task": gold.inputs["task"],
        "samples": leaf.inputs["samples"],
        "gold_scores": gold,
        "proxy_scores": proxy,
        "gold": gold.inputs["gold"],
        "proxy": proxy.inputs["proxy"],
    }


@pytest.mark.parametrize("policy", [BON, PROXIMAL])
def test_the_pipeline_runs_on_human_comparisons(policy: Policy, store: Store, data: Path) -> None:
    nodes = made(store, experiment(data, policy))
    samples = read_table(store.path(nodes["samples"]) / "samples.parquet")
    asked = read_table(store.path(nodes["task"]) / "prompts.parquet").take(
        samples["prompt_id"].combine_chunks()
    )
    assert set(asked["split"].to_pylist()) == {"heldout"}
    gold = read_table(store.path(nodes["gold_scores"]) / "scores.parquet")["gold"].to_numpy()
    proxy = read_table(store.path(nodes["proxy_scores"]) / "scores.parquet")["proxy"].to_numpy()
    assert len(gold) == len(proxy) == len(samples)
    assert np.isfinite(gold).all() and np.isfinite(proxy).all()
    assert np.abs(gold - proxy).max() > 0


def test_gold_learns_from_people_and_proxies_from_gold(store: Store, data: Path) -> None:
    nodes = made(store, experiment(data, BON))
    gold, proxy = nodes["gold"], nodes["proxy"]
    assert gold.inputs["pairs"].key == nodes["task"].key  # the human choices
    assert proxy.inputs["pairs"].inputs["gold"].key == gold.key
    pairs = read_table(store.path(proxy.inputs["pairs"]) / "pairs.parquet")
    assert (pairs["margin"].to_numpy() >= 0).all()  # gold_argmax: gold prefers every chosen answer
    judged = json.loads((store.path(gold) / "evaluation.json").read_text())
    human = read_table(store.path(nodes["task"]) / "comparisons.parquet")
    assert judged["all"]["n"] == human["split"].to_pylist().count("heldout")


@pytest.mark.parametrize("policy", [BON, pytest.param(PROXIMAL, marks=pytest.mark.slow), DIRECT, EXPERT])
def test_policy_and_reward_model_may_be_checkpoints_with_their_own_tokenizers(
    policy: Policy, store: Store, data: Path, tmp_path: Path
) -> None:
    model = PretrainedModel(str(checkpoints.gpt2(tmp_path / "policy")), None)
    reward = PretrainedModel(str(checkpoints.llama(tmp_path / "reward", classifier=True)), None)
    rm = reward_model(reward, epochs=0, batch=16, lr=1e-3)
    nodes = made(store, experiment(data, policy, model, rm))
    samples = read_table(store.path(nodes["samples"]) / "samples.parquet").to_pylist()[::7]
    rewards = read_table(store.path(nodes["proxy_scores"]) / "scores.parquet")["proxy"].to_pylist()[::7]
    prompts = read_table(store.path(nodes["task"]) / "prompts.parquet")["messages"].to_pylist()
    for folder in (tmp_path / "reward", store.path(nodes["proxy"]) / "model"):  # used as it came
        tokenizer, scorer = tokenization.load_tokenizer(folder), loading.load_reward_model(folder)
        for row, reward_ in zip(samples, rewards, strict=True):
            asked = tokenization.prompt_ids(tokenizer, json.loads(prompts[row["prompt_id"]]), 32)
            ids = tokenization.answer_ids(tokenizer, row["text"], row["finished"])
            assert reward_models.reward(scorer, [asked], [ids], 1)[0] == pytest.approx(reward_, abs=1e-4)
