"""Rewards of stored answers, in batches of like length."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rlhf_lab import text
from rlhf_lab.config import Runtime
from rlhf_lab.evaluation import load_prompts
from rlhf_lab.models import load_reward_model
from rlhf_lab.records import read_table

Reward = Callable[[Sequence[int], Sequence[Sequence[int]]], np.ndarray]  # numbers of prompts, answers -> (N,)


@torch.inference_mode()
def reward(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]], batch: int
) -> np.ndarray:
    """The reward of each answer to its prompt, (N,) float32, from token ids; right-padded, longest batches last."""
    lengths = np.array([len(p) + len(a) for p, a in zip(prompts, answers, strict=True)])
    order = np.argsort(lengths, kind="stable")
    scores = np.empty(len(order), dtype=np.float32)
    device, pad = model.device, model.config.pad_token_id
    for start in range(0, len(order), batch):
        rows = order[start : start + batch]
        ids = np.full((len(rows), lengths[rows].max()), pad, dtype=np.int64)  # (B, T)
        for line, row in zip(ids, rows, strict=True):
            line[: lengths[row]] = [*prompts[row], *answers[row]]
        mask = np.arange(ids.shape[1]) < lengths[rows, None]
        logits = model(
            input_ids=torch.from_numpy(ids).to(device), attention_mask=torch.from_numpy(mask).to(device)
        ).logits
        scores[rows] = logits[:, 0].float().cpu().numpy()
    return scores


def reward_of_split(
    task: Path, folder: Path, writer: PreTrainedTokenizerBase, split: str, runtime: Runtime
) -> Reward:
    """Rewards by the model in `folder` of answers (ids of `writer`) to prompts, by their numbers within the split."""
    reader = text.load_tokenizer(folder / "model")
    prompts = load_prompts(task, reader, split).ids
    limit = json.loads((task / "task.json").read_text())["answer_tokens"]
    model = load_reward_model(folder / "model", runtime.device)
    same = text.same_tokens(reader, writer)

    def rewards(rows: Sequence[int], answers: Sequence[Sequence[int]]) -> np.ndarray:
        if not same:
            texts = [text.answer_text(writer, ids) for ids in answers]
            answers = text.answers_read_by(reader, writer, texts, answers, limit)
        return reward(model, [prompts[row] for row in rows], answers, runtime.score_batch)

    return rewards


def reward_of_samples(
    task: Path, folder: Path, samples: pa.Table, writer: Path, runtime: Runtime
) -> np.ndarray:
    """The reward of stored answers (prompt_id, text, token_ids) by the model in `folder`, (N,) float32.

    `writer` holds the tokenizer whose ids the answers are; the reward model may have another. An answer sampled
    several times is scored once: less work, and equal answers tie exactly.
    """
    limits = json.loads((task / "task.json").read_text())
    tokenizer = text.load_tokenizer(folder / "model")
    model = load_reward_model(folder / "model", runtime.device)
    messages = read_table(task / "prompts.parquet")["messages"].to_pylist()
    prompts = text.prompts_ids(tokenizer, messages, limits["prompt_tokens"])
    asked = [prompts[i] for i in samples["prompt_id"].to_pylist()]
    answers = text.answers_read_by(
        tokenizer,
        text.load_tokenizer(writer),
        samples["text"].to_pylist(),
        samples["token_ids"].to_pylist(),
        limits["answer_tokens"],
    )
    place: dict[tuple[int, ...], int] = {}
    whole = [(*p, *a) for p, a in zip(asked, answers, strict=True)]
    which = [place.setdefault(ids, len(place)) for ids in whole]
    return reward(model, [()] * len(place), list(place), runtime.score_batch)[which]
