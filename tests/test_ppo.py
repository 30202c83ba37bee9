from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from online import inputs, settings, toy, trained, trainer
from runtime import RUNTIME
from transformers import LlamaForCausalLM

from rlhf_lab.config.online import PPO
from rlhf_lab.functional import policy_gradient as pg
from rlhf_lab.models import loading
from rlhf_lab.scoring.heldout_evaluation import schedule
from rlhf_lab.stages.policy import trainers
from rlhf_lab.stages.policy.online.rollouts import group_size
from rlhf_lab.stages.policy.online.setup import load_critic, load_setup
from rlhf_lab.stages.policy.online.training import _Report
from rlhf_lab.store.metrics import Metrics
from rlhf_lab.store.records import read_table

__all__ = ["inputs"]  # a fixture


@pytest.mark.slow
def test_ppo_learns_what_is_rewarded_and_its_critic_explains_it(tmp_path: Path) -> None:
    free = trained(toy(), settings(steps=60, rollout=64, minibatches=1, lr=4e-3), tmp_path)
    assert free[0]["reward"] < 1.5 and free[-1]["reward"] > 11
    held = trained(toy(), settings(steps=60, rollout=64, minibatches=1, lr=4e-3, kl_coef=0.5), tmp_path)
    assert free[-1]["kl"] > 20 and held[-1]["kl"] < 8  # the penalty binds
    assert np.mean([line["explained_variance"] for line in held[-10:]]) > 0.8


def test_the_first_ratio_is_one(tmp_path: Path) -> None:
    """Before the first step the policy is the one that sampled: no clipping, no KL, no loss but noise."""
    line = trained(toy(), settings(steps=1, warmup=0, minibatches=1), tmp_path)[0]
    assert line["clip_fraction"] == 0 and abs(line["kl"]) < 1e-4 and abs(line["policy_loss"]) < 1e-5


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_a_broken_reward_stops_the_run_and_is_named(tmp_path: Path, broken: float) -> None:
    setup = toy(lambda rows, answers: np.full(len(answers), broken, dtype=np.float32))
    with pytest.raises(FloatingPointError, match=f"reward is {broken} at step 0"):
        trained(setup, settings(), tmp_path)


def test_the_critic_comes_off_the_policy(tmp_path: Path) -> None:
    setup = toy()
    training = trainer(setup, settings(), tmp_path, [])
    before = copy.deepcopy(training.critic.state_dict())
    training.train()
    after, policy = training.critic.state_dict(), training.policy_to_save()
    assert isinstance(policy, LlamaForCausalLM)
    loading.save(policy, setup.tokenizer, tmp_path / "model")
    again = loading.load_language_model(tmp_path / "model")
    ids = torch.tensor([[1, 3, 6, 4]])
    assert torch.equal(again(input_ids=ids).logits, policy(input_ids=ids).logits)
    moved = [name for name, value in after.items() if not torch.equal(value, before[name])]
    assert "score.weight" in moved and any(name.startswith("model.layers") for name in moved)


def test_every_equation_is_given_its_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, list[Any]] = {}

    def watched(name: str) -> Any:
        equation = getattr(pg, name)

        def call(*arguments: Any) -> Any:
            given.setdefault(name, []).append([value for value in arguments if isinstance(value, float)])
            return equation(*arguments)

        return call

    for name in ("gae", "whiten", "clipped_policy_loss", "clipped_value_loss"):
        monkeypatch.setattr(pg, name, watched(name))
    chosen = settings(
        steps=1,
        warmup=0,
        minibatches=1,
        passes=1,
        gamma=0.9,
        gae_lambda=0.7,
        clip=0.1,
        value_clip=0.3,
        beta2=0.5,
        lr=1e-3,
    )
    training = trainer(toy(), chosen, tmp_path, [])
    training.train()
    assert given == {
        "gae": [[0.9, 0.7], [0.9, 1.0]],  # the advantages, and the return to go
        "whiten": [[]],
        "clipped_policy_loss": [[0.1]],
        "clipped_value_loss": [[0.3]],
    }
    adam = training.create_optimizer()
    assert adam.defaults["betas"] == (0.9, 0.5)
    assert [group["initial_lr"] for group in adam.param_groups] == [1e-3, chosen.critic_lr]


@pytest.mark.parametrize("weight", [0.5, 2.0])
def test_the_loss_on_documents_has_its_weight(tmp_path: Path, weight: float) -> None:
    once, weighted = (trainer(toy(), settings(ptx_coef=share), tmp_path, []) for share in (1.0, weight))
    losses = [float(each._pretraining_loss(each.setup.policy).detach()) for each in (once, weighted)]
    assert losses[0] > 1 and losses[1] == pytest.approx(weight * losses[0])


def test_rollouts_take_as_many_prompts_as_there_are() -> None:
    assert group_size(128, 1000) == 1
    assert group_size(128, 100) == 2
    assert group_size(128, 1) == 128


def test_schedule() -> None:
    assert schedule(210, 3) == [0, 70, 140, 210]
    assert schedule(2, 5) == [0, 1, 2]


def made(
    config: PPO, inputs: Mapping[str, Path], name: str
) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    out = inputs["task"].parent / name
    out.mkdir()
    trainers.run(config, inputs, out, RUNTIME)
    weights = loading.load_language_model(out / "model").state_dict()
    return read_table(out / "samples.parquet").to_pydict(), weights


def test_the_stage_leaves_samples_of_every_checkpoint(inputs: Mapping[str, Path]) -> None:
    rows, weights = made(settings(), inputs, "out")
    assert sorted(set(rows["checkpoint"])) == [0, 4, 8] and len(rows["text"]) == 3 * 6 * 4
    assert set(rows["prompt_id"]) <= set(range(1, 60, 2))  # held-out prompts only
    kl = np.array(rows["kl"]).reshape(3, -1).mean(1)
    assert kl[0] == 0 and 0 < kl[1] < kl[2]
    assert not any(name.startswith("critic") for name in weights)
    lines = [json.loads(line) for line in (inputs["task"].parent / "out/metrics.jsonl").open()]
    assert {"reward", "kl", "entropy", "explained_variance", "clip_fraction", "value_loss"} <= set(lines[1])
    assert [line["step"] for line in lines if "heldout_kl" in line] == [0, 4, 8]


def test_evaluations_do_not_disturb_training(inputs: Mapping[str, Path]) -> None:
    once, weights = made(settings(evaluations=1), inputs, "once")
    often, same = made(settings(evaluations=8), inputs, "often")
    assert all(torch.equal(weights[name], same[name]) for name in weights)
    last = [i for i, checkpoint in enumerate(often["checkpoint"]) if checkpoint == 8]
    assert [often["token_ids"][i] for i in last] == once["token_ids"][-len(last) :]


PROCESS = """
import sys; sys.path.insert(0, "tests")
from pathlib import Path
import test_ppo
inputs = {name: Path(sys.argv[1]) / name for name in ("task", "sft", "proxy")}
test_ppo.made(test_ppo.settings(), inputs, "elsewhere")
"""


@pytest.mark.slow
def test_the_same_samples_twice_here_and_in_another_process(inputs: Mapping[str, Path]) -> None:
    root = inputs["task"].parent
    first, weights = made(settings(), inputs, "first")
    torch.manual_seed(99)  # what was drawn before must not matter
    second, same = made(settings(), inputs, "second")
    subprocess.run([sys.executable, "-c", PROCESS, str(root)], check=True, cwd=Path(__file__).parents[1])
    third = read_table(root / "elsewhere/samples.parquet").to_pydict()
    assert first == second == third
    assert all(torch.equal(weights[name], same[name]) for name in weights)
    assert first != made(settings(seed=1), inputs, "seed")[0]


def test_a_proxy_with_another_tokenizer_reads_the_text(inputs: Mapping[str, Path]) -> None:
    """Its vocabulary is permuted: read by ids it would see other words."""
    own = load_setup(settings(), inputs, RUNTIME)
    order = [0, 1, 2, *reversed(range(3, 16))]
    other = tiny.reward_model(1)
    with torch.no_grad():
        embeddings = other.model.embed_tokens.weight
        embeddings.copy_(embeddings.clone()[order])  # row order[i] of the old table is word i of the new one
    loading.save(other, tiny.tokenizer([tiny.WORDS[i] for i in order]), inputs["proxy"] / "model")
    foreign = load_setup(settings(), inputs, RUNTIME)
    answers = [[5, 6, tiny.EOS], [7, 8, 9, 10, 5, 5]]
    assert foreign.reward([0, 3], answers) == pytest.approx(own.reward([0, 3], answers), abs=1e-5)
    assert load_critic(inputs, own.tokenizer, "cpu", 0).config.vocab_size == own.policy.config.vocab_size


def test_metrics_are_lines_of_finite_numbers(tmp_path: Path) -> None:
    with Metrics(tmp_path) as metrics:
        report = _Report(4, 10, metrics)
        for step in (2, 4, 6, 8, 10):
            report(step, {"kl": 1.0})
    assert [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").open()] == [4, 8, 10]


def test_a_critic_without_a_reward_model_has_a_head_of_its_seed(inputs):
    without = {name: path for name, path in inputs.items() if name != "proxy"}
    heads = []
    for before, seed in ((1, 0), (2, 0), (2, 5)):
        torch.manual_seed(before)  # what was drawn before must not matter
        heads.append(load_critic(without, tiny.tokenizer(), "cpu", seed).score.weight)
    assert torch.equal(heads[0], heads[1]) and not torch.equal(heads[0], heads[2])
