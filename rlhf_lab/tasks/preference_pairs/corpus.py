"""The task's files from real comparisons: split by question; tokenizer and texts from training rows only."""

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
from rlhf_lab.tasks.preference_pairs.rows import Comparison
from rlhf_lab.tasks.preference_pairs.usable import (
    CONTROL,
    EOS,
    PAD,
    SPLITS,
    Sided,
    check_split,
    opening,
    usable,
)

log = logging.getLogger(__name__)

CHAT_TEMPLATE = (
    "{% for m in messages %}{{ '<' + m['role'] + '>' + m['content'] }}"
    "{% if m['role'] == 'assistant' %}{{ '<eos>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"
)


class Placed(NamedTuple):
    """A comparison with its split and the numbers that the tables know it by."""

    pair: Comparison
    split: str
    question: int  # dialogues that open with the same words
    prompt: int  # the row of prompts.parquet


def write(config: PairFile, out: Path) -> None:
    """Write every file of the task to `out`."""
    chosen = select(config)
    chosen.tokenizer.save_pretrained(out / "tokenizer")
    placed = place(chosen.pairs)
    _write_tables(placed, out)
    for reason, count in chosen.dropped.items():
        if count:
            log.info("%s: %d rows dropped: %s", config.path, count, reason)
    write_json(out / "task.json", _summary(config, placed, chosen.tokenizer, chosen.dropped))


class Selected(NamedTuple):
    """The comparisons of the task, what was dropped, and the tokenizer that says which differ."""

    pairs: list[Sided]
    dropped: Counter[str]
    tokenizer: PreTrainedTokenizerFast


def select(config: PairFile) -> Selected:
    """The usable comparisons that differ within the limit; ValueError when they leave a side empty."""
    pairs, dropped = usable(config)
    learned = [document(pair) for pair, side in pairs if side == "train"]
    tokenizer = train_tokenizer(learned, config.vocabulary)
    kept = [(pair, side) for pair, side in pairs if _differ_within(pair, tokenizer, config.answer_tokens)]
    dropped[f"identical in the first {config.answer_tokens} tokens"] += len(pairs) - len(kept)
    if not kept:
        limit = f"task.answer_tokens={config.answer_tokens}"
        raise ValueError(f"{config.path}: all {len(pairs)} pairs are identical within {limit}: raise it")
    check_split(kept, dropped, config)
    return Selected(kept, dropped, tokenizer)


def place(pairs: list[Sided]) -> list[Placed]:
    """Number questions and prompts in order of appearance."""
    questions: dict[str, int] = {}
    prompts: dict[str, int] = {}
    return [
        Placed(
            pair,
            side,
            questions.setdefault(opening(pair), len(questions)),
            prompts.setdefault(json.dumps(pair.messages), len(prompts)),
        )
        for pair, side in pairs
    ]


# --- text and tokens ----------------------------------------------------------------------------------------


def document(pair: Comparison) -> str:
    """The whole dialogue with the chosen answer and its chat markup; the EOS that ends it is the reader's."""
    turns = [*pair.messages, {"role": "assistant", "content": pair.chosen}]
    marked = "".join(
        f"<{turn['role']}>{turn['content']}" + (EOS if turn["role"] == "assistant" else "") for turn in turns
    )
    return marked.removesuffix(EOS)


def train_tokenizer(documents: list[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE of at most `vocabulary` tokens: every text can be written, and read back as it was."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(list(CONTROL))  # before training, so that no merge is learned across them
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


def _write_tables(placed: list[Placed], out: Path) -> None:
    learned = [row for row in placed if row.split == "train"]
    write_table(out / "base.parquet", {"text": [document(row.pair) for row in learned]})
    shown = {
        "messages": [json.dumps(row.pair.messages) for row in learned],
        "answer": [row.pair.chosen for row in learned],
    }
    write_table(out / "demonstrations.parquet", shown)
    prompts = list({row.prompt: row for row in placed}.values())  # row number = prompt_id
    write_table(out / "prompts.parquet", _prompt_columns(prompts, {"family": ["dialogue"] * len(prompts)}))
    nothing = pa.array([[]] * len(placed), pa.list_(pa.int32()))  # human text: no tokenizer's ids are its own
    answers = {
        "chosen": [row.pair.chosen for row in placed],
        "rejected": [row.pair.rejected for row in placed],
        "chosen_ids": nothing,
        "rejected_ids": nothing,
    }
    write_table(out / "comparisons.parquet", _prompt_columns(placed, answers))


def _prompt_columns(rows: list[Placed], more: dict[str, Any]) -> dict[str, Any]:
    return {
        "prompt_id": pa.array([row.prompt for row in rows], pa.int32()),
        "question_id": pa.array([row.question for row in rows], pa.int32()),
        "split": [row.split for row in rows],
        "messages": [json.dumps(row.pair.messages) for row in rows],
        **more,
    }


def _summary(
    config: PairFile, placed: list[Placed], tokenizer: PreTrainedTokenizerFast, dropped: Counter[str]
) -> dict[str, Any]:
    sides = {side: [row for row in placed if row.split == side] for side in SPLITS}
    answers = [answer for row in placed for answer in (row.pair.chosen, row.pair.rejected)]
    lengths = [len(ids) + 1 for ids in tokenizer(answers, add_special_tokens=False)["input_ids"]]
    return {
        "kind": "preference_pairs",
        "prompt_tokens": config.prompt_tokens,
        "answer_tokens": config.answer_tokens,
        "vocabulary": len(tokenizer),
        **{f"{side}_comparisons": len(rows) for side, rows in sides.items()},
        **{f"{side}_questions": len({row.question for row in rows}) for side, rows in sides.items()},
        **{f"{side}_prompts": len({row.prompt for row in rows}) for side, rows in sides.items()},
        "cut_answers": sum(length > config.answer_tokens for length in lengths),  # longer than answer_tokens
        "dropped": {reason: count for reason, count in dropped.items() if count},
    }
