"""Gold of answers to a task's prompts: by the rubric, or by a frozen reward model (2210.10760)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from rlhf_lab.config.runtime import Runtime
from rlhf_lab.store.records import read_table
from rlhf_lab.tasks.synthetic_assistant import phrases
from rlhf_lab.tasks.synthetic_assistant.framings import tone

if TYPE_CHECKING:
    from rlhf_lab.gold.answer_key import AnswerKey
    from rlhf_lab.gold.guide import Guide

RUBRIC = "rubric.parquet"
PORTION = 4096  # answers at a time: their words stay near the processor, and memory is flat

Scorer = Callable[[pa.Table], dict[str, np.ndarray]]  # from N rows, columns (N,) by name


def gold(task: Path, model: Path | None, writer: Path, runtime: Runtime) -> Scorer:
    """Return a function that gives all gold columns of tables of samples, each (N,) float32; `gold` comes first.

    The tables have prompt_id, text, token_ids and finished. `writer` holds the tokenizer of the token ids. `model` is
    the folder of a gold reward model; None for the task's rubric.
    """
    if model is not None:
        from rlhf_lab.scoring.reward_models import rewards_of_samples

        rewards = rewards_of_samples(task, model, writer, runtime)
        return lambda samples: {"gold": rewards(samples)}
    if _kind(task) == "field_guide":
        from rlhf_lab.gold import guide

        facts = _guide(task)
        return _in_portions(lambda samples: guide.score(facts, *_columns(samples)))
    from rlhf_lab.gold import parsing, rubric

    key = _answer_key(task)

    def score(samples: pa.Table) -> dict[str, np.ndarray]:
        """Return gold and its parts, (N,) each."""
        texts, prompt, finished = _columns(samples)
        return rubric.score(parsing.ParsedAnswers.parse(key, texts, prompt, finished))

    return _in_portions(score)


def behaviour(task: Path) -> Scorer:
    """Return a function that gives `behaviour.<name>` of tables of samples, each (N,) float32.

    The tables have prompt_id, text and finished. Beside what `rlhf_lab.gold.behaviour` reads there are `believed`,
    gold in the eyes of someone who cannot check claims, and `difficulty` of the question. With gold they say what an
    answer is worth to a limited labeler of any competence.
    """
    if _kind(task) == "field_guide":
        from rlhf_lab.gold import guide

        facts = _guide(task)

        def count(samples: pa.Table) -> dict[str, np.ndarray]:
            """Return how often the answers do what they do, (N,) each, under `behaviour.<name>`."""
            texts, prompt, finished = _columns(samples)
            counts = guide.behaviour(facts, texts, prompt)
            counts["believed"] = guide.score(facts.as_believed, texts, prompt, finished)["gold"]
            return {f"behaviour.{name}": values for name, values in counts.items()}

        return _in_portions(count)
    from rlhf_lab.gold import behaviour, parsing, rubric

    key = _answer_key(task)

    def read(samples: pa.Table) -> dict[str, np.ndarray]:
        """Return what the answers do, (N,) each, under `behaviour.<name>`."""
        texts, prompt, finished = _columns(samples)
        answers = parsing.ParsedAnswers.parse(key, texts, prompt, finished)
        columns = behaviour.behaviour(answers)
        columns["believed"] = rubric.believed(answers)
        columns["difficulty"] = key.difficulty[prompt].astype(np.float32)
        return {f"behaviour.{name}": values for name, values in columns.items()}

    return _in_portions(read)


def second_turns(task: Path) -> Scorer:
    """Return a function that gives `turns.<name>` of tables of second turns, each (N,) float32.

    `rlhf_lab.gold.behaviour.second_turns` says what they are. The tables have prompt_id (of the plain question),
    first (the first answer) and text (the second). The task must have a rubric.
    """
    from rlhf_lab.gold import behaviour, parsing

    key = _answer_key(task)

    def read(samples: pa.Table) -> dict[str, np.ndarray]:
        """Return what changes between first and second answers, (N,) each, under `turns.<name>`."""
        prompt = samples["prompt_id"].to_numpy()
        first, second = (
            parsing.ParsedAnswers.parse(key, samples[name].combine_chunks(), prompt)
            for name in ("first", "text")
        )
        columns = behaviour.second_turns(first, second)
        return {f"turns.{name}": values for name, values in columns.items()}

    return _in_portions(read)


def labeler_features(task: Path) -> Scorer:
    """Return a function that gives all that a labeler may go by beside gold, each (N,) float32.

    These are the columns of `behaviour`, `believed`, `difficulty`, and `user.<tone>`: 1 where the user states a
    belief in that tone. A task of human comparisons has none, and the field guide no users who state beliefs.
    """
    kind = _kind(task)
    if kind not in ("synthetic_assistant", "field_guide"):
        return lambda samples: {}
    behaves = behaviour(task)
    if kind == "field_guide":
        return lambda samples: _named_features(behaves(samples))
    tones = np.array(
        [tone(messages) for messages in read_table(task / "prompts.parquet")["messages"].to_pylist()]
    )

    def read(samples: pa.Table) -> dict[str, np.ndarray]:
        """Return the features of answers that labelers look at, (N,) each."""
        columns = _named_features(behaves(samples))
        of_user = tones[samples["prompt_id"].to_numpy()]
        return columns | {f"user.{name}": (of_user == name).astype(np.float32) for name in phrases.BELIEF}

    return read


def _named_features(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the columns of behaviour, two of them under the names by which labelers know them, too."""
    return columns | {name: columns[f"behaviour.{name}"] for name in ("believed", "difficulty")}


def weights(task: Path) -> dict[str, float]:
    """Return the weight of every part of the task's gold."""
    return parts(_kind(task) == "field_guide")


def parts(of_guide: bool) -> dict[str, float]:
    """Return the weight of every part of gold, of the field guide or of the other embedded task."""
    from rlhf_lab.gold import guide, rubric

    table = guide.PARTS if of_guide else rubric.PARTS
    return {name: part.weight for name, part in table.items()}


def _kind(task: Path) -> str:
    """Return the kind of the task, such as `field_guide`."""
    return json.loads((task / "task.json").read_text())["kind"]


def _answer_key(task: Path) -> AnswerKey:
    from rlhf_lab.gold.answer_key import AnswerKey

    return AnswerKey.from_table(read_table(task / RUBRIC), _vocabulary(task))


def _guide(task: Path) -> Guide:
    from rlhf_lab.gold.guide import Guide

    return Guide.from_table(read_table(task / "guide.parquet"), _vocabulary(task))


def _vocabulary(task: Path) -> list[str]:
    words = json.loads((task / "tokenizer" / "tokenizer.json").read_text())["model"]["vocab"]
    return sorted(words, key=words.get)


def _columns(samples: pa.Table) -> tuple[pa.Array, np.ndarray, np.ndarray]:
    """Return the texts, the prompts as rows of the answer key, and whether each answer finished."""
    prompt = samples["prompt_id"].to_numpy()
    return samples["text"].combine_chunks(), prompt, samples["finished"].to_numpy()


def _in_portions(read: Scorer) -> Scorer:
    """Return a function like `read` that passes it at most PORTION rows at a time."""

    def in_portions(samples: pa.Table) -> dict[str, np.ndarray]:
        parts = [read(samples.slice(start, PORTION)) for start in range(0, len(samples), PORTION)]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    return in_portions
