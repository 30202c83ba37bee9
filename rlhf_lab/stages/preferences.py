"""Pairs of SFT answers to the same prompt, labelled: what reward models learn from, and what they are judged on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rlhf_lab.config import Runtime
from rlhf_lab.metrics import Metrics

if TYPE_CHECKING:
    import pyarrow as pa

    from rlhf_lab.pipeline import Labelled

VERSION = 1
HELDOUT_PAIRS = 1000  # on held-out questions; no model trains on them


def run(config: Labelled, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
    """Sample two answers a prompt, score them with gold, let the labeler choose; `pairs.parquet`."""
    import json

    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc
    import torch

    from rlhf_lab import models, sampling, text
    from rlhf_lab.gold.rewards import gold
    from rlhf_lab.labelers import prefers_first
    from rlhf_lab.records import read_table, write_table

    task, seed = inputs["task"], config.preferences.seed
    limits = json.loads((task / "task.json").read_text())
    tokenizer = text.load_tokenizer(inputs["sft"] / "model")
    model = models.load_language_model(inputs["sft"] / "model", runtime.device)
    prompts = read_table(task / "prompts.parquet")
    rng = np.random.default_rng(seed)
    asked = pa.concat_tables(
        _draw(prompts.filter(pc.equal(prompts["split"], split)), count, rng)
        for split, count in (("train", config.preferences.pairs), ("heldout", HELDOUT_PAIRS))
    )
    with Metrics(out, len(asked)) as metrics:
        ids = text.prompts_ids(tokenizer, asked["messages"].to_pylist(), limits["prompt_tokens"])
        generator = torch.Generator(runtime.device).manual_seed(seed)
        answers = sampling.sample(model, ids, 2, limits["answer_tokens"], generator).tokens()
        metrics.progress(len(asked))
    rows = pa.table(
        {
            "prompt_id": np.repeat(asked["prompt_id"].to_numpy(), 2),
            "text": [text.answer_text(tokenizer, a) for a in answers],
            "token_ids": answers,
            "finished": [a[-1] == tokenizer.eos_token_id for a in answers],
        }
    )
    tokenizer.save_pretrained(out / "tokenizer")  # whose token ids these are
    value = gold(task, inputs.get("gold"), out / "tokenizer", runtime)(rows)["gold"].reshape(-1, 2)
    if not np.isfinite(value).all():
        raise FloatingPointError("gold gave an answer a number that is not finite; no pair was labelled")
    first = prefers_first(config.labeler, value, rng)
    write_table(out / "pairs.parquet", _table(asked, rows, value, first))


def _draw(prompts: pa.Table, count: int, rng) -> pa.Table:
    """`count` prompts, as evenly over all of them as it goes."""
    import numpy as np

    rounds = -(-count // len(prompts))
    order = np.concatenate([rng.permutation(len(prompts)) for _ in range(rounds)])
    return prompts.take(order[:count])


def _table(asked: pa.Table, rows: pa.Table, value, first) -> dict:
    import numpy as np

    pair = np.arange(len(asked)) * 2
    chosen, rejected = pair + ~first, pair + first
    margin = np.where(first, 1, -1) * (value[:, 0] - value[:, 1])
    named = {
        f"{side}{suffix}": rows[column].take(index)
        for side, index in (("chosen", chosen), ("rejected", rejected))
        for suffix, column in (("", "text"), ("_ids", "token_ids"))
    }
    kept = {name: asked[name] for name in ("prompt_id", "question_id", "split", "messages")}
    return {**kept, **named, "margin": margin.astype(np.float32), "tied": margin == 0, "first": first}
