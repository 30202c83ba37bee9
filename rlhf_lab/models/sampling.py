"""Samples from a language model at temperature 1 over the full vocabulary.

For many short answers this is faster than `transformers.generate`: answers that begin alike, above all with the same
prompt, share one row of the model's batch until they differ; finished answers leave the batch; and a draw takes one
uniform number (by the inverse of the cumulative distribution) instead of one per token of the vocabulary. The uniform
numbers of an answer are fixed before its first token, so that an answer does not depend on the others, up to rounding
in the logits.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from transformers import DynamicCache, PreTrainedModel

from rlhf_lab.models.batches import Ids, eos_tokens, left_padded, pad_token

BATCH = 1024  # answers at a time, which is enough to hide the cost of a call


class Samples(NamedTuple):
    """n sampled answers to each of P prompts: row i * n + j is answer j to prompt i."""

    ids: torch.Tensor  # (P * n, T) int64, padding after the end
    lengths: torch.Tensor  # (P * n,) int64, in tokens, EOS included
    finished: torch.Tensor  # (P * n,) bool, whether EOS was reached
    logps: torch.Tensor  # (P * n, T) float32, nats, 0 at padding

    def tokens(self) -> list[list[int]]:
        """Return the tokens of each answer, without padding."""
        return [row[:length] for row, length in zip(self.ids.tolist(), self.lengths.tolist(), strict=True)]


def draw(logits: torch.Tensor, at: torch.Tensor, uniform: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw a token for each row b from distribution `at[b]` of the S distributions `logits` (S, V).

    `uniform` (B,) are the uniform numbers to draw with. Returns the tokens (B,) and their log-probabilities (B,), nats.
    Raises FloatingPointError if logits are not finite.
    """
    probability = torch.softmax(logits, dim=-1)
    mass = probability.cumsum(-1, dtype=torch.float64)  # in float32 rare tokens would be lost beside the sum
    total = mass[:, -1]
    if not torch.isfinite(total).all():
        raise FloatingPointError("the policy's logits are not finite: nothing can be sampled from it")
    token = torch.searchsorted(mass[at], (uniform * total[at])[:, None], right=True)[:, 0]
    token.clamp_(max=logits.shape[-1] - 1)
    return token, probability[at, token].log()


def sample(
    model: PreTrainedModel,
    prompts: Ids,
    n: int,
    max_tokens: int,
    generator: torch.Generator,
    batch: int = BATCH,
) -> Samples:
    """Return `n` answers of at most `max_tokens` tokens to each prompt, sampled `batch` at a time."""
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
    """Return one answer to prompt `which[b]` (B,) for each row b, drawn with the uniform numbers (B, T)."""
    device, vocabulary = model.device, model.config.vocab_size
    uniform, eos = uniform.to(device), torch.tensor(eos_tokens(model), device=device)
    rows, steps = uniform.shape
    ids = torch.full((rows, steps), pad_token(model), device=device)
    logps = torch.zeros(rows, steps, device=device)
    lengths = torch.zeros(rows, dtype=torch.int64, device=device)
    finished = torch.zeros(rows, dtype=torch.bool, device=device)

    distinct, at = which.to(device).unique(return_inverse=True)
    prefixes = _Prefixes(model, [prompts[i] for i in distinct.tolist()], steps)
    going = torch.arange(rows, device=device)  # rows that have not ended; row going[b] has prefix at[b]
    for step in range(steps):
        token, logp = draw(prefixes.logits, at, uniform[going, step])
        ids[going, step], logps[going, step] = token, logp
        lengths[going] = step + 1
        ended = torch.isin(token, eos)
        finished[going] = ended
        going, at, token = going[~ended], at[~ended], token[~ended]
        if len(going) == 0 or step == steps - 1:
            break
        pairs, at = (at * vocabulary + token).unique(return_inverse=True)
        prefixes.extend(pairs // vocabulary, pairs % vocabulary)
    return Samples(ids, lengths, finished, logps)


class _Prefixes:
    """The S distinct prompts with what answers have so far: cache, mask, and the logits (S, V) of the next token."""

    def __init__(self, model: PreTrainedModel, prompts: Ids, steps: int) -> None:
        prompt, mask = left_padded(prompts, pad_token(model))
        self.model: Any = model
        self.cache = DynamicCache(config=model.config)
        self.seen = prompt.shape[1]
        self.mask: torch.Tensor | None = None
        self.offset = torch.zeros(len(prompt), 1, dtype=torch.int64, device=model.device)  # left padding
        if mask is not None:
            answers = torch.ones(len(mask), steps, dtype=mask.dtype)
            self.mask = torch.cat([mask, answers], 1).to(model.device)
            self.offset = (self.seen - mask.sum(1, keepdim=True)).to(model.device)
        start = torch.arange(self.seen, device=model.device) - self.offset
        self._forward(prompt.to(model.device), start.clamp(min=0))

    def extend(self, parents: torch.Tensor, tokens: torch.Tensor) -> None:
        """Replace the prefixes by those numbered `parents` (S,), each with one more token `tokens` (S,)."""
        count = len(self.offset)
        if len(parents) != count or not torch.equal(parents, torch.arange(count, device=parents.device)):
            self.cache.batch_select_indices(parents)
            self.offset = self.offset[parents]
            self.mask = None if self.mask is None else self.mask[parents]
        self.seen += 1
        self._forward(tokens[:, None], self.seen - 1 - self.offset)

    def _forward(self, ids: torch.Tensor, positions: torch.Tensor) -> None:
        outputs = self.model(
            input_ids=ids,
            attention_mask=None if self.mask is None else self.mask[:, : self.seen],
            position_ids=positions,
            cache=self.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        self.logits = outputs.logits[:, -1].float()
