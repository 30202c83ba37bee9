"""Fine-tuning of a language model on demonstrations with TRL's SFTTrainer, with the loss on answers only."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from datasets import Dataset
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from rlhf_lab.config.models import SFT
from rlhf_lab.config.runtime import Runtime
from rlhf_lab.models import loading, tokenization
from rlhf_lab.models.trl_arguments import arguments, recording
from rlhf_lab.store.metrics import Metrics


def fine_tune(
    config: SFT,
    start: Path,
    task: Path,
    messages: Sequence[str],
    answers: Sequence[str],
    out: Path,
    metrics: Metrics,
    runtime: Runtime,
) -> None:
    """Train the model in the folder `start` on answers to dialogues (JSON) and save it in `out/model`.

    With 0 steps it is saved as it is.
    """
    limits = json.loads((task / "task.json").read_text())
    tokenizer = tokenization.load_tokenizer(start)
    prompts = tokenization.prompts_ids(tokenizer, messages, limits["prompt_tokens"])
    completions = tokenization.answers_ids(tokenizer, answers, limits["answer_tokens"])
    rows = {
        "input_ids": [[*p, *a] for p, a in zip(prompts, completions, strict=True)],
        "labels": [[-100] * len(p) + a for p, a in zip(prompts, completions, strict=True)],  # -100: no loss
    }
    model = loading.load_language_model(start, runtime.device)
    if config.steps == 0:
        loading.save(model, tokenizer, out / "model")
        return
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(
            **arguments(out, config.seed, runtime),
            max_steps=config.steps,
            per_device_train_batch_size=config.batch,
            learning_rate=config.lr,
            warmup_steps=config.steps // 20,  # the first step of a warm-up has rate 0
            max_length=None,
            dataset_kwargs={"skip_prepare_dataset": True},
        ),
        train_dataset=Dataset.from_dict(rows),
        processing_class=tokenizer,
    )
    recording(trainer, metrics).train()
    loading.save(model, tokenizer, out / "model")
