"""A Bradley-Terry reward model on comparisons, with TRL's RewardTrainer on token ids that include EOS."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlhf_lab import pretrained_files
from rlhf_lab.config import PretrainedModel, RewardInit, Runtime
from rlhf_lab.metrics import Metrics

if TYPE_CHECKING:
    import pyarrow as pa
    from transformers import PreTrainedTokenizerBase

    from rlhf_lab.pipeline import Training

VERSION = 1


def check(config: Training, inputs: Mapping[str, Any]) -> None:
    """ValueError when a model that is not trained has no head: its rewards would be those of random weights."""
    trunk = inputs["trunk"]
    if config.epochs > 0:
        return
    folder = pretrained_files.local(trunk) if isinstance(trunk, PretrainedModel) else None
    described = pretrained_files.describe(folder, trunk.path) if folder is not None else None
    if described is not None and not pretrained_files.is_classifier(described):
        found = pretrained_files.architecture(described)
        raise ValueError(
            f"{trunk.path}: found a {found} for a reward model of 0 epochs, expected a sequence classifier: "
            "give one, or train a head with rm.epochs=1"
        )


def run(config: Training, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
    """Train on the training questions' comparisons; evaluate on the held-out questions' into `evaluation.json`."""
    import numpy as np
    import pyarrow.compute as pc
    import torch

    from rlhf_lab import accuracy, models, text
    from rlhf_lab.records import read_table
    from rlhf_lab.store import write_json

    tokenizer = text.load_tokenizer(inputs["trunk"] / "model")
    torch.manual_seed(config.seed)  # the head's weights
    model = models.load_reward_model(inputs["trunk"] / "model", runtime.device)
    model.config.pad_token_id = tokenizer.pad_token_id
    if config.init is RewardInit.scratch:
        model = models.randomise(model, config.seed).to(runtime.device)
    pairs = read_table(_comparisons(inputs["pairs"]))
    sides = {split: pairs.filter(pc.equal(pairs["split"], split)) for split in ("train", "heldout")}
    rows = {split: encode(side, tokenizer, inputs) for split, side in sides.items()}
    if config.epochs > 0:
        _train(config, model, tokenizer, rows["train"], out, runtime)
    models.save(model, tokenizer, out / "model")
    longer = accuracy.longer_wins(rows["train"])
    margin = accuracy.margins(model, rows["heldout"], runtime.score_batch)
    if not np.isfinite(margin).all():
        raise FloatingPointError("after training it gives a held-out answer a reward that is not finite")
    found = {"parameters": models.non_embedding_parameters(model)}
    write_json(
        out / "evaluation.json",
        found | accuracy.evaluation(margin, sides["heldout"], rows["heldout"], longer),
    )


def _comparisons(folder: Path) -> Path:
    """Labelled pairs, or a task's own human comparisons."""
    labelled = folder / "pairs.parquet"
    return labelled if labelled.exists() else folder / "comparisons.parquet"


def _train(config: Training, model, tokenizer, rows: dict, out: Path, runtime: Runtime) -> None:
    from datasets import Dataset
    from trl import RewardConfig, RewardTrainer

    from rlhf_lab.training import arguments, bare

    total = config.epochs * -(-len(rows["chosen_ids"]) // config.batch)
    with Metrics(out, total) as metrics:
        trainer = RewardTrainer(
            model=model,
            args=RewardConfig(
                **arguments(out, config.seed, runtime),
                num_train_epochs=config.epochs,
                per_device_train_batch_size=config.batch,
                learning_rate=config.lr,
                warmup_steps=max(1, total // 20),
                max_length=None,
                disable_dropout=True,
            ),
            train_dataset=Dataset.from_dict(rows),
            processing_class=tokenizer,
        )
        bare(trainer, metrics).train()


def encode(
    pairs: pa.Table, tokenizer: PreTrainedTokenizerBase, inputs: Mapping[str, Path]
) -> dict[str, list[list[int]]]:
    """Prompt and answer of both sides as token ids, `chosen_ids` and `rejected_ids`."""
    import json

    from rlhf_lab import text

    limits = json.loads((inputs["task"] / "task.json").read_text())
    prompts = text.prompts_ids(tokenizer, pairs["messages"].to_pylist(), limits["prompt_tokens"])
    writer = text.load_tokenizer(inputs["pairs"] / "tokenizer")

    def side(name: str) -> list[list[int]]:
        answers, written = pairs[name].to_pylist(), pairs[f"{name}_ids"].to_pylist()
        return text.answers_read_by(tokenizer, writer, answers, written, limits["answer_tokens"])

    return {
        f"{name}_ids": [[*p, *a] for p, a in zip(prompts, side(name), strict=True)]
        for name in ("chosen", "rejected")
    }
