"""A small problem for trainers on rollouts, and a configuration of each method that solves it in seconds."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import tiny

from rlhf_lab.config.online import GRPO, PPO, RLOO, Divergence, Online, OnlineDPO, PairLoss, Place
from rlhf_lab.models import loading
from rlhf_lab.stages.policy.online.grpo_rloo import GRPOOnRollouts, RLOOOnRollouts
from rlhf_lab.stages.policy.online.online_dpo import OnlineDPOTrainer
from rlhf_lab.stages.policy.online.ppo import PPOTrainer
from rlhf_lab.stages.policy.online.rollouts import Rollouts
from rlhf_lab.stages.policy.online.setup import Setup
from rlhf_lab.store.records import write_table

METHODS = (PPO, GRPO, RLOO, OnlineDPO)
DOCUMENTS = [[1, 6, 7, 8, 9, 2], [1, 8, 6, 2]] * 8
COMMON: dict[str, Any] = {
    "seed": 0, "prompts": 6, "samples": 4, "steps": 8, "rollout": 16, "minibatches": 2, "passes": 2, "lr": 2e-3,
    "warmup": 2, "beta2": 0.95, "eos_penalty": 0.0, "reference_ema": 0.0, "kl_budget": None, "evaluations": 2,
}  # fmt: skip
PENALTY: dict[str, Any] = {
    "clip": 0.2, "divergence": Divergence.reverse_kl, "kl_coef": 0.0, "kl_place": Place.reward, "kl_target": None,
}  # fmt: skip
OWN: dict[type[Online], dict[str, Any]] = {
    PPO: {
        **PENALTY, "critic_lr": 1e-2, "value_clip": 1.0, "gamma": 1.0, "gae_lambda": 0.95, "ptx_coef": 0.0,
        "ptx_batch": 4,
    },
    GRPO: {**PENALTY, "group": 4},
    RLOO: {**PENALTY, "group": 4},
    OnlineDPO: {"beta": 0.5, "loss": PairLoss.sigmoid},
}  # fmt: skip


def settings(method: type[Online] = PPO, **changes: Any) -> Any:
    """Return a configuration of `method` for `toy`, with `changes`."""
    return method(**(COMMON | OWN[method] | changes))


def toy(reward: Any = None, follows: bool = False, sharpness: float = 1.0) -> Setup:
    """Return the problem to say "good" as often as possible in at most 12 tokens, from a policy near uniform."""
    policy = tiny.policy(hidden=32, sharpness=sharpness, layers=1)
    sft = copy.deepcopy(policy)
    prompts = [[1, 3, 6 + i % 10, 4] for i in range(40)] + [[1, 3, 6 + i % 10, 7, 4] for i in range(40)]

    def count(rows: Any, answers: Any) -> np.ndarray:
        return np.array([answer.count(tiny.GOOD) for answer in answers], dtype=np.float32)

    return Setup(
        policy=policy,
        sft=sft,
        reference=copy.deepcopy(sft) if follows else sft,
        tokenizer=tiny.tokenizer(),
        prompts=prompts,
        reward=reward or count,
        mean=0.7,
        sd=1.0,
        answer_tokens=12,
    )


def trainer(setup: Setup, config: Any, out: Path, lines: list[dict[str, float]]) -> Rollouts:
    """Return the method's trainer; it appends its reports to `lines`."""

    def report(step: int, numbers: dict[str, float]) -> None:
        lines.append(numbers)

    if isinstance(config, PPO):
        return PPOTrainer(setup, tiny.reward_model(1, 32, layers=1), DOCUMENTS, config, out, "cpu", report)
    kinds = {GRPO: GRPOOnRollouts, RLOO: RLOOOnRollouts, OnlineDPO: OnlineDPOTrainer}
    return kinds[type(config)](setup, config, out, "cpu", report)


def trained(setup: Setup, config: Any, out: Path) -> list[dict[str, float]]:
    """Train to the end and return the reports."""
    lines: list[dict[str, float]] = []
    trainer(setup, config, out, lines).train()
    return lines


@pytest.fixture
def inputs(tmp_path: Path) -> Mapping[str, Path]:
    """Return the folders of a finished task, SFT and proxy."""
    folders = {name: tmp_path / name for name in ("task", "sft", "proxy")}
    for folder in folders.values():
        folder.mkdir()
    asked = [json.dumps([{"role": "user", "content": f"w{i % 10} w{i // 10}"}]) for i in range(60)]
    numbers = pa.array(range(60), pa.int32())
    columns = {"prompt_id": numbers, "question_id": numbers, "family": ["fact"] * 60}
    columns |= {"split": ["train", "heldout"] * 30, "messages": asked}
    write_table(folders["task"] / "prompts.parquet", columns)
    write_table(folders["task"] / "base.parquet", {"text": [f"w{i % 10} w{i % 7} good" for i in range(40)]})
    (folders["task"] / "task.json").write_text(json.dumps({"prompt_tokens": 8, "answer_tokens": 6}))
    loading.save(tiny.policy(0, sharpness=2.0), tiny.tokenizer(), folders["sft"] / "model")
    loading.save(tiny.reward_model(1), tiny.tokenizer(), folders["proxy"] / "model")
    return folders
