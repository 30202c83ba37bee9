from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tiny
import torch

from rlhf_lab.scoring import samples


@pytest.fixture
def task(tmp_path: Path) -> Path:
    """Six held-out questions, asked one, two, ... or six times, and a training prompt."""
    question = [q for q in range(6) for _ in range(q + 1)] + [9]
    messages = [json.dumps([{"role": "user", "content": f"w{i % 7} w{q}"}]) for i, q in enumerate(question)]
    table = {
        "prompt_id": pa.array(range(len(question)), pa.int32()),
        "question_id": pa.array(question, pa.int32()),
        "family": ["fact"] * len(question),
        "split": ["heldout"] * (len(question) - 1) + ["train"],
        "messages": messages,
    }
    pq.write_table(pa.table(table), tmp_path / "prompts.parquet")
    (tmp_path / "task.json").write_text(json.dumps({"prompt_tokens": 8, "answer_tokens": 4}))
    return tmp_path


def test_prompts_are_spread_over_questions(task: Path) -> None:
    prompts = samples.load_prompts(task, tiny.tokenizer(), "heldout")
    assert len(prompts.ids) == 21 and 9 not in prompts.question_id
    few = samples.spread(prompts, 6)
    assert sorted(few.question_id) == [0, 1, 2, 3, 4, 5]
    assert np.bincount(samples.spread(prompts, 11).question_id).tolist() == [1, 2, 2, 2, 2, 2]
    assert (few.prompt_id == samples.spread(prompts, 6).prompt_id).all()
    assert len(samples.spread(prompts, 1000).ids) == 21


def test_rows_of_an_evaluation(task: Path) -> None:
    tokenizer, policy, ref = tiny.tokenizer(), tiny.policy(1, sharpness=3.0), tiny.policy(2, sharpness=3.0)
    prompts = samples.spread(samples.load_prompts(task, tokenizer, "heldout"), 6)

    def rows(reference, checkpoint: int) -> samples.Columns:
        generator = torch.Generator().manual_seed(3)
        return samples.answer_rows(policy, reference, tokenizer, prompts, 5, checkpoint, 4, generator)

    own, other = rows(policy, 0), rows(ref, 7)
    assert own["token_ids"] == other["token_ids"]
    assert own["logp"] == pytest.approx(other["logp"], abs=1e-4)  # from the sampler, from a forward pass
    assert (own["kl"] == 0).all() and (own["k1"] == 0).all()
    assert other["kl"].mean() > 0.05 and other["kl"].min() >= 0
    assert other["k1"] == pytest.approx(other["logp"] - other["ref_logp"], abs=1e-5)
    assert own["prompt_id"].tolist() == np.repeat(prompts.prompt_id, 5).tolist()
    assert all(
        (ids[-1] == tiny.EOS) == done for ids, done in zip(own["token_ids"], own["finished"], strict=True)
    )

    table = pa.table(samples.concatenated([own, other]))
    assert table.num_rows == 60 and set(table["checkpoint"].to_pylist()) == {0, 7}
    assert table["text"].to_pylist()[0] == tokenizer.decode([i for i in own["token_ids"][0] if i != tiny.EOS])
