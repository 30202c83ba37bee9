"""The task's files: tokenizer, prompts split by question, corrected dialogues, demonstrations, minimal pairs."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from rlhf_lab.config.tasks import FieldGuide
from rlhf_lab.store.artifacts import write_json
from rlhf_lab.store.records import write_table
from rlhf_lab.tasks import word_level
from rlhf_lab.tasks.field_guide import dialogues, minimal_pairs, phrases, readers
from rlhf_lab.tasks.field_guide.dialogues import Prompt
from rlhf_lab.tasks.field_guide.world import World, world

MARKS = ["<user>", "<assistant>"]  # who speaks
COMPARED, NEW = "compared", "new_animal"  # the families of prompts
HELDOUT_DOCUMENTS = 2000  # on which base models are judged
PAIRS = 300  # minimal pairs of each kind and family, fewer if TRIES prompts have no place for so many
TRIES = 100 * PAIRS


def write(task: FieldGuide, out: Path) -> None:
    """Write every file of the task to `out`."""
    guide = world(task)
    words = ["<pad>", "<eos>", "<unk>", *MARKS, *phrases.vocabulary(guide.animals)]
    word_level.tokenizer(words, MARKS).save_pretrained(out / "tokenizer")
    rng = random.Random(task.seed + 1)
    prompts = distinct_prompts(task, guide, rng)
    split, family = splits(prompts, guide, task.heldout_share)
    questions = list(dict.fromkeys(prompt.question for prompt in prompts))
    number = {question: index for index, question in enumerate(questions)}
    ids = list(range(len(prompts)))
    columns = {
        "prompt_id": ids,
        "question_id": [number[prompt.question] for prompt in prompts],
        "family": family,
        "split": split,
        "messages": [prompt.messages for prompt in prompts],
    }
    write_table(out / "prompts.parquet", columns)
    write_table(out / "guide.parquet", answer_key(prompts, guide))
    write_table(
        out / "base.parquet", {"text": [text for text, _ in documents(guide, task.base_documents, rng)]}
    )
    heldout = list(documents(guide, HELDOUT_DOCUMENTS, rng))
    write_table(
        out / "corrections.parquet",
        {"text": [text for text, _ in heldout], "false": [false for _, false in heldout]},
    )
    asked = [dialogues.prompt(guide, rng) for _ in range(task.demonstrations)]
    demonstrations = {
        "messages": [prompt.messages for prompt in asked],
        "answer": [dialogues.answer(prompt, guide, rng).text for prompt in asked],
    }
    write_table(out / "demonstrations.parquet", demonstrations)
    write_table(out / "minimal_pairs.parquet", pairs(prompts, split, family, guide, rng))
    summary = {
        "kind": "field_guide",
        "prompt_tokens": task.prompt_tokens,
        "answer_tokens": task.answer_tokens,
        "questions": len(questions),
        "prompts": len(prompts),
    }
    write_json(out / "task.json", summary)


def lacking(task: FieldGuide) -> str:
    """Return which prompts of a task there would be none of, or "" if there are some of each kind."""
    guide = world(task)
    prompts = distinct_prompts(task, guide, random.Random(task.seed + 1))
    there = set(zip(*splits(prompts, guide, task.heldout_share), strict=True))
    kinds = {
        ("train", COMPARED): "for training",
        ("heldout", COMPARED): "that is held out and about a compared animal",
        ("heldout", NEW): "about a new animal",
    }
    return " or ".join(words for kind, words in kinds.items() if kind not in there)


def distinct_prompts(task: FieldGuide, guide: World, rng: random.Random) -> list[Prompt]:
    """Draw `task.prompts` prompts and keep each that differs from the others."""
    return list(dict.fromkeys(dialogues.prompt(guide, rng) for _ in range(task.prompts)))


def splits(prompts: list[Prompt], guide: World, share: float) -> tuple[list[str], list[str]]:
    """Return the split and the family of every prompt.

    All prompts about new animals are held out, and of the others the questions whose hash lies below `share`.
    """
    family = [NEW if guide.new(prompt.animal) else COMPARED for prompt in prompts]
    heldout = [
        kind == NEW or word_level.place(prompt.question) < share
        for prompt, kind in zip(prompts, family, strict=True)
    ]
    return ["heldout" if held else "train" for held in heldout], family


def answer_key(prompts: list[Prompt], guide: World) -> dict[str, list]:
    """Return the columns of `guide.parquet`, which only gold may read: facts, what is asked and how, how hard it is."""
    return {
        "prompt_id": list(range(len(prompts))),
        "facts": [[guide.facts[prompt.animal, name] for name in phrases.ATTRIBUTES] for prompt in prompts],
        "asked": [[name in prompt.asked for name in phrases.ATTRIBUTES] for prompt in prompts],
        "brief": [prompt.brief for prompt in prompts],
        "difficulty": [guide.quarter(prompt.animal) for prompt in prompts],
    }


def documents(guide: World, count: int, rng: random.Random) -> Iterator[tuple[str, bool]]:
    """Give dialogues that a reader has corrected, as text, and whether the answer claims something false."""
    for _ in range(count):
        asked = dialogues.prompt(guide, rng)
        answered = dialogues.answer(asked, guide, rng)
        false, other = readers.remarks(asked, answered, guide)
        correction = readers.said(false, other, rng)
        yield f"<user> {asked.text} <assistant> {answered.text} <eos> {correction}", bool(false)


def pairs(
    prompts: list[Prompt], split: list[str], family: list[str], guide: World, rng: random.Random
) -> dict[str, list]:
    """Return the columns of `minimal_pairs.parquet`: answers to held-out prompts that differ in one respect."""
    rows = []
    for name in (COMPARED, NEW):
        asked = [
            prompt
            for prompt, where, kind in zip(prompts, split, family, strict=True)
            if (where, kind) == ("heldout", name)
        ]
        for kind in minimal_pairs.KINDS:
            tried = (rng.choice(asked) for _ in range(TRIES))
            found = ((prompt, minimal_pairs.pair(prompt, kind, guide, rng)) for prompt in tried)
            with_pair = ((prompt, pair) for prompt, pair in found if pair is not None)
            for prompt, (better, worse) in islice(with_pair, PAIRS):
                rows.append((prompt.messages, prompt.question, name, kind, better.text, worse.text))
    names = ("messages", "question", "family", "kind", "better", "worse")
    return dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
