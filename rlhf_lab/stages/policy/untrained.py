"""What the stages of untrained policies share: evaluations at several strengths in the place of checkpoints."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from transformers import PreTrainedModel

from rlhf_lab.config.policies import Untrained
from rlhf_lab.config.runtime import Runtime
from rlhf_lab.models import loading, tokenization
from rlhf_lab.stages.policy.training_session import training_session
from rlhf_lab.store.artifacts import write_json

DONE = "strengths.json"  # of a checkpoint: what `change` returned at each strength that is evaluated
Change = Callable[[PreTrainedModel, float, float | None], float]  # copy of SFT, strength, last value -> value


def evaluate_at(
    strengths: Sequence[float],
    change: Change,
    config: Untrained,
    inputs: Mapping[str, Path],
    out: Path,
    runtime: Runtime,
) -> None:
    """Evaluate SFT, and then a copy of it that `change` has changed, at each strength.

    `change(copy, strength, value)` gets what it returned at the strength before, None at the first. Checkpoint 0 is
    SFT, and checkpoint i the i-th strength. A stage that was stopped goes on after the last strength that it saved. The
    stage leaves `samples.parquet`, `reference.parquet`, `tokenizer/`, `model/` (the SFT model) and `metrics.jsonl`.
    """
    folder = inputs["sft"] / "model"
    tokenizer = tokenization.load_tokenizer(folder)
    policy, sft = (loading.load_language_model(folder, runtime.device) for _ in range(2))
    with training_session(config, len(strengths), sft, tokenizer, inputs, out, runtime) as session:
        checkpoint = session.begin(partial(session.evaluation.evaluate, policy))
        values: list[float] = [] if checkpoint is None else json.loads((checkpoint / DONE).read_text())
        for strength in strengths[len(values) :]:
            values.append(change(policy, strength, values[-1] if values else None))
            session.evaluation.evaluate(policy, len(values))
            if len(values) < len(strengths):
                session.pause(len(values), lambda folder: write_json(folder / DONE, values))
        session.finish(sft, tokenizer)
