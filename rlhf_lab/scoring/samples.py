"""The rows of `samples.parquet`: answers of a policy to held-out prompts, with their KL from a reference."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.compute as pc
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rlhf_lab.models import sampling
from rlhf_lab.models.log_ratios import LogRatios, check_k1, log_ratios
from rlhf_lab.models.tokenization import answer_text, prompts_ids
from rlhf_lab.store.records import read_table

Columns = dict[str, Any]
LISTS = {"family", "text", "token_ids"}  # columns that are lists; the others are numpy arrays


class Prompts(NamedTuple):
    """Prompts as token ids, with their names."""

    prompt_id: np.ndarray  # (P,) int32
    question_id: np.ndarray  # (P,) int32
    family: list[str]
    ids: list[list[int]]

    def take(self, rows: Sequence[int] | np.ndarray) -> Prompts:
        """Return the prompts in these rows, in this order."""
        return Prompts(
            self.prompt_id[rows],
            self.question_id[rows],
            [self.family[row] for row in rows],
            [self.ids[row] for row in rows],
        )


def load_prompts(task: Path, tokenizer: PreTrainedTokenizerBase, split: str) -> Prompts:
    """Load the prompts of one split (`train`, `heldout`) of the task in the folder `task`."""
    limit = json.loads((task / "task.json").read_text())["prompt_tokens"]
    table = read_table(task / "prompts.parquet")
    table = table.filter(pc.field("split") == split)
    return Prompts(
        table["prompt_id"].to_numpy(),
        table["question_id"].to_numpy(),
        table["family"].to_pylist(),
        prompts_ids(tokenizer, table["messages"].to_pylist(), limit),
    )


def spread(prompts: Prompts, count: int) -> Prompts:
    """Return at most `count` prompts about as many questions as possible; the same for every policy and seed."""
    shuffled = np.random.default_rng(0).permutation(len(prompts.ids))
    taken: dict[int, int] = {}
    turn = np.empty(len(shuffled), dtype=np.int64)  # the number of earlier prompts about the same question
    for row in shuffled:
        question = int(prompts.question_id[row])
        before = taken.get(question, 0)
        turn[row], taken[question] = before, before + 1
    by_turn = shuffled[np.argsort(turn[shuffled], kind="stable")]
    return prompts.take(np.sort(by_turn[:count]))


def answer_rows(
    policy: PreTrainedModel,
    ref: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Prompts,
    samples: int,
    checkpoint: int,
    max_tokens: int,
    generator: torch.Generator,
) -> Columns:
    """Sample `samples` answers of `policy` to each prompt; return them as the columns of `samples.parquet`."""
    sampled = sampling.sample(policy, prompts.ids, samples, max_tokens, generator)
    answers = sampled.tokens()
    texts = {ids: answer_text(tokenizer, ids) for ids in dict.fromkeys(map(tuple, answers))}
    if policy is ref:  # the log-probabilities came with the samples
        ratios = LogRatios.of_itself(sampled.logps.sum(1).numpy())
    else:
        asked = [ids for ids in prompts.ids for _ in range(samples)]
        ratios = log_ratios(policy, ref, asked, answers)
        check_k1(ratios.k1)
    return {
        "prompt_id": np.repeat(prompts.prompt_id, samples),
        "question_id": np.repeat(prompts.question_id, samples),
        "family": [family for family in prompts.family for _ in range(samples)],
        "checkpoint": np.full(len(answers), checkpoint, dtype=np.int32),
        "sample": np.tile(np.arange(samples, dtype=np.int32), len(prompts.ids)),
        "text": [texts[tuple(ids)] for ids in answers],
        "token_ids": answers,
        "tokens": sampled.lengths.numpy().astype(np.int32),
        "finished": sampled.finished.numpy(),
        "logp": ratios.logp,
        "ref_logp": ratios.ref_logp,
        "kl": ratios.exact,
        "k1": ratios.k1,
        "k2": ratios.k2,
        "k3": ratios.k3,
        "chi2": ratios.chi2,
    }


def read_columns(path: Path) -> Columns:
    """Read the columns of a stored table of samples or references, as lists and numpy arrays."""
    table = read_table(path)
    return {
        name: table[name].to_pylist() if name in LISTS else table[name].to_numpy()
        for name in table.column_names
    }


def concatenated(parts: Sequence[Mapping[str, Any]]) -> Columns:
    """Return the columns of several parts, one after the other."""
    return {
        name: np.concatenate([part[name] for part in parts])
        if isinstance(parts[0][name], np.ndarray)
        else [value for part in parts for value in part[name]]
        for name in parts[0]
    }
