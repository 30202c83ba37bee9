"""Rewards of answers, in batches of similar length that fit the processor's cache.

A decoder with a `score` head is run for its hidden states: rows that are padded on the right need no mask under causal
attention, and the head is applied to one token of each row. If many answers share a prompt, it is read once for all of
them. Any other classifier is called whole.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase
from transformers.modeling_layers import GenericForSequenceClassification

from rlhf_lab.config.runtime import Runtime
from rlhf_lab.models import tokenization
from rlhf_lab.models.batches import Ids, right_padded
from rlhf_lab.models.loading import load_reward_model
from rlhf_lab.scoring.proxy import Proxy
from rlhf_lab.scoring.samples import load_prompts
from rlhf_lab.store.records import read_table

TOKENS = 1536  # in a batch on a CPU: twice as many leave its cache, half as many waste calls
SHARERS = 32  # answers to each prompt from which on it pays to read the prompts apart
PROMPTS = 64  # prompts in a call that reads them apart

# From rows of prompts and answers as ids, rewards (N,).
Reward = Callable[[Sequence[int], Sequence[Sequence[int]]], np.ndarray]
# From the tokenizer that the answers are written in, the reward of answers to training prompts.
RewardOf = Callable[[PreTrainedTokenizerBase], Reward]


@torch.inference_mode()
def reward(model: PreTrainedModel, prompts: Ids, answers: Ids, batch: int) -> np.ndarray:
    """Return the reward of each answer to its prompt, (N,) float32, from token ids; at most `batch` rows at a time."""
    scores, trunk = np.empty(len(answers), dtype=np.float32), _decoder(model)
    distinct: dict[tuple[int, ...], int] = {}
    asked = np.array(
        [distinct.setdefault(tuple(prompt), len(distinct)) for prompt in prompts], dtype=np.int64
    )
    if trunk is None or len(answers) < SHARERS * len(distinct) or not _can_part(model, prompts, answers):
        rows = [[*prompt, *answer] for prompt, answer in zip(prompts, answers, strict=True)]
        for indices, ids, mask in _batches(model, rows, batch):
            if trunk is None:
                logits = model(input_ids=ids, attention_mask=mask).logits
                scores[indices] = logits[:, 0].float().cpu().numpy()
            else:
                scores[indices] = _last(model, ids, trunk(ids))
        return scores
    for read, cache in _caches(trunk, list(distinct)):
        rows = np.flatnonzero(np.isin(asked, read))
        place = np.searchsorted(read, asked[rows])
        for indices, ids, _ in _batches(model, [answers[row] for row in rows.tolist()], batch):
            prefix = _repeated(cache, torch.from_numpy(place[indices]).to(ids.device))
            scores[rows[indices]] = _last(model, ids, trunk(ids, cache=prefix, use_cache=True))
    return scores


def _decoder(model: PreTrainedModel) -> Any:
    """Return the causal trunk under a head that reads a row's last token; None if the model is not known to be so."""
    config, kind = model.config, type(model)
    known = kind.forward is GenericForSequenceClassification.forward or kind.__name__.startswith("GPT2For")
    causal = getattr(config, "is_causal", True) and not getattr(config, "use_bidirectional_attention", False)
    return getattr(model, model.base_model_prefix) if known and causal else None


def _can_part(model: PreTrainedModel, prompts: Ids, answers: Ids) -> bool:
    """Return whether prompts can be read apart: none is empty, no answer ends in padding, a cache can be copied."""
    pad = model.config.pad_token_id
    return all(prompts) and all(len(ids) and ids[-1] != pad for ids in answers) and not model._is_stateful


def _batches(
    model: PreTrainedModel, rows: Ids, batch: int
) -> Iterator[tuple[np.ndarray, torch.Tensor, torch.Tensor]]:
    """Give all rows in batches of similar length: indices (B,), ids (B, T) and mask (B, T) on the device."""
    lengths = np.array([len(row) for row in rows])
    order = np.argsort(lengths, kind="stable")
    limit = TOKENS if model.device.type == "cpu" else np.inf
    while len(order):
        ahead = lengths[order[:batch]]
        tokens = ahead * np.arange(1, len(ahead) + 1)  # of the first 1, 2, ... rows, padded
        count = max(1, int(np.searchsorted(tokens, limit, side="right")))
        indices, order = order[:count], order[count:]
        ids, mask = right_padded([rows[index] for index in indices], model.config.pad_token_id)
        yield indices, ids.to(model.device), mask.to(model.device)


def _caches(trunk: Any, prompts: Ids) -> Iterator[tuple[np.ndarray, DynamicCache]]:
    """Read all prompts, those of one length together so that none is padded; give their indices and the cache."""
    lengths = np.array([len(prompt) for prompt in prompts])
    for length in np.unique(lengths):
        same_length = np.flatnonzero(lengths == length)
        for start in range(0, len(same_length), PROMPTS):
            indices = same_length[start : start + PROMPTS]
            cache = DynamicCache(config=trunk.config)
            ids = torch.tensor([list(prompts[index]) for index in indices], device=trunk.device)
            trunk(ids, cache=cache, use_cache=True)
            yield indices, cache


def _repeated(cache: DynamicCache, rows: torch.Tensor) -> DynamicCache:
    """Return a new cache with the given rows (B,) of another."""
    selected = copy.copy(cache)
    selected.layers = [copy.copy(layer) for layer in cache.layers]
    selected.batch_select_indices(rows)
    return selected


def _last(model: Any, ids: torch.Tensor, outputs: Any) -> np.ndarray:
    """Return the head's outputs (B,) at the last token of each row that is not padding, as the model itself does."""
    places = torch.arange(ids.shape[1], device=ids.device)
    last = (places * (ids != model.config.pad_token_id)).argmax(1)
    hidden = outputs.last_hidden_state[torch.arange(len(ids), device=ids.device), last]
    return model.score(hidden)[:, 0].float().cpu().numpy()


def rewards_of_split(
    task: Path, folder: Path, writer: PreTrainedTokenizerBase, split: str, runtime: Runtime
) -> Reward:
    """Return a function that gives the proxy's rewards (N,) of answers, as ids of `writer`, to prompts of a split.

    Prompts are given by their rows within the split.
    """
    proxy, ids = Proxy.load(folder), _prompt_ids(task, split)
    members, shaped = _rewards_of_members(task, proxy, writer, split, runtime), proxy.shaper(writer)

    def rewards(rows: Sequence[int], answers: Sequence[Sequence[int]]) -> np.ndarray:
        """Return the shaped proxy of answers to prompts by their rows in the split, (N,)."""
        prompt = ids[list(rows)]
        return shaped(proxy.combined(members(rows, answers), prompt), prompt, answers).astype(np.float32)

    return rewards


def members_of_split(
    task: Path, folder: Path, writer: PreTrainedTokenizerBase, split: str, runtime: Runtime
) -> Reward:
    """Return a function like that of `rewards_of_split` that gives the rewards of the members on one scale, (M, N)."""
    proxy, ids = Proxy.load(folder), _prompt_ids(task, split)
    members = _rewards_of_members(task, proxy, writer, split, runtime)

    def rewards(rows: Sequence[int], answers: Sequence[Sequence[int]]) -> np.ndarray:
        """Return the members' rewards on one scale, (M, N)."""
        return proxy.on_one_scale(members(rows, answers), ids[list(rows)])

    return rewards


def _prompt_ids(task: Path, split: str) -> np.ndarray:
    table = read_table(task / "prompts.parquet", ["prompt_id", "split"])
    return table.filter(pc.field("split") == split)["prompt_id"].to_numpy()


def _rewards_of_members(
    task: Path, proxy: Proxy, writer: PreTrainedTokenizerBase, split: str, runtime: Runtime
) -> Reward:
    """Return a function that gives the rewards of the members, (M, N), each in its own units."""
    members = [_rewards_of_member(task, folder, writer, split, runtime) for folder in proxy.members]
    return lambda rows, answers: np.stack([member(rows, answers) for member in members])


def _rewards_of_member(
    task: Path, folder: Path, writer: PreTrainedTokenizerBase, split: str, runtime: Runtime
) -> Reward:
    reader = tokenization.load_tokenizer(folder / "model")
    prompts = load_prompts(task, reader, split).ids
    limit = json.loads((task / "task.json").read_text())["answer_tokens"]
    model = load_reward_model(folder / "model", runtime.device)
    same = tokenization.same_tokens(reader, writer)

    def rewards(rows: Sequence[int], answers: Sequence[Sequence[int]]) -> np.ndarray:
        """Return the rewards of answers, as ids of `writer`, to the prompts in these rows, (N,)."""
        if not same:
            texts = [tokenization.answer_text(writer, ids) for ids in answers]
            answers = tokenization.answers_read_by(reader, writer, texts, answers, limit)
        return reward(model, [prompts[row] for row in rows], answers, runtime.score_batch)

    return rewards


def rewards_of_samples(
    task: Path, folder: Path, writer: Path, runtime: Runtime
) -> Callable[[pa.Table], np.ndarray]:
    """Return a function that scores tables of answers (prompt_id, text, token_ids) with the reward model in `folder`.

    It gives (N,) float32. `writer` holds the tokenizer of the token ids; the reward model may have another. Equal
    answers to a prompt are scored once, so that they tie exactly.
    """
    messages = read_table(task / "prompts.parquet")["messages"].to_pylist()
    score = rewards_of_dialogues(task, folder, tokenization.load_tokenizer(writer), runtime)

    def rewards(samples: pa.Table) -> np.ndarray:
        """Return the rewards of a table of samples, (N,)."""
        asked = [messages[prompt_id] for prompt_id in samples["prompt_id"].to_pylist()]
        return score(asked, samples["text"].to_pylist(), samples["token_ids"].to_pylist())

    return rewards


def rewards_of_dialogues(
    task: Path, folder: Path, writer: PreTrainedTokenizerBase, runtime: Runtime
) -> Callable[[Sequence[str], Sequence[str], Sequence[Sequence[int]]], np.ndarray]:
    """Return a function that scores answers to dialogues with the reward model in `folder`, (N,) float32.

    Dialogues are JSON lists of messages, no longer than the task's prompts. Answers are given as texts and as ids of
    `writer`. Equal pairs of dialogue and answer are scored once.
    """
    limits = json.loads((task / "task.json").read_text())
    tokenizer = tokenization.load_tokenizer(folder / "model")
    model = load_reward_model(folder / "model", runtime.device)

    def rewards(
        dialogues: Sequence[str], texts: Sequence[str], token_ids: Sequence[Sequence[int]]
    ) -> np.ndarray:
        """Return the rewards of answers to dialogues, (N,); equal rows are read once."""
        answers = tokenization.answers_read_by(tokenizer, writer, texts, token_ids, limits["answer_tokens"])
        prompts = tokenization.prompts_ids(tokenizer, dialogues, limits["prompt_tokens"])
        place: dict[tuple[tuple[int, ...], tuple[int, ...]], int] = {}
        pairs = zip(map(tuple, prompts), map(tuple, answers), strict=True)
        rows = [place.setdefault(pair, len(place)) for pair in pairs]
        distinct_prompts = [prompt for prompt, _ in place]
        distinct_answers = [answer for _, answer in place]
        return reward(model, distinct_prompts, distinct_answers, runtime.score_batch)[rows]

    return rewards
