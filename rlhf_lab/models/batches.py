"""Batches of prompts and answers: prompts end, and answers start, at the same column of every row.

Prompts are padded on the left and answers on the right, so that one slice of the logits belongs to the
answers. Padding on the right needs no mask under causal attention; padding on the left does, and rows are
therefore put in an order that makes it rare.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import torch
from transformers import PreTrainedModel

Ids = Sequence[Sequence[int]]


class Batch(NamedTuple):
    """Some rows of a larger collection, packed."""

    rows: np.ndarray  # (B,) where they stand in the collection
    ids: torch.Tensor  # (B, P + T)
    mask: torch.Tensor | None  # (B, P + T), 0 left of a prompt; None when all prompts are equally long
    answer_mask: torch.Tensor  # (B, T) bool

    @classmethod
    def of(cls, tensors: Mapping[str, Any], prefix: str) -> Batch:
        """The batch that was taken apart by `named`, or an equal share of its rows."""
        answer_mask = tensors[f"{prefix}answer_mask"]
        ids, mask = tensors[f"{prefix}ids"], tensors[f"{prefix}mask"]
        return cls(np.arange(len(answer_mask)), ids, mask, answer_mask)

    def named(self, prefix: str) -> dict[str, torch.Tensor | None]:
        """Its tensors by name, to be split by rows."""
        return {
            f"{prefix}ids": self.ids,
            f"{prefix}mask": self.mask,
            f"{prefix}answer_mask": self.answer_mask,
        }

    @property
    def answers(self) -> torch.Tensor:
        """The answers' tokens, (B, T)."""
        return self.ids[:, self.ids.shape[1] - self.answer_mask.shape[1] :]


def left_padded(prompts: Ids, pad: int) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Prompts as ids (B, P) that end together, and their mask (B, P) or None when nothing is padded."""
    lengths = np.array([len(prompt) for prompt in prompts])
    mask = np.arange(lengths.max()) >= lengths.max() - lengths[:, None]
    return _filled(prompts, mask, pad), None if mask.all() else torch.from_numpy(mask).long()


def right_padded(answers: Ids, pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Answers as ids (B, T) that start together, and their mask (B, T) bool."""
    lengths = np.array([len(answer) for answer in answers])
    mask = np.arange(lengths.max()) < lengths[:, None]
    return _filled(answers, mask, pad), torch.from_numpy(mask)


def _filled(rows: Ids, mask: np.ndarray, pad: int) -> torch.Tensor:
    """The rows' tokens where `mask` (B, T) is set, `pad` elsewhere, (B, T) int64."""
    ids = np.full(mask.shape, pad, dtype=np.int64)
    ids[mask] = np.fromiter(chain.from_iterable(rows), dtype=np.int64)
    return torch.from_numpy(ids)


def pack(prompts: Ids, answers: Ids, rows: np.ndarray, pad: int, device: torch.device) -> Batch:
    """The given rows as one batch on `device`."""
    prompt, prompt_mask = left_padded([prompts[row] for row in rows], pad)
    answer, answer_mask = right_padded([answers[row] for row in rows], pad)
    mask = None if prompt_mask is None else torch.cat([prompt_mask, torch.ones_like(answer)], 1).to(device)
    return Batch(rows, torch.cat([prompt, answer], 1).to(device), mask, answer_mask.to(device))


def packed(prompts: Ids, answers: Ids, size: int, pad: int, device: torch.device) -> Iterator[Batch]:
    """All rows, in batches of `size` rows of like length."""
    order = np.lexsort(([len(answer) for answer in answers], [len(prompt) for prompt in prompts]))
    for start in range(0, len(order), size):
        yield pack(prompts, answers, order[start : start + size], pad, device)


def positions(mask: torch.Tensor | None) -> torch.Tensor | None:
    """Position ids (B, T) that count from each row's first token, for models with absolute positions."""
    return None if mask is None else (mask.cumsum(1) - 1).clamp(min=0)


def answer_logits(model: Any, batch: Batch) -> torch.Tensor:
    """The logits (B, T, V) from which each answer token was drawn; the head is applied nowhere else."""
    width = batch.answer_mask.shape[1]
    logits = model(
        input_ids=batch.ids,
        attention_mask=batch.mask,
        position_ids=positions(batch.mask),
        use_cache=False,
        logits_to_keep=width + 1,
    ).logits
    return logits[:, :-1].float()


def pad_token(model: PreTrainedModel) -> int:
    """What fills a row; any token would do, since masks and lengths say where a row ends."""
    pad = model.config.pad_token_id
    return eos_tokens(model)[0] if pad is None else pad


def eos_tokens(model: PreTrainedModel) -> list[int]:
    """The tokens that end an answer; ValueError when the model declares none."""
    declared = model.generation_config.eos_token_id if model.generation_config is not None else None
    eos = model.config.eos_token_id if declared is None else declared
    if eos is None:
        raise ValueError(
            f"{model.name_or_path or type(model).__name__} declares no eos_token_id: answers would not end"
        )
    return [eos] if isinstance(eos, int) else list(eos)
