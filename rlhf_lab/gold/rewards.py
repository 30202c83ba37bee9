"""Gold of any answers to a task's prompts: by the rubric, or by a frozen reward model (2210.10760)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

from rlhf_lab.config import Runtime
from rlhf_lab.records import read_table


def gold(
    task: Path, model: Path | None, writer: Path, runtime: Runtime
) -> Callable[[pa.Table], dict[str, np.ndarray]]:
    """What gives every gold number of tables of samples, each (N,) float32; `gold` comes first.

    The tables have prompt_id, text, token_ids and finished; `writer` holds the tokenizer whose ids the answers are.
    """
    if model is not None:
        from rlhf_lab.scoring import rewards_of_samples

        rewards = rewards_of_samples(task, model, writer, runtime)
        return lambda samples: {"gold": rewards(samples)}
    from rlhf_lab.gold.rubric import Rubric

    words = json.loads((task / "tokenizer" / "tokenizer.json").read_text())["model"]["vocab"]
    vocabulary = sorted(words, key=words.get)
    rubric = Rubric.of(read_table(task / "rubric.parquet"), vocabulary)

    def by_rubric(samples: pa.Table) -> dict[str, np.ndarray]:
        prompt = samples["prompt_id"].to_numpy()  # the row number
        return rubric.score(samples["text"].combine_chunks(), samples["finished"].to_numpy(), prompt)

    return by_rubric
