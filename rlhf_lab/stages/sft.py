"""The stage `sft`: supervised fine-tuning on demonstrations.

The inputs are the task and the base model; the stage leaves `model/`, which is the initial policy and the reference
of every KL, and `metrics.jsonl`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rlhf_lab.config.models import SFT, PretrainedModel
from rlhf_lab.config.runtime import Runtime
from rlhf_lab.models import pretrained_files
from rlhf_lab.store.metrics import Metrics

VERSION = 2  # no warm-up below 20 steps


def check(config: SFT, inputs: Mapping[str, Any]) -> None:
    """Raise ValueError if the base model is a checkpoint of a reward model."""
    base = inputs["base"]
    folder = pretrained_files.local(base) if isinstance(base, PretrainedModel) else None
    if folder is not None:
        description = pretrained_files.describe(folder, base.path)
        if pretrained_files.is_classifier(description):
            architecture = pretrained_files.architecture(description)
            raise ValueError(
                f"{base.path}: found a {architecture}, expected a causal language model as the policy"
            )


def run(config: SFT, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
    """Fine-tune the base model on the task's demonstrations."""
    from rlhf_lab.stages.fine_tuning import fine_tune
    from rlhf_lab.store.records import read_table

    task = inputs["task"]
    table = read_table(task / "demonstrations.parquet")
    messages, answers = table["messages"].to_pylist(), table["answer"].to_pylist()
    with Metrics(out, config.steps) as metrics:
        fine_tune(config, inputs["base"] / "model", task, messages, answers, out, metrics, runtime)
