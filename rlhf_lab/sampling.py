"""Samples from a language model at temperature 1 over the full vocabulary.

Faster than `transformers.generate` for many short answers: a prompt is read once however many answers it
gets, finished rows leave the batch, and a draw costs one uniform number (inverse of the cumulative
distribution) instead of one per token of the vocabulary. Every row has uniforms of its own, fixed before
the first token: what a row says depends neither on its neighbours nor on whether finished rows are dropped
(up to rounding in the logits).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from transformers import DynamicCache, PreTrainedModel

from rlhf_lab.batches import Ids, eos_tokens, left_padded, pad_token

BATCH = 1024  # rows at a time: enough to hide the cost of a call, few enough for the cache of the processor
KEEP = 0.8  # finished rows are dropped when no more than this share of the batch is still going


class Samples(NamedTuple):
    """Sampled answers, prompt by prompt: row i * n + j is answer j to prompt i."""

    ids: torch.Tensor  # (P * n, T) int64, padding after the end
    lengths: torch.Tensor  # (P * n,) int64 tokens, EOS included
    finished: torch.Tensor  # (P * n,) bool, EOS reached
    logps: torch.Tensor  # (P * n, T) float32, nats, 0 at padding

    def tokens(self) -> list[list[int]]:
        """The answers without padding."""
        return [row[:length] for row, length in zip(self.ids.tolist(), self.lengths.tolist(), strict=True)]


def draw(logits: torch.Tensor, uniform: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A token for each row of logits (B, V) from one uniform number (B,), and its log-probability (B,)."""
    probability = torch.softmax(logits, dim=-1)
    mass = probability.cumsum(-1, dtype=torch.float64)  # in float32 rare tokens would be lost beside the sum
    total = mass[:, -1:]
    if not torch.isfinite(total).all():
        raise FloatingPointError("the policy's logits are not finite: nothing can be sampled from it")
    token = torch.searchsorted(mass, uniform[:, None] * total, right=True).clamp_(max=logits.shape[-1] - 1)
    return token[:, 0], probability.gather(1, token)[:, 0].log()


def sample(
    model: PreTrainedModel,
    prompts: Ids,
    n: int,
    max_tokens: int,
    generator: torch.Generator,
    batch: int = BATCH,
) -> Samples:
    """`n` answers of at most `max_tokens` tokens to each prompt."""
    training, rows = model.training, len(prompts) * n
    model.eval()
    ids = torch.full((rows, max_tokens), pad_token(model))
    logps, lengths = torch.zeros(rows, max_tokens), torch.zeros(rows, dtype=torch.int64)
    finished = torch.zeros(rows, dtype=torch.bool)
    by_length = np.argsort([len(prompt) for prompt in prompts], kind="stable")
    order = torch.from_numpy((by_length[:, None] * n + np.arange(n)).reshape(-1))
    for chosen in order.split(batch):
        uniform = torch.rand(
            len(chosen), max_tokens, generator=generator, device=generator.device, dtype=torch.float64
        )
        part = _continue(model, prompts, chosen // n, uniform)
        ids[chosen], logps[chosen] = part.ids.cpu(), part.logps.cpu()
        lengths[chosen], finished[chosen] = part.lengths.cpu(), part.finished.cpu()
    model.train(training)
    return Samples(ids, lengths, finished, logps)


@torch.inference_mode()
def _continue(model: PreTrainedModel, prompts: Ids, which: torch.Tensor, uniform: torch.Tensor) -> Samples:
    """One answer to prompt `which[b]` for each b, (B,), each from its own uniforms (B, T)."""
    device, eos = model.device, torch.tensor(eos_tokens(model), device=model.device)
    uniform = uniform.to(device)
    rows, steps = uniform.shape
    ids = torch.full((rows, steps), pad_token(model), device=device)
    logps, lengths = (
        torch.zeros(rows, steps, device=device),
        torch.zeros(rows, dtype=torch.int64, device=device),
    )
    finished = torch.zeros(rows, dtype=torch.bool, device=device)
    state = _Decoding(model, prompts, which, steps)
    alive = torch.arange(rows, device=device)  # the rows that are still in the batch
    for step in range(steps):
        token, logp = draw(state.logits, uniform[alive, step])
        going = ~finished[alive]
        ids[alive, step] = torch.where(going, token, ids[alive, step])
        logps[alive, step] = torch.where(going, logp, 0)
        lengths[alive] += going
        finished[alive] |= torch.isin(token, eos) & going
        going = ~finished[alive]
        left = int(going.sum())
        if left == 0 or step == steps - 1:
            break
        if left <= KEEP * len(alive):
            kept = going.nonzero()[:, 0]
            state.keep(kept)
            alive, token = alive[kept], token[kept]
        state.advance(token)
    return Samples(ids, lengths, finished, logps)


class _Decoding:
    """A batch in the middle of its answers: cache, mask, and the logits (B, V) of the next token."""

    def __init__(self, model: PreTrainedModel, prompts: Ids, which: torch.Tensor, steps: int) -> None:
        distinct, repeat = which.unique(return_inverse=True)
        prompt, mask = left_padded([prompts[int(i)] for i in distinct], pad_token(model))
        self.model: Any = model
        self.cache = DynamicCache(config=model.config)
        self.seen = prompt.shape[1]
        self.mask: torch.Tensor | None = None
        self.offset = torch.zeros(
            len(prompt), 1, dtype=torch.int64, device=model.device
        )  # padding on the left
        if mask is not None:
            answers = torch.ones(len(mask), steps, dtype=mask.dtype)
            self.mask = torch.cat([mask, answers], 1).to(model.device)
            self.offset = (self.seen - mask.sum(1, keepdim=True)).to(model.device)
        start = torch.arange(self.seen, device=model.device) - self.offset
        self._forward(prompt.to(model.device), start.clamp(min=0))
        self.keep(repeat.to(model.device))

    def keep(self, rows: torch.Tensor) -> None:
        """Go on with these rows only; a row may be named more than once."""
        self.cache.batch_select_indices(rows)
        self.logits, self.offset = self.logits[rows], self.offset[rows]
        self.mask = None if self.mask is None else self.mask[rows]

    def advance(self, token: torch.Tensor) -> None:
        """Read one more token (B,) in every row."""
        self.seen += 1
        self._forward(token[:, None], self.seen - 1 - self.offset)

    def _forward(self, ids: torch.Tensor, positions: torch.Tensor) -> None:
        self.logits = (
            self.model(
                input_ids=ids,
                attention_mask=None if self.mask is None else self.mask[:, : self.seen],
                position_ids=positions,
                past_key_values=self.cache,
                use_cache=True,
                logits_to_keep=1,
            )
            .logits[:, -1]
            .float()
        )
