"""Batches of prompts and answers, in which the answers of all rows start at the same column.

Prompts are padded on the left and answers on the right, so that one slice of the logits belongs to the answers. Padding
on the right needs no attention mask under causal attention. Padding on the left does; rows are therefore ordered by the
length of their prompts, which makes it rare.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import torch
from transformers import PreTrainedModel

Ids = Sequence[Sequence[int]]  # tokens of N texts


class Batch(NamedTuple):
    """B rows of a larger collection of prompts of up to P tokens and answers of up to T tokens."""

    rows: np.ndarray  # (B,) indices in the collection
    ids: torch.Tensor  # (B, P + T)
    mask: torch.Tensor | None  # (B, P + T), 0 left of a prompt; None when all prompts are equally long
    answer_mask: torch.Tensor  # (B, T) bool

    @classmethod
    def of(cls, tensors: Mapping[str, Any], prefix: str) -> Batch:
        """Return the batch whose tensors `named` returned, or that of an equal share of the rows of each tensor."""
        answer_mask = tensors[f"{prefix}answer_mask"]
        ids, mask = tensors[f"{prefix}ids"], tensors[f"{prefix}mask"]
        return cls(np.arange(len(answer_mask)), ids, mask, answer_mask)

    def named(self, prefix: str) -> dict[str, torch.Tensor | None]:
        """Return the tensors by name, each name with `prefix`, to be split by rows."""
        return {
            f"{prefix}ids": self.ids,
            f"{prefix}mask": self.mask,
            f"{prefix}answer_mask": self.answer_mask,
        }

    @property
    def answers(self) -> torch.Tensor:
        """The tokens of the answers, (B, T)."""
        return self.ids[:, self.ids.shape[1] - self.answer_mask.shape[1] :]


def left_padded(prompts: Ids, pad: int) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return prompts padded on the left (B, P), and their mask (B, P), or None if nothing is padded."""
    lengths = np.array([len(prompt) for prompt in prompts])
    mask = np.arange(lengths.max()) >= lengths.max() - lengths[:, None]
    return _filled(prompts, mask, pad), None if mask.all() else torch.from_numpy(mask).long()


def right_padded(answers: Ids, pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return answers padded on the right (B, T), and their mask (B, T), bool."""
    lengths = np.array([len(answer) for answer in answers])
    mask = np.arange(lengths.max()) < lengths[:, None]
    return _filled(answers, mask, pad), torch.from_numpy(mask)


def _filled(rows: Ids, mask: np.ndarray, pad: int) -> torch.Tensor:
    """Return the tokens of the rows where `mask` (B, T) is set, and `pad` elsewhere, (B, T) int64."""
    ids = np.full(mask.shape, pad, dtype=np.int64)
    ids[mask] = np.fromiter(chain.from_iterable(rows), dtype=np.int64)
    return torch.from_numpy(ids)


def pack(prompts: Ids, answers: Ids, rows: np.ndarray, pad: int, device: torch.device) -> Batch:
    """Return the rows `rows` (B,) of a collection as one batch on `device`."""
    prompt, prompt_mask = left_padded([prompts[row] for row in rows], pad)
    answer, answer_mask = right_padded([answers[row] for row in rows], pad)
    mask = None if prompt_mask is None else torch.cat([prompt_mask, torch.ones_like(answer)], 1).to(device)
    return Batch(rows, torch.cat([prompt, answer], 1).to(device), mask, answer_mask.to(device))


def packed(prompts: Ids, answers: Ids, size: int, pad: int, device: torch.device) -> Iterator[Batch]:
    """Yield all rows of a collection in batches of up to `size` rows of similar length."""
    order = np.lexsort(([len(answer) for answer in answers], [len(prompt) for prompt in prompts]))
    for start in range(0, len(order), size):
        yield pack(prompts, answers, order[start : start + size], pad, device)


def positions(mask: torch.Tensor | None) -> torch.Tensor | None:
    """Return position ids (B, T) that count from the first token of each row, or None if nothing is padded."""
    return None if mask is None else (mask.cumsum(1) - 1).clamp(min=0)


def answer_logits(model: Any, batch: Batch) -> torch.Tensor:
    """Return the float32 logits (B, T, V) of the answer tokens. The head is applied to no other position."""
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
    """Return the token for padding, or a token that ends answers if the model has none.

    Any token would do, since masks and lengths say where a row ends.
    """
    pad = model.config.pad_token_id
    return eos_tokens(model)[0] if pad is None else pad


def eos_tokens(model: PreTrainedModel) -> list[int]:
    """Return the tokens that end an answer; ValueError if the model declares none."""
    declared = model.generation_config.eos_token_id if model.generation_config is not None else None
    eos = model.config.eos_token_id if declared is None else declared
    if eos is None:
        raise ValueError(
            f"{model.name_or_path or type(model).__name__} declares no eos_token_id: answers would not end"
        )
    return [eos] if isinstance(eos, int) else list(eos)
