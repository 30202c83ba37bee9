"""Rewards of stored answers, in batches of like length."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from transformers import PreTrainedModel


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
