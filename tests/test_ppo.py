from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import tiny
import torch
from transformers import LlamaForCausalLM

from rlhf_lab import models
from rlhf_lab.config import PPO, Divergence, Place, Runtime
from rlhf_lab.heldout import schedule
from rlhf_lab.metrics import Metrics
from rlhf_lab.records import read_table, write_table
from rlhf_lab.stages.policy import ppo
from rlhf_lab.stages.policy.ppo_trainer import PPOTrainer, Problem, arguments, detach_critic, group_size

RUNTIME = Runtime(
    store="store",
    plan=False,
    force=[],
    device="cpu",
    threads=1,
    score_batch=64,
    log_every=1,
    checkpoint_minutes=1,
)


def settings(**changes: Any) -> PPO:
    values: dict[str, Any] = {
        "seed": 0, "prompts": 6, "samples": 4, "steps": 8, "rollout": 16, "minibatches": 2, "passes": 2,
        "lr": 2e-3, "critic_lr": 1e-2, "warmup": 2, "beta2": 0.95, "clip": 0.2, "value_clip": 1.0, "gamma": 1.0,
        "gae_lambda": 0.95, "evaluations": 2, "eos_penalty": 0.0, "reference_ema": 0.0, "kl_budget": None,
        "divergence": Divergence.reverse_kl, "kl_coef": 0.0, "kl_place": Place.reward, "kl_target": None,
        "ptx_coef": 0.0, "ptx_batch": 4,
    }  # fmt: skip
    return PPO(**(values | changes))


def toy(reward: Any = None) -> Problem:
    """Say "good" as often as possible; the policy starts near uniform, at most 12 tokens."""
    policy = tiny.policy(hidden=32, sharpness=1.0)
    prompts = [[1, 3, 6 + i % 10, 4] for i in range(40)] + [[1, 3, 6 + i % 10, 7, 4] for i in range(40)]

    def count(rows: Any, answers: Any) -> np.ndarray:
        return np.array([answer.count(tiny.GOOD) for answer in answers], dtype=np.float32)

    return Problem(
        policy=policy,
        ref=copy.deepcopy(policy),
        critic=tiny.reward_model(1, 32),
        tokenizer=tiny.tokenizer(),
        prompts=prompts,
        reward=reward or count,
        mean=0.7,
        sd=1.0,
        answer_tokens=12,
    )


def trained(problem: Problem, config: PPO, out: Path) -> list[dict[str, float]]:
    lines: list[dict[str, float]] = []
    arguments_ = arguments(config, out, "cpu")
    PPOTrainer(problem, config, arguments_, lambda step, numbers: lines.append(numbers)).train()
    return lines


def test_ppo_learns_what_is_rewarded_and_its_critic_explains_it(tmp_path: Path) -> None:
    free = trained(toy(), settings(steps=60, rollout=64, minibatches=1, lr=4e-3), tmp_path)
    assert free[0]["reward"] < 1.5 and free[-1]["reward"] > 11
    held = trained(toy(), settings(steps=60, rollout=64, minibatches=1, lr=4e-3, kl_coef=0.5), tmp_path)
    assert free[-1]["kl"] > 20 and held[-1]["kl"] < 8  # the penalty binds
    assert np.mean([line["explained_variance"] for line in held[-10:]]) > 0.8


def test_the_first_ratio_is_one(tmp_path: Path) -> None:
    """Before the first step the policy is the one that sampled: no clipping, no KL, no loss but noise."""
    line = trained(toy(), settings(steps=1, minibatches=1), tmp_path)[0]
    assert line["clip_fraction"] == 0 and abs(line["kl"]) < 1e-4 and abs(line["policy_loss"]) < 1e-5


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_a_broken_reward_stops_the_run_and_is_named(tmp_path: Path, broken: float) -> None:
    problem = toy(lambda rows, answers: np.full(len(answers), broken, dtype=np.float32))
    with pytest.raises(FloatingPointError, match=f"reward is {broken} at step 0"):
        trained(problem, settings(), tmp_path)


def test_the_critic_comes_off_the_policy(tmp_path: Path) -> None:
    problem = toy()
    before = copy.deepcopy(problem.critic.state_dict())
    trained(problem, settings(), tmp_path)
    policy = detach_critic(problem.policy)
    assert isinstance(policy, LlamaForCausalLM)
    models.save(policy, problem.tokenizer, tmp_path / "model")
    again = models.load_language_model(tmp_path / "model")
    ids = torch.tensor([[1, 3, 6, 4]])
    assert torch.equal(again(input_ids=ids).logits, policy(input_ids=ids).logits)
    moved = [
        name for name, value in problem.critic.state_dict().items() if not torch.equal(value, before[name])
    ]
    assert "score.weight" in moved and any(name.startswith("model.layers") for name in moved)


def test_rollouts_take_as_many_prompts_as_there_are() -> None:
    assert group_size(128, 1000) == 1
    assert group_size(128, 100) == 2
    assert group_size(128, 1) == 128


def test_schedule() -> None:
    assert schedule(210, 3) == [0, 70, 140, 210]
    assert schedule(2, 5) == [0, 1, 2]


@pytest.fixture
def inputs(tmp_path: Path) -> Mapping[str, Path]:
    """Folders of a finished task, SFT and proxy."""
    folders = {name: tmp_path / name for name in ("task", "sft", "proxy")}
    for folder in folders.values():
        folder.mkdir()
    asked = [json.dumps([{"role": "user", "content": f"w{i % 10} w{i // 10}"}]) for i in range(60)]
    numbers = pa.array(range(60), pa.int32())
    columns = {"prompt_id": numbers, "question_id": numbers, "family": ["fact"] * 60}
    columns |= {"split": ["train", "heldout"] * 30, "messages": asked}
    write_table(folders["task"] / "prompts.parquet", columns)
    (folders["task"] / "task.json").write_text(json.dumps({"prompt_tokens": 8, "answer_tokens": 6}))
    models.save(tiny.policy(0, sharpness=2.0), tiny.tokenizer(), folders["sft"] / "model")
    models.save(tiny.reward_model(1), tiny.tokenizer(), folders["proxy"] / "model")
    return folders


def made(
    config: PPO, inputs: Mapping[str, Path], name: str
) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    out = inputs["task"].parent / name
    out.mkdir()
    ppo.run(config, inputs, out, RUNTIME)
    weights = models.load_language_model(out / "model").state_dict()
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
    own = ppo.load_problem(settings(), inputs, RUNTIME)
    order = [0, 1, 2, *reversed(range(3, 16))]
    other = tiny.reward_model(1)
    with torch.no_grad():
        embeddings = other.model.embed_tokens.weight
        embeddings.copy_(embeddings.clone()[order])  # row order[i] of the old table is word i of the new one
    models.save(other, tiny.tokenizer([tiny.WORDS[i] for i in order]), inputs["proxy"] / "model")
    foreign = ppo.load_problem(settings(), inputs, RUNTIME)
    answers = [[5, 6, tiny.EOS], [7, 8, 9, 10, 5, 5]]
    assert foreign.reward([0, 3], answers) == pytest.approx(own.reward([0, 3], answers), abs=1e-5)
    assert foreign.critic.config.vocab_size == own.policy.config.vocab_size


def test_metrics_are_lines_of_finite_numbers(tmp_path: Path) -> None:
    with Metrics(tmp_path) as metrics:
        report = ppo._Report(4, 10, metrics)
        for step in (2, 4, 6, 8, 10):
            report(step, {"kl": 1.0})
    assert [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").open()] == [4, 8, 10]
