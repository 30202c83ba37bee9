"""Gold of any answers to a task's prompts: by the rubric, or by a frozen reward model (2210.10760)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa

from rlhf_lab.config import Runtime
from rlhf_lab.records import read_table


def gold(
    task: Path, model: Path | None, samples: pa.Table, writer: Path, runtime: Runtime
) -> dict[str, np.ndarray]:
    """Every gold number of `samples`, each (N,) float32; `gold` comes first.

    `samples` has prompt_id, text, token_ids and finished; `writer` holds the tokenizer whose ids the answers are.
    """
    if model is not None:
        from rlhf_lab.scoring import reward_of_samples

        return {"gold": reward_of_samples(task, model, samples, writer, runtime)}
    from rlhf_lab.gold.rubric import score

    vocabulary = json.loads((task / "tokenizer" / "tokenizer.json").read_text())["model"]["vocab"]
    rubric = read_table(task / "rubric.parquet")
    rows = rubric.take(samples["prompt_id"].combine_chunks())  # prompt_id is the row number
    finished = samples["finished"].to_numpy()
    return score(samples["text"].combine_chunks(), finished, rows, sorted(vocabulary, key=vocabulary.get))
