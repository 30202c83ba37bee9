"""A few SFT answers to every prompt: what puts reward models on one scale, and what shapings compare with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rlhf_lab.config.runtime import Runtime
from rlhf_lab.store.metrics import Metrics

VERSION = 1
ANSWERS, SEED = 8, 0  # to each prompt; PAR needs one (2502.18770), an SD more


@dataclass(slots=True)
class References:
    """Nothing to choose: they are the same for all reward models of a policy."""


def run(config: References, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
    """Sample every prompt of the task from SFT, in order of prompt_id; `answers.parquet`, and their tokenizer."""
    import json

    import numpy as np
    import torch

    from rlhf_lab.models import loading, sampling, tokenization
    from rlhf_lab.store.records import read_table, write_table

    limits = json.loads((inputs["task"] / "task.json").read_text())
    tokenizer = tokenization.load_tokenizer(inputs["sft"] / "model")
    sft = loading.load_language_model(inputs["sft"] / "model", runtime.device)
    prompts = read_table(inputs["task"] / "prompts.parquet")
    ids = tokenization.prompts_ids(tokenizer, prompts["messages"].to_pylist(), limits["prompt_tokens"])
    generator = torch.Generator(runtime.device).manual_seed(SEED)
    with Metrics(out, len(ids)) as metrics:
        answers = sampling.sample(sft, ids, ANSWERS, limits["answer_tokens"], generator).tokens()
        metrics.progress(len(ids))
    rows = {
        "prompt_id": np.repeat(prompts["prompt_id"].to_numpy(), ANSWERS),
        "text": [tokenization.answer_text(tokenizer, answer) for answer in answers],
        "token_ids": answers,
    }
    write_table(out / "answers.parquet", rows)
    tokenizer.save_pretrained(out / "tokenizer")
