"""What a trainer on rollouts works with: models, training prompts, and the proxy reward with its scale."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rlhf_lab.config.combination import Constrained
from rlhf_lab.config.online import Online
from rlhf_lab.config.runtime import Runtime
from rlhf_lab.models import loading, tokenization
from rlhf_lab.models.sampling import sample
from rlhf_lab.scoring import heldout_evaluation, reward_models, samples
from rlhf_lab.scoring.proxy import Proxy
from rlhf_lab.scoring.reward_models import Reward, RewardOf
from rlhf_lab.store.records import read_table

SFT_SAMPLES = 512  # answers that fix the reward's mean and SD; the SD is then known to 3 %


@dataclass(frozen=True)
class Constraints:
    """Thresholds on the members' mean rewards."""

    rule: Constrained
    members: Reward  # gives (M, N), on one scale

    def mean(self, rows: Sequence[int], answers: Sequence[Sequence[int]]) -> np.ndarray:
        """Return the mean over members, (N,): the proxy that is recorded."""
        return self.members(rows, answers).mean(axis=0)


@dataclass(frozen=True)
class Setup:
    """What a trainer on rollouts is given beside its configuration."""

    policy: PreTrainedModel
    sft: PreTrainedModel  # frozen: the initial policy
    reference: PreTrainedModel  # what penalties pull to: `sft`, or a copy that follows the policy
    tokenizer: PreTrainedTokenizerBase
    prompts: Sequence[Sequence[int]]
    reward: Reward
    mean: float  # of the reward on answers of `sft`
    sd: float
    answer_tokens: int
    constraints: Constraints | None = None  # if there are constraints, `reward` is the mean of their members


def load_setup(
    config: Online, inputs: Mapping[str, Path], runtime: Runtime, reward_of: RewardOf | None = None
) -> Setup:
    """Load the setup of a stage from its inputs `task`, `sft` and, unless another reward is given, `proxy`."""
    folder, task = inputs["sft"] / "model", inputs["task"]
    tokenizer = tokenization.load_tokenizer(folder)
    prompts = samples.load_prompts(task, tokenizer, "train").ids
    answer_tokens = json.loads((task / "task.json").read_text())["answer_tokens"]
    rule, constraints = None if reward_of else Proxy.load(inputs["proxy"]).rule, None
    if reward_of is not None:
        reward = reward_of(tokenizer)
    elif isinstance(rule, Constrained):
        members = reward_models.members_of_split(task, inputs["proxy"], tokenizer, "train", runtime)
        constraints = Constraints(rule, members)
        reward = constraints.mean
    else:
        reward = reward_models.rewards_of_split(task, inputs["proxy"], tokenizer, "train", runtime)
    sft = loading.load_language_model(folder, runtime.device)
    mean, sd = _mean_and_sd(sft, prompts, answer_tokens, reward, config.seed)
    return Setup(
        policy=loading.load_language_model(folder, runtime.device),
        sft=sft,
        reference=copy.deepcopy(sft) if config.reference_ema else sft,
        tokenizer=tokenizer,
        prompts=prompts,
        reward=reward,
        mean=mean,
        sd=sd,
        answer_tokens=answer_tokens,
        constraints=constraints,
    )


def load_critic(
    inputs: Mapping[str, Path], tokenizer: PreTrainedTokenizerBase, device: str, seed: int
) -> PreTrainedModel:
    """Load a value model from the reward model, or from SFT if there is none or it reads other tokens.

    SFT has no head for values: it is drawn by the seed.
    """
    if "proxy" in inputs:
        proxy = inputs["proxy"] / "model"
        if tokenization.same_tokens(tokenization.load_tokenizer(proxy), tokenizer):
            return loading.load_reward_model(proxy, device)
    torch.manual_seed(seed)
    return loading.load_reward_model(inputs["sft"] / "model", device)


def load_documents(task: Path, tokenizer: PreTrainedTokenizerBase, tokens: int) -> list[list[int]]:
    """Load the base corpus as token ids: each document with EOS, cut to its first `tokens`."""
    documents = read_table(task / "base.parquet")["text"].to_pylist()
    encoded = tokenizer(documents, add_special_tokens=False)["input_ids"]
    return [[*ids, tokenizer.eos_token_id][:tokens] for ids in encoded]


def _mean_and_sd(
    sft: PreTrainedModel, prompts: Sequence[Sequence[int]], answer_tokens: int, reward: Reward, seed: int
) -> tuple[float, float]:
    """Return the mean and SD of the reward over SFT answers to training prompts."""
    rows = np.random.default_rng(seed).integers(len(prompts), size=SFT_SAMPLES).tolist()
    generator = heldout_evaluation.generator(seed, 0)
    answers = sample(sft, [prompts[row] for row in rows], 1, answer_tokens, generator).tokens()
    rewards = reward(rows, answers)
    mean, sd = float(rewards.mean()), float(rewards.std())
    if not (np.isfinite(rewards).all() and sd > 0):
        raise FloatingPointError(
            f"the proxy gives SFT answers rewards of mean {mean} and SD {sd}, expected an SD above 0: "
            "there is nothing to optimise"
        )
    return mean, sd
