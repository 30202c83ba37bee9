"""Supervised fine-tuning on demonstrations with TRL's SFTTrainer, loss on answers only."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rlhf_lab.config.models import SFT, PretrainedModel
from rlhf_lab.config.runtime import Runtime
from rlhf_lab.models import pretrained_files
from rlhf_lab.store.metrics import Metrics

VERSION = 1


def check(config: SFT, inputs: Mapping[str, Any]) -> None:
    """ValueError when the base model is a checkpoint of a reward model."""
    base = inputs["base"]
    folder = pretrained_files.local(base) if isinstance(base, PretrainedModel) else None
    if folder is not None:
        description = pretrained_files.describe(folder, base.path)
        if pretrained_files.is_classifier(description):
            found = pretrained_files.architecture(description)
            raise ValueError(f"{base.path}: found a {found}, expected a causal language model as the policy")


def run(config: SFT, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
    """Fine-tune the base model; `out/model` is the initial policy and the KL reference."""
    from rlhf_lab.stages.fine_tuning import fine_tune
    from rlhf_lab.store.records import read_table

    task = inputs["task"]
    shown = read_table(task / "demonstrations.parquet")
    learned = shown["messages"].to_pylist(), shown["answer"].to_pylist()
    with Metrics(out, config.steps) as metrics:
        fine_tune(config, inputs["base"] / "model", task, *learned, out, metrics, runtime)
