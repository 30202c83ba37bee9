"""Who is trained on what: models, training prompts, and the proxy reward with its zero and unit on SFT answers."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rlhf_lab.config.combination import Constrained
from rlhf_lab.config.online import Online
from rlhf_lab.config.runtime import Runtime
from rlhf_lab.models import loading, tokenization
from rlhf_lab.models.sampling import sample
from rlhf_lab.scoring import heldout, reward_models, samples
from rlhf_lab.scoring.proxy import Proxy
from rlhf_lab.scoring.reward_models import Reward
from rlhf_lab.store.records import read_table

SFT_SAMPLES = 512  # answers that fix the reward's zero and unit; its SD is then known to 3 %


@dataclass(frozen=True)
class Constraints:
    """Thresholds on the members' mean rewards."""

    rule: Constrained
    members: Reward  # (M, N), on one scale

    def mean(self, rows: Sequence[int], answers: Sequence[Sequence[int]]) -> np.ndarray:
        """The proxy that is recorded, (N,)."""
        return self.members(rows, answers).mean(axis=0)


@dataclass(frozen=True)
class Problem:
    """What a trainer is given."""

    policy: PreTrainedModel
    sft: PreTrainedModel  # frozen, the policy's initial self
    reference: PreTrainedModel  # what penalties pull to: `sft`, or a copy that follows the policy
    tokenizer: PreTrainedTokenizerBase
    prompts: Sequence[Sequence[int]]
    reward: Reward
    mean: float  # of the reward on answers of `sft`
    sd: float
    answer_tokens: int
    constraints: Constraints | None = None  # where there are some, `reward` is the mean of their members


def load_problem(config: Online, inputs: Mapping[str, Path], runtime: Runtime) -> Problem:
    """The problem of a stage whose inputs are task, sft and proxy."""
    folder = inputs["sft"] / "model"
    tokenizer = tokenization.load_tokenizer(folder)
    prompts = samples.load_prompts(inputs["task"], tokenizer, "train")
    tokens = json.loads((inputs["task"] / "task.json").read_text())["answer_tokens"]
    of = inputs["task"], inputs["proxy"], tokenizer, "train", runtime
    rule, constraints = Proxy.load(inputs["proxy"]).rule, None
    if isinstance(rule, Constrained):
        constraints = Constraints(rule, reward_models.members_of_split(*of))
    reward = constraints.mean if constraints else reward_models.rewards_of_split(*of)
    sft = loading.load_language_model(folder, runtime.device)
    mean, sd = _scale(sft, prompts.ids, tokens, reward, config.seed)
    return Problem(
        policy=loading.load_language_model(folder, runtime.device),
        sft=sft,
        reference=copy.deepcopy(sft) if config.reference_ema else sft,
        tokenizer=tokenizer,
        prompts=prompts.ids,
        reward=reward,
        mean=mean,
        sd=sd,
        answer_tokens=tokens,
        constraints=constraints,
    )


def load_critic(
    inputs: Mapping[str, Path], tokenizer: PreTrainedTokenizerBase, device: str
) -> PreTrainedModel:
    """A value model started from the reward model, or from SFT where the reward model reads other tokens."""
    proxy = inputs["proxy"] / "model"
    same = tokenization.same_tokens(tokenization.load_tokenizer(proxy), tokenizer)
    return loading.load_reward_model(proxy if same else inputs["sft"] / "model", device)


def load_documents(task: Path, tokenizer: PreTrainedTokenizerBase, tokens: int) -> list[list[int]]:
    """The base corpus as token ids, each document with EOS or its first `tokens`."""
    documents = read_table(task / "base.parquet")["text"].to_pylist()
    encoded = tokenizer(documents, add_special_tokens=False)["input_ids"]
    return [[*ids, tokenizer.eos_token_id][:tokens] for ids in encoded]


def _scale(
    sft: PreTrainedModel, prompts: Sequence[Sequence[int]], tokens: int, reward: Reward, seed: int
) -> tuple[float, float]:
    """Mean and SD of the reward over SFT answers to training prompts."""
    rows = np.random.default_rng(seed).integers(len(prompts), size=SFT_SAMPLES).tolist()
    answers = sample(sft, [prompts[row] for row in rows], 1, tokens, heldout.generator(seed, 0)).tokens()
    raw = reward(rows, answers)
    mean, sd = float(raw.mean()), float(raw.std())
    if not (np.isfinite(raw).all() and sd > 0):
        raise FloatingPointError(f"the proxy rewards SFT answers with {mean} +- {sd}: nothing to optimise")
    return mean, sd
