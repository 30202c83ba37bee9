"""Text to token ids and back. A prompt and its answer are encoded separately, so that no token spans both."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import numpy as np
from transformers import AutoTokenizer, PreTrainedTokenizerBase

Messages = list[dict[str, str]]

# For checkpoints without a chat template, such as base models.
PLAIN_TEMPLATE = (
    "{% for m in messages %}"
    "{{ '\n\nHuman: ' if m['role'] == 'user' else '\n\nAssistant: ' }}{{ m['content'] }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '\n\nAssistant:' }}{% endif %}"
)


def load_tokenizer(folder: Path | str) -> PreTrainedTokenizerBase:
    """Return the tokenizer in `folder`, with a padding token and a chat template."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.chat_template is None:
        tokenizer.chat_template = PLAIN_TEMPLATE
    return tokenizer


def prompt_ids(tokenizer: PreTrainedTokenizerBase, messages: Messages, limit_tokens: int) -> list[int]:
    """Return the tokens of a prompt up to the start of the answer, the last `limit_tokens` if there are more."""
    return _encoded(tokenizer, [messages], limit_tokens)[0]


def answer_ids(tokenizer: PreTrainedTokenizerBase, answer: str, ended: bool = True) -> list[int]:
    """Return the tokens of an answer, with EOS if it ended."""
    ids = tokenizer.encode(answer, add_special_tokens=False)
    return [*ids, tokenizer.eos_token_id] if ended else ids


def answer_text(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    """Return the text of sampled tokens, without the EOS that ends them."""
    body = ids[:-1] if ids and ids[-1] == tokenizer.eos_token_id else ids
    return tokenizer.decode(body, skip_special_tokens=False, clean_up_tokenization_spaces=False)


def same_tokens(a: PreTrainedTokenizerBase, b: PreTrainedTokenizerBase) -> bool:
    """Return whether the token ids of an answer mean the same under both tokenizers."""
    return a.eos_token_id == b.eos_token_id and a.get_vocab() == b.get_vocab()


def prompts_ids(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[str], limit_tokens: int
) -> list[list[int]]:
    """Return the tokens of many prompts, given as JSON, as `prompt_ids` does; equal prompts are encoded once."""
    distinct = list(dict.fromkeys(messages))
    encoded = _encoded(tokenizer, [json.loads(text) for text in distinct], limit_tokens)
    ids = dict(zip(distinct, encoded, strict=True))
    return [ids[text] for text in messages]


def _encoded(
    tokenizer: PreTrainedTokenizerBase, dialogues: Sequence[Messages], limit_tokens: int
) -> list[list[int]]:
    """Return the last `limit_tokens` tokens of each dialogue in the chat template; one call is faster than many."""
    if not dialogues:
        return []
    rendered = tokenizer.apply_chat_template(list(dialogues), add_generation_prompt=True, tokenize=False)
    return [list(ids)[-limit_tokens:] for ids in tokenizer(rendered, add_special_tokens=False)["input_ids"]]


def answers_ids(
    tokenizer: PreTrainedTokenizerBase, answers: Sequence[str], limit_tokens: int
) -> list[list[int]]:
    """Return the tokens of many answers with EOS, cut at `limit_tokens`, where a cut answer has no EOS."""
    encoded = tokenizer(list(answers), add_special_tokens=False)["input_ids"]
    return [[*ids, tokenizer.eos_token_id][:limit_tokens] for ids in encoded]


def answers_read_by(
    reader: PreTrainedTokenizerBase,
    writer: PreTrainedTokenizerBase,
    answers: Sequence[str],
    written: Sequence[Sequence[int]],
    limit_tokens: int,
) -> list[list[int]]:
    """Return each answer as tokens of the tokenizer `reader`.

    `written` are the tokens of `writer` in which the answers were sampled. They are kept if the two tokenizers agree;
    otherwise the whole text is encoded anew, with EOS if the sampled answer had it. The text of a human, whose entry in
    `written` is empty, is encoded with EOS and cut at `limit_tokens`.
    """
    if all(written) and same_tokens(reader, writer):
        return [list(ids) for ids in written]
    encoded = reader(list(answers), add_special_tokens=False)["input_ids"]
    rows = []
    for ids, source in zip(encoded, written, strict=True):
        ended = not source or source[-1] == writer.eos_token_id
        row = [*ids, reader.eos_token_id] if ended else ids
        rows.append(row if source else row[:limit_tokens])
    return rows


def token_runs(tokenizer: PreTrainedTokenizerBase, phrases: Sequence[str]) -> list[list[int]]:
    """Return the runs of tokens that stand for the phrases, each at the start of an answer and after a space.

    Raises ValueError for a phrase with words that the tokenizer does not know.
    """
    runs: list[list[int]] = []
    for phrase in phrases:
        for written in (phrase, f" {phrase}"):
            ids = answer_ids(tokenizer, written, ended=False)
            if not ids or (tokenizer.unk_token_id is not None and tokenizer.unk_token_id in ids):
                raise ValueError(
                    f"the policy's tokenizer does not know every word of the phrase {phrase!r}, so no answer would be "
                    "found to say it: change reward_shaping.phrases"
                )
            if ids not in runs:
                runs.append(ids)
    return runs


def has_run(answers: Sequence[Sequence[int]], runs: Sequence[Sequence[int]]) -> np.ndarray:
    """Return whether each of N answers contains one of the runs of tokens, (N,) bool."""
    lengths = np.array([len(answer) for answer in answers], dtype=np.int64)
    width = max((len(run) for run in runs), default=1)
    ids = np.full((len(answers), int(lengths.max(initial=0)) + width), -1, dtype=np.int32)
    tokens = np.fromiter(chain.from_iterable(answers), np.int32, int(lengths.sum()))
    ids[np.arange(ids.shape[1]) < lengths[:, None]] = tokens
    has = np.zeros(len(answers), dtype=bool)
    for run in runs:
        matches = [ids[:, i : ids.shape[1] - width + i + 1] == token for i, token in enumerate(run)]
        has |= np.logical_and.reduce(matches).any(axis=1)
    return has
