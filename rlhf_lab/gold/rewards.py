"""Gold of answers to a task's prompts: by the rubric, or by a frozen reward model (2210.10760)."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa

from rlhf_lab.config.runtime import Runtime
from rlhf_lab.store.records import read_table
from rlhf_lab.tasks.synthetic_assistant import phrases
from rlhf_lab.tasks.synthetic_assistant.framings import tone

if TYPE_CHECKING:
    from rlhf_lab.gold.answer_key import AnswerKey

RUBRIC = "rubric.parquet"
PORTION = 4096  # answers at a time: their words stay near the processor, and memory is flat

Columns = dict[str, np.ndarray]  # (N,) by name
Scorer = Callable[[pa.Table], Columns]  # from N rows
Read = Callable[[pa.Array, np.ndarray, np.ndarray], Columns]  # from texts, prompts, whether they finished


def gold(task: Path, model: Path | None, writer: Path, runtime: Runtime) -> Scorer:
    """Return a function that gives all gold columns of tables of samples, each (N,) float32; `gold` comes first.

    The tables have prompt_id, text, token_ids and finished. `writer` holds the tokenizer of the token ids. `model` is
    the folder of a gold reward model; None for the task's rubric.
    """
    if model is not None:
        from rlhf_lab.scoring.reward_models import rewards_of_samples

        rewards = rewards_of_samples(task, model, writer, runtime)
        return lambda samples: {"gold": rewards(samples)}
    return _of_samples(_reader(task).score, "")


def behaviour(task: Path) -> Scorer:
    """Return a function that gives `behaviour.<name>` of tables of samples, each (N,) float32.

    The tables have prompt_id, text and finished. Beside what the task's gold counts there are `believed`, gold in the
    eyes of someone who cannot check claims, and `difficulty` of the question. With gold they say what an answer is
    worth to a limited labeler of any competence.
    """
    return _of_samples(_reader(task).behaviour, "behaviour.")


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
    if _kind(task) not in READERS:
        return lambda samples: {}
    behaves = behaviour(task)
    tones = np.array(
        [tone(messages) for messages in read_table(task / "prompts.parquet")["messages"].to_pylist()]
    )

    def read(samples: pa.Table) -> dict[str, np.ndarray]:
        """Return the features of answers that labelers look at, (N,) each."""
        columns = behaves(samples)
        columns |= {name: columns[f"behaviour.{name}"] for name in ("believed", "difficulty")}
        of_user = tones[samples["prompt_id"].to_numpy()]
        return columns | {f"user.{name}": (of_user == name).astype(np.float32) for name in phrases.BELIEF}

    return read


def weights(task: Path) -> dict[str, float]:
    """Return the weight of every part of the task's gold."""
    return parts(_kind(task))


def parts(kind: str) -> dict[str, float]:
    """Return the weight of every part of gold of a kind of task."""
    from rlhf_lab.gold import guide, rubric

    tables = {"field_guide": guide.PARTS, "synthetic_assistant": rubric.PARTS}
    return {name: part.weight for name, part in tables[kind].items()}


class Reader(NamedTuple):
    """How a kind of task reads answers: from texts (N,), the rows of their prompts, and whether they finished."""

    score: Read
    behaviour: Read


def _reader(task: Path) -> Reader:
    """Return the reader of a task's kind."""
    return READERS[_kind(task)](task)


def _guide_reader(task: Path) -> Reader:
    from rlhf_lab.gold import guide

    facts = guide.Guide.from_table(read_table(task / "guide.parquet"), _vocabulary(task))
    return Reader(partial(guide.score, facts), partial(guide.behaviour, facts))


def _rubric_reader(task: Path) -> Reader:
    from rlhf_lab.gold import behaviour, parsing, rubric

    key = _answer_key(task)

    def score(texts: pa.Array, prompt: np.ndarray, finished: np.ndarray) -> dict[str, np.ndarray]:
        """Return gold and its parts, (N,) each."""
        return rubric.score(parsing.ParsedAnswers.parse(key, texts, prompt, finished))

    def behave(texts: pa.Array, prompt: np.ndarray, finished: np.ndarray) -> dict[str, np.ndarray]:
        """Return what the answers do, (N,) each."""
        answers = parsing.ParsedAnswers.parse(key, texts, prompt, finished)
        difficulty = key.difficulty[prompt].astype(np.float32)
        return behaviour.behaviour(answers) | {"believed": rubric.believed(answers), "difficulty": difficulty}

    return Reader(score, behave)


READERS = {"field_guide": _guide_reader, "synthetic_assistant": _rubric_reader}


def _kind(task: Path) -> str:
    """Return the kind of the task, such as `field_guide`."""
    return json.loads((task / "task.json").read_text())["kind"]


def _answer_key(task: Path) -> AnswerKey:
    from rlhf_lab.gold.answer_key import AnswerKey

    return AnswerKey.from_table(read_table(task / RUBRIC), _vocabulary(task))


def _vocabulary(task: Path) -> list[str]:
    words = json.loads((task / "tokenizer" / "tokenizer.json").read_text())["model"]["vocab"]
    return sorted(words, key=words.get)


def _of_samples(read: Read, prefix: str) -> Scorer:
    """Return a function that reads tables of samples, and puts `prefix` before the name of each column."""

    def read_samples(samples: pa.Table) -> dict[str, np.ndarray]:
        """Return the columns of a table, (N,) each; the prompts of samples are rows of what gold knows."""
        prompt, finished = samples["prompt_id"].to_numpy(), samples["finished"].to_numpy()
        columns = read(samples["text"].combine_chunks(), prompt, finished)
        return {f"{prefix}{name}": values for name, values in columns.items()}

    return _in_portions(read_samples)


def _in_portions(read: Scorer) -> Scorer:
    """Return a function like `read` that passes it at most PORTION rows at a time."""

    def in_portions(samples: pa.Table) -> dict[str, np.ndarray]:
        """Return the columns of all rows, (N,) each."""
        parts = [read(samples.slice(start, PORTION)) for start in range(0, len(samples), PORTION)]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    return in_portions
