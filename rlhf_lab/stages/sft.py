"""Supervised fine-tuning on demonstrations with TRL's SFTTrainer, loss on answers only."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rlhf_lab import pretrained_files
from rlhf_lab.config import SFT, PretrainedModel, Runtime
from rlhf_lab.metrics import Metrics

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
    import json

    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    from rlhf_lab import models, text
    from rlhf_lab.records import read_table
    from rlhf_lab.training import arguments, bare

    limits = json.loads((inputs["task"] / "task.json").read_text())
    shown = read_table(inputs["task"] / "demonstrations.parquet")
    tokenizer = text.load_tokenizer(inputs["base"] / "model")
    prompts = text.prompts_ids(tokenizer, shown["messages"].to_pylist(), limits["prompt_tokens"])
    answers = text.answers_ids(tokenizer, shown["answer"].to_pylist(), limits["answer_tokens"])
    rows = {
        "input_ids": [[*p, *a] for p, a in zip(prompts, answers, strict=True)],
        "labels": [[-100] * len(p) + a for p, a in zip(prompts, answers, strict=True)],  # -100: no loss
    }
    with Metrics(out, config.steps) as metrics:
        trainer = SFTTrainer(
            model=models.load_language_model(inputs["base"] / "model", runtime.device),
            args=SFTConfig(
                **arguments(out, config.seed, runtime),
                max_steps=config.steps,
                per_device_train_batch_size=config.batch,
                learning_rate=config.lr,
                warmup_steps=max(1, config.steps // 20),
                max_length=None,
                dataset_kwargs={"skip_prepare_dataset": True},
            ),
            train_dataset=Dataset.from_dict(rows),
            processing_class=tokenizer,
        )
        bare(trainer, metrics).train()
    models.save(trainer.model, tokenizer, out / "model")
