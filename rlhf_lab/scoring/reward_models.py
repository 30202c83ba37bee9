"""Rewards of stored answers, in batches of like length that fit the processor's cache.

A decoder with a `score` head is asked for hidden states alone: rows padded on the right need no mask under causal
attention, and the head is applied to one token a row. Where many answers have the same prompt, it is read once for
all of them. Any other classifier is called as it is.
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

TOKENS = 1536  # of a batch on a processor: twice as many leave its cache, half as many are calls for little
SHARERS = 32  # answers to a prompt from which on a call for the prompts alone pays
PROMPTS = 64  # in such a call

Reward = Callable[[Sequence[int], Sequence[Sequence[int]]], np.ndarray]  # numbers of prompts, answers -> (N,)


@torch.inference_mode()
def reward(model: PreTrainedModel, prompts: Ids, answers: Ids, batch: int) -> np.ndarray:
    """The reward of each answer to its prompt, (N,) float32, from token ids; at most `batch` rows at a time."""
    scores, trunk = np.empty(len(answers), dtype=np.float32), _decoder(model)
    distinct: dict[tuple[int, ...], int] = {}
    asked = np.array(
        [distinct.setdefault(tuple(prompt), len(distinct)) for prompt in prompts], dtype=np.int64
    )
    if trunk is None or len(answers) < SHARERS * len(distinct) or not _can_part(model, prompts, answers):
        rows = [[*prompt, *answer] for prompt, answer in zip(prompts, answers, strict=True)]
        for which, ids, mask in _batches(model, rows, batch):
            scores[which] = _whole(model, ids, mask) if trunk is None else _last(model, ids, trunk(ids))
        return scores
    for read, cache in _caches(trunk, list(distinct)):
        own = np.flatnonzero(np.isin(asked, read))
        place = np.searchsorted(read, asked[own])
        for which, ids, _ in _batches(model, [answers[row] for row in own.tolist()], batch):
            prefix = _repeated(cache, torch.from_numpy(place[which]).to(ids.device))
            scores[own[which]] = _last(model, ids, trunk(ids, cache=prefix, use_cache=True))
    return scores


def _decoder(model: PreTrainedModel) -> Any:
    """The causal trunk under a head that reads a row's last token; None for a model not known to be one."""
    config, kind = model.config, type(model)
    known = kind.forward is GenericForSequenceClassification.forward or kind.__name__.startswith("GPT2For")
    both_ways = getattr(config, "use_bidirectional_attention", False) or not getattr(
        config, "is_causal", True
    )
    return getattr(model, model.base_model_prefix) if known and not both_ways else None


def _can_part(model: PreTrainedModel, prompts: Ids, answers: Ids) -> bool:
    """Whether prompts can be read apart: none is empty, each answer's last token is read, a cache can be copied."""
    pad = model.config.pad_token_id
    return all(prompts) and all(len(ids) and ids[-1] != pad for ids in answers) and not model._is_stateful


def _batches(
    model: PreTrainedModel, rows: Ids, batch: int
) -> Iterator[tuple[np.ndarray, torch.Tensor, torch.Tensor]]:
    """All rows in batches of like length: which they are (B,), their ids (B, T) and mask (B, T) on the device."""
    lengths = np.array([len(row) for row in rows])
    order = np.argsort(lengths, kind="stable")
    limit = TOKENS if model.device.type == "cpu" else np.inf
    while len(order):
        ahead = lengths[order[:batch]]
        tokens = ahead * np.arange(1, len(ahead) + 1)  # of the first 1, 2, ... rows, padded
        count = max(1, int(np.searchsorted(tokens, limit, side="right")))
        which, order = order[:count], order[count:]
        ids, mask = right_padded([rows[row] for row in which], model.config.pad_token_id)
        yield which, ids.to(model.device), mask.to(model.device)


def _caches(trunk: Any, prompts: Ids) -> Iterator[tuple[np.ndarray, DynamicCache]]:
    """All prompts, those of one length together, so that none is padded: which they are, and what was read."""
    lengths = np.array([len(prompt) for prompt in prompts])
    for length in np.unique(lengths):
        alike = np.flatnonzero(lengths == length)
        for start in range(0, len(alike), PROMPTS):
            some = alike[start : start + PROMPTS]
            cache = DynamicCache(config=trunk.config)
            ids = torch.tensor([list(prompts[row]) for row in some], device=trunk.device)
            trunk(ids, cache=cache, use_cache=True)
            yield some, cache


def _repeated(cache: DynamicCache, rows: torch.Tensor) -> DynamicCache:
    """A cache that holds the given rows (B,) of another, which stays as it is."""
    own = copy.copy(cache)
    own.layers = [copy.copy(layer) for layer in cache.layers]
    own.batch_select_indices(rows)
    return own


def _last(model: Any, ids: torch.Tensor, outputs: Any) -> np.ndarray:
    """The head's numbers (B,) at each row's last token that is not padding, as the model itself reads them."""
    places = torch.arange(ids.shape[1], device=ids.device)
    last = (places * (ids != model.config.pad_token_id)).argmax(1)
    hidden = outputs.last_hidden_state[torch.arange(len(ids), device=ids.device), last]
    return model.score(hidden)[:, 0].float().cpu().numpy()


def _whole(model: PreTrainedModel, ids: torch.Tensor, mask: torch.Tensor) -> np.ndarray:
    return model(input_ids=ids, attention_mask=mask).logits[:, 0].float().cpu().numpy()


def rewards_of_split(
    task: Path, folder: Path, writer: PreTrainedTokenizerBase, split: str, runtime: Runtime
) -> Reward:
    """Rewards by the proxy in `folder` of answers (ids of `writer`) to prompts, by their numbers within the split."""
    proxy, ids = Proxy.load(folder), _prompt_ids(task, split)
    members, shaped = _rewards_of_members(task, proxy, writer, split, runtime), proxy.shaper(writer)

    def rewards(rows: Sequence[int], answers: Sequence[Sequence[int]]) -> np.ndarray:
        prompt = ids[list(rows)]
        return shaped(proxy.combined(members(rows, answers), prompt), prompt, answers).astype(np.float32)

    return rewards


def members_of_split(
    task: Path, folder: Path, writer: PreTrainedTokenizerBase, split: str, runtime: Runtime
) -> Reward:
    """As `rewards_of_split`, but (M, N): the rewards of the proxy's members, on one scale."""
    proxy, ids = Proxy.load(folder), _prompt_ids(task, split)
    members = _rewards_of_members(task, proxy, writer, split, runtime)

    def rewards(rows: Sequence[int], answers: Sequence[Sequence[int]]) -> np.ndarray:
        return proxy.on_one_scale(members(rows, answers), ids[list(rows)])

    return rewards


def _prompt_ids(task: Path, split: str) -> np.ndarray:
    table = read_table(task / "prompts.parquet", ["prompt_id", "split"])
    return table.filter(pc.field("split") == split)["prompt_id"].to_numpy()


def _rewards_of_members(
    task: Path, proxy: Proxy, writer: PreTrainedTokenizerBase, split: str, runtime: Runtime
) -> Reward:
    """(M, N) of the members, each in its own units."""
    members = [_rewards_of_member(task, one, writer, split, runtime) for one in proxy.members]
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
        """(N,): rewards of answers, in the reader's tokens, to prompts by their numbers."""
        if not same:
            texts = [tokenization.answer_text(writer, ids) for ids in answers]
            answers = tokenization.answers_read_by(reader, writer, texts, answers, limit)
        return reward(model, [prompts[row] for row in rows], answers, runtime.score_batch)

    return rewards


def rewards_of_samples(
    task: Path, folder: Path, writer: Path, runtime: Runtime
) -> Callable[[pa.Table], np.ndarray]:
    """What gives the reward by the model in `folder` of tables of answers (prompt_id, text, token_ids), (N,) float32.

    `writer` holds the tokenizer whose ids the answers are; the reward model may have another. An answer that a
    table has several times is scored once: less work, and equal answers tie exactly.
    """
    messages = read_table(task / "prompts.parquet")["messages"].to_pylist()
    of = rewards_of_dialogues(task, folder, tokenization.load_tokenizer(writer), runtime)

    def rewards(samples: pa.Table) -> np.ndarray:
        asked = [messages[i] for i in samples["prompt_id"].to_pylist()]
        return of(asked, samples["text"].to_pylist(), samples["token_ids"].to_pylist())

    return rewards


def rewards_of_dialogues(
    task: Path, folder: Path, writer: PreTrainedTokenizerBase, runtime: Runtime
) -> Callable[[Sequence[str], Sequence[str], Sequence[Sequence[int]]], np.ndarray]:
    """What gives the reward by the model in `folder` of answers (their texts, and the ids of `writer`) to dialogues
    (JSON lists of role and content) as long as the task's prompts, (N,) float32; equal ones are scored once.
    """
    limits = json.loads((task / "task.json").read_text())
    tokenizer = tokenization.load_tokenizer(folder / "model")
    model = load_reward_model(folder / "model", runtime.device)

    def rewards(
        dialogues: Sequence[str], texts: Sequence[str], token_ids: Sequence[Sequence[int]]
    ) -> np.ndarray:
        """(N,): rewards of answers to dialogues, each distinct pair scored once."""
        answers = tokenization.answers_read_by(tokenizer, writer, texts, token_ids, limits["answer_tokens"])
        prompts = tokenization.prompts_ids(tokenizer, dialogues, limits["prompt_tokens"])
        place: dict[tuple[tuple[int, ...], tuple[int, ...]], int] = {}
        pairs = zip(map(tuple, prompts), map(tuple, answers), strict=True)
        which = [place.setdefault(pair, len(place)) for pair in pairs]
        distinct = [prompt for prompt, _ in place], [answer for _, answer in place]
        return reward(model, *distinct, runtime.score_batch)[which]

    return rewards
