"""The task's files from real comparisons; the tokenizer and all texts to learn from are of training rows only."""

from __future__ import annotations

import json
import logging
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from rlhf_lab.config.tasks import PairFile
from rlhf_lab.store.artifacts import write_json
from rlhf_lab.store.records import write_table
from rlhf_lab.tasks.preference_pairs.formats import Comparison
from rlhf_lab.tasks.preference_pairs.splits import (
    CONTROL,
    EOS,
    PAD,
    SPLITS,
    SplitComparison,
    check_split,
    load_comparisons,
    opening,
)

log = logging.getLogger(__name__)

CHAT_TEMPLATE = (
    "{% for m in messages %}{{ '<' + m['role'] + '>' + m['content'] }}"
    "{% if m['role'] == 'assistant' %}{{ '<eos>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"
)


class NumberedComparison(NamedTuple):
    """A comparison with its split and its numbers in the tables."""

    pair: Comparison
    split: str
    question: int  # the same for dialogues that open with the same words
    prompt: int  # the row of prompts.parquet


def write(config: PairFile, out: Path) -> None:
    """Write every file of the task to `out`."""
    selected = select(config)
    selected.tokenizer.save_pretrained(out / "tokenizer")
    rows = number(selected.pairs)
    _write_tables(rows, out)
    for reason, count in selected.dropped.items():
        if count:
            log.info("%s: %d rows dropped: %s", config.path, count, reason)
    write_json(out / "task.json", _summary(config, rows, selected.tokenizer, selected.dropped))


class Selected(NamedTuple):
    """The comparisons of the task, the numbers of dropped rows by reason, and the tokenizer."""

    pairs: list[SplitComparison]
    dropped: Counter[str]
    tokenizer: PreTrainedTokenizerFast


def select(config: PairFile) -> Selected:
    """Return the comparisons that differ within `answer_tokens`; raise ValueError if they leave a split empty."""
    pairs, dropped = load_comparisons(config)
    documents = [document(pair) for pair, split in pairs if split == "train"]
    tokenizer = train_tokenizer(documents, config.vocabulary)
    kept = [(pair, split) for pair, split in pairs if _differ_within(pair, tokenizer, config.answer_tokens)]
    dropped[f"identical in the first {config.answer_tokens} tokens"] += len(pairs) - len(kept)
    if not kept:
        limit = f"task.answer_tokens={config.answer_tokens}"
        raise ValueError(f"{config.path}: all {len(pairs)} pairs are identical within {limit}: raise it")
    check_split(kept, dropped, config)
    return Selected(kept, dropped, tokenizer)


def number(pairs: list[SplitComparison]) -> list[NumberedComparison]:
    """Number questions and prompts in order of appearance."""
    questions: dict[str, int] = {}
    prompts: dict[str, int] = {}
    return [
        NumberedComparison(
            pair,
            split,
            questions.setdefault(opening(pair), len(questions)),
            prompts.setdefault(json.dumps(pair.messages), len(prompts)),
        )
        for pair, split in pairs
    ]


# --- text and tokens ----------------------------------------------------------------------------------------


def document(pair: Comparison) -> str:
    """Return the dialogue with the chosen answer and its chat markup; its last EOS is left to the reader."""
    turns = [*pair.messages, {"role": "assistant", "content": pair.chosen}]
    marked = "".join(
        f"<{turn['role']}>{turn['content']}" + (EOS if turn["role"] == "assistant" else "") for turn in turns
    )
    return marked.removesuffix(EOS)


def train_tokenizer(documents: list[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE of at most `vocabulary` tokens, which can encode and decode every text."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(list(CONTROL))  # added before training, so that no merge crosses them
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(CONTROL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    core.train_from_iterator(documents, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token=PAD,
        eos_token=EOS,
        additional_special_tokens=[token for token in CONTROL if token not in (PAD, EOS)],
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def _differ_within(pair: Comparison, tokenizer: PreTrainedTokenizerFast, limit_tokens: int) -> bool:
    chosen, rejected = (
        [*tokenizer.encode(answer, add_special_tokens=False), tokenizer.eos_token_id][:limit_tokens]
        for answer in (pair.chosen, pair.rejected)
    )
    return chosen != rejected


# --- tables -------------------------------------------------------------------------------------------------


def _write_tables(rows: list[NumberedComparison], out: Path) -> None:
    training = [row for row in rows if row.split == "train"]
    write_table(out / "base.parquet", {"text": [document(row.pair) for row in training]})
    demonstrations = {
        "messages": [json.dumps(row.pair.messages) for row in training],
        "answer": [row.pair.chosen for row in training],
    }
    write_table(out / "demonstrations.parquet", demonstrations)
    prompts = list({row.prompt: row for row in rows}.values())  # the row number is the prompt_id
    families = {"family": ["dialogue"] * len(prompts)}
    write_table(out / "prompts.parquet", _prompt_columns(prompts) | families)
    no_ids = pa.array([[]] * len(rows), pa.list_(pa.int32()))  # human text was written by no tokenizer
    answers = {
        "chosen": [row.pair.chosen for row in rows],
        "rejected": [row.pair.rejected for row in rows],
        "chosen_ids": no_ids,
        "rejected_ids": no_ids,
    }
    write_table(out / "comparisons.parquet", _prompt_columns(rows) | answers)


def _prompt_columns(rows: list[NumberedComparison]) -> dict[str, Any]:
    return {
        "prompt_id": pa.array([row.prompt for row in rows], pa.int32()),
        "question_id": pa.array([row.question for row in rows], pa.int32()),
        "split": [row.split for row in rows],
        "messages": [json.dumps(row.pair.messages) for row in rows],
    }


def _summary(
    config: PairFile,
    rows: list[NumberedComparison],
    tokenizer: PreTrainedTokenizerFast,
    dropped: Counter[str],
) -> dict[str, Any]:
    splits = {split: [row for row in rows if row.split == split] for split in SPLITS}
    answers = [answer for row in rows for answer in (row.pair.chosen, row.pair.rejected)]
    lengths = [len(ids) + 1 for ids in tokenizer(answers, add_special_tokens=False)["input_ids"]]
    return {
        "kind": "preference_pairs",
        "prompt_tokens": config.prompt_tokens,
        "answer_tokens": config.answer_tokens,
        "vocabulary": len(tokenizer),
        **{f"{split}_comparisons": len(rows) for split, rows in splits.items()},
        **{f"{split}_questions": len({row.question for row in rows}) for split, rows in splits.items()},
        **{f"{split}_prompts": len({row.prompt for row in rows}) for split, rows in splits.items()},
        "cut_answers": sum(length > config.answer_tokens for length in lengths),  # longer than answer_tokens
        "dropped": {reason: count for reason, count in dropped.items() if count},
    }
