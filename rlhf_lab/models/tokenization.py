"""Between text and token ids: a prompt and its answer are encoded apart, so that no token straddles the border."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import numpy as np
from transformers import AutoTokenizer, PreTrainedTokenizerBase

Messages = list[dict[str, str]]

# For checkpoints that bring no chat template of their own, such as base models.
PLAIN_TEMPLATE = (
    "{% for m in messages %}"
    "{{ '\n\nHuman: ' if m['role'] == 'user' else '\n\nAssistant: ' }}{{ m['content'] }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '\n\nAssistant:' }}{% endif %}"
)


def load_tokenizer(folder: Path | str) -> PreTrainedTokenizerBase:
    """The tokenizer in `folder`, with a padding token and a chat template."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.chat_template is None:
        tokenizer.chat_template = PLAIN_TEMPLATE
    return tokenizer


def prompt_ids(tokenizer: PreTrainedTokenizerBase, messages: Messages, limit_tokens: int) -> list[int]:
    """The tokens of a prompt up to where the answer starts; its oldest tokens go when it is longer than the limit."""
    return _encoded(tokenizer, [messages], limit_tokens)[0]


def answer_ids(tokenizer: PreTrainedTokenizerBase, answer: str, ended: bool = True) -> list[int]:
    """The tokens of an answer, with EOS if it ended."""
    ids = tokenizer.encode(answer, add_special_tokens=False)
    return [*ids, tokenizer.eos_token_id] if ended else ids


def answer_text(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    """The text of sampled tokens, without the EOS that ends them."""
    body = ids[:-1] if ids and ids[-1] == tokenizer.eos_token_id else ids
    return tokenizer.decode(body, skip_special_tokens=False, clean_up_tokenization_spaces=False)


def same_tokens(a: PreTrainedTokenizerBase, b: PreTrainedTokenizerBase) -> bool:
    """Whether the token ids of an answer mean the same under both tokenizers."""
    return a.eos_token_id == b.eos_token_id and a.get_vocab() == b.get_vocab()


def parse_messages(column: Sequence[str]) -> list[Messages]:
    """The `messages` column of a table as lists of role and content."""
    return [json.loads(text) for text in column]


def prompts_ids(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[str], limit_tokens: int
) -> list[list[int]]:
    """The tokens of many prompts, given as JSON; the same prompt is rendered once."""
    distinct = list(dict.fromkeys(messages))
    ids = dict(zip(distinct, _encoded(tokenizer, parse_messages(distinct), limit_tokens), strict=True))
    return [ids[text] for text in messages]


def _encoded(
    tokenizer: PreTrainedTokenizerBase, dialogues: Sequence[Messages], limit_tokens: int
) -> list[list[int]]:
    """The tokens that the chat template gives of each dialogue, encoded all at once, which is quicker."""
    if not dialogues:
        return []
    rendered = tokenizer.apply_chat_template(list(dialogues), add_generation_prompt=True, tokenize=False)
    return [list(ids)[-limit_tokens:] for ids in tokenizer(rendered, add_special_tokens=False)["input_ids"]]


def answers_ids(
    tokenizer: PreTrainedTokenizerBase, answers: Sequence[str], limit_tokens: int
) -> list[list[int]]:
    """The tokens of many answers with EOS; one that is too long is cut and then has none."""
    encoded = tokenizer(list(answers), add_special_tokens=False)["input_ids"]
    return [[*ids, tokenizer.eos_token_id][:limit_tokens] for ids in encoded]


def answers_read_by(
    reader: PreTrainedTokenizerBase,
    writer: PreTrainedTokenizerBase,
    answers: Sequence[str],
    written: Sequence[Sequence[int]],
    limit_tokens: int,
) -> list[list[int]]:
    """Each answer as tokens of `reader`, whoever wrote it: the ids `written` by a tokenizer that means the same stay.

    Others are encoded anew from their text, whole, with EOS if and only if `writer` ended them. Human text, for which
    nothing is written, is encoded with EOS and cut at the limit.
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
    """The tokens of each phrase where it opens an answer and where it stands after a blank; ValueError for one with
    words that the tokenizer does not know.
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
    """(N,): whether one of the runs of tokens stands in each answer, bool."""
    lengths = np.array([len(answer) for answer in answers], dtype=np.int64)
    width = max((len(run) for run in runs), default=1)
    ids = np.full((len(answers), int(lengths.max(initial=0)) + width), -1, dtype=np.int32)
    said = np.fromiter(chain.from_iterable(answers), np.int32, int(lengths.sum()))
    ids[np.arange(ids.shape[1]) < lengths[:, None]] = said
    found = np.zeros(len(answers), dtype=bool)
    for run in runs:
        here = [ids[:, place : ids.shape[1] - width + place + 1] == token for place, token in enumerate(run)]
        found |= np.logical_and.reduce(here).any(axis=1)
    return found
