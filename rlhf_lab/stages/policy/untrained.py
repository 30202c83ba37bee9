"""What the stages of untrained policies share: evaluations at several strengths in the place of checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from transformers import PreTrainedModel

from rlhf_lab.config.policies import Untrained
from rlhf_lab.config.runtime import Runtime
from rlhf_lab.models import loading, tokenization
from rlhf_lab.stages.policy.training_session import training_session
from rlhf_lab.store import interrupts


def evaluate_at(
    strengths: Sequence[float],
    changed: Callable[[PreTrainedModel, float], None],
    config: Untrained,
    inputs: Mapping[str, Path],
    out: Path,
    runtime: Runtime,
) -> None:
    """Evaluate SFT, and then a copy of it that `changed(copy, strength)` has changed, at each strength.

    Checkpoint 0 is SFT, and checkpoint i the i-th strength. A signal stops the stage before the next strength, and the
    same command begins the stage again. The stage leaves `samples.parquet`, `reference.parquet`,
    `tokenizer/`, `model/` (the SFT model) and `metrics.jsonl`.
    """
    folder = inputs["sft"] / "model"
    tokenizer = tokenization.load_tokenizer(folder)
    policy, sft = (loading.load_language_model(folder, runtime.device) for _ in range(2))
    with training_session(config, len(strengths), sft, tokenizer, inputs, out, runtime) as session:
        session.evaluation.evaluate(policy, 0)
        for number, strength in enumerate(strengths, start=1):
            interrupts.stop_if_asked()
            changed(policy, strength)
            session.evaluation.evaluate(policy, number)
        session.finish(sft, tokenizer)
