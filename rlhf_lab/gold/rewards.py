"""Gold of any answers to a task's prompts: by the rubric, or by a frozen reward model (2210.10760)."""

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
    from rlhf_lab.gold.rubric import Rubric

RUBRIC = "rubric.parquet"


def gold(
    task: Path, model: Path | None, writer: Path, runtime: Runtime
) -> Callable[[pa.Table], dict[str, np.ndarray]]:
    """What gives every gold number of tables of samples, each (N,) float32; `gold` comes first.

    The tables have prompt_id, text, token_ids and finished; `writer` holds the tokenizer whose ids the answers are.
    """
    if model is not None:
        from rlhf_lab.scoring.reward_models import rewards_of_samples

        rewards = rewards_of_samples(task, model, writer, runtime)
        return lambda samples: {"gold": rewards(samples)}
    rubric = _rubric(task)

    def by_rubric(samples: pa.Table) -> dict[str, np.ndarray]:
        prompt = samples["prompt_id"].to_numpy()  # the row number
        return rubric.score(samples["text"].combine_chunks(), samples["finished"].to_numpy(), prompt)

    return by_rubric


def behaviour(task: Path) -> Callable[[pa.Table], dict[str, np.ndarray]]:
    """What gives `behaviour.<name>` of tables of samples (prompt_id, text, finished), (N,) float32 each; of a rubric.

    Beside what `rlhf_lab.gold.behaviour` reads: `believed`, gold of who takes what sounds sure for right, and
    `difficulty` of the question. With gold they give what an answer is worth to a limited labeler of any competence.
    """
    rubric = _rubric(task)

    def read(samples: pa.Table) -> dict[str, np.ndarray]:
        """Column -> (N,): how each answer behaves, what it looks worth to who cannot check, how hard it is."""
        answers, prompt = samples["text"].combine_chunks(), samples["prompt_id"].to_numpy()
        found = rubric.behaviour(answers, prompt)
        found["believed"] = rubric.believed(answers, samples["finished"].to_numpy(), prompt)
        found["difficulty"] = rubric.difficulty[prompt].astype(np.float32)
        return {f"behaviour.{name}": values for name, values in found.items()}

    return read


def second_turns(task: Path) -> Callable[[pa.Table], dict[str, np.ndarray]]:
    """What gives `turns.<name>` (`rlhf_lab.gold.turns`) of tables of second turns (prompt_id of the plain question,
    first answer, text), each (N,) float32; needs a rubric.
    """
    rubric = _rubric(task)

    def read(samples: pa.Table) -> dict[str, np.ndarray]:
        first, second = (samples[name].combine_chunks() for name in ("first", "text"))
        found = rubric.turns(first, second, samples["prompt_id"].to_numpy())
        return {f"turns.{name}": values for name, values in found.items()}

    return read


def noticed(task: Path) -> Callable[[pa.Table], dict[str, np.ndarray]]:
    """What gives all that a labeler may go by beside gold: behaviour, `believed`, `difficulty`, and whether the user
    states a belief in a tone, `user.<tone>`; else nothing.
    """
    if not (task / RUBRIC).exists():
        return lambda samples: {}
    behaves = behaviour(task)
    tones = np.array([tone(one) for one in read_table(task / "prompts.parquet")["messages"].to_pylist()])

    def read(samples: pa.Table) -> dict[str, np.ndarray]:
        """The same, and as labelers name it, and in which tone its user states a belief."""
        found = behaves(samples)
        found |= {name: found[f"behaviour.{name}"] for name in ("believed", "difficulty")}
        theirs = tones[samples["prompt_id"].to_numpy()]
        return found | {f"user.{of}": (theirs == of).astype(np.float32) for of in phrases.BELIEF}

    return read


def _rubric(task: Path) -> Rubric:
    from rlhf_lab.gold.rubric import Rubric

    words = json.loads((task / "tokenizer" / "tokenizer.json").read_text())["model"]["vocab"]
    return Rubric.of(read_table(task / RUBRIC), sorted(words, key=words.get))
