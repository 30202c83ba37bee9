"""The stage `pretrained`: a given checkpoint, from a local folder or from the hub at a pinned commit.

The input is the task, which says how long sequences are; the stage leaves the checkpoint in `model/` with its
tokenizer. Only weights in safetensors are read, and no code of the checkpoint is run. A causal language model stays
one, and a reward model (a sequence classifier of one label) stays one, so that `rm=pretrained rm.epochs=0` uses it
unchanged.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rlhf_lab.config.models import PretrainedModel
from rlhf_lab.config.runtime import Runtime
from rlhf_lab.models import pretrained_files
from rlhf_lab.store import sources

VERSION = 1


def check(config: PretrainedModel, inputs: Mapping[str, Any]) -> None:
    """Raise ValueError if the checkpoint's files say that `run` would refuse it, or if they are out of reach."""
    folder = pretrained_files.local(config)
    if folder is None:
        if sources.offline():
            pretrained_files.folder(config)  # raises if the hub's cache does not have it
        return
    pretrained_files.check(folder, config.path)
    description = pretrained_files.describe(folder, config.path)
    needed = inputs["task"].prompt_tokens + inputs["task"].answer_tokens
    _check_length(pretrained_files.longest(description), needed, config.path)


def run(config: PretrainedModel, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
    """Save the checkpoint with its tokenizer in `out/model`; raise ValueError if it cannot be used."""
    from rlhf_lab.models import loading, pretrained_models

    model, tokenizer = pretrained_models.load(pretrained_files.folder(config), config.path)
    limits = json.loads((inputs["task"] / "task.json").read_text())
    needed = limits["prompt_tokens"] + limits["answer_tokens"]
    _check_length(getattr(model.config, "max_position_embeddings", None), needed, config.path)
    loading.save(model, tokenizer, out / "model")


def _check_length(positions: int | None, needed: int, name: str) -> None:
    """Raise ValueError if the model reads fewer tokens than the task's longest sequence has."""
    if positions is not None and positions < needed:
        raise ValueError(
            f"{name}: the model reads {positions} tokens, the task needs {needed}: lower task.prompt_tokens"
        )
