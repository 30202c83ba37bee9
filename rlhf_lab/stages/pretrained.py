"""A checkpoint from elsewhere, a local folder or a hub id at a pinned commit, as the other stages expect it.

Only weights in safetensors are read, and no code of a checkpoint's own is run. A causal language model stays
one, and a reward model (a sequence classifier of one label) stays one, so that `rm=pretrained rm.epochs=0`
uses it as it is.
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
    """ValueError when the checkpoint's files say that it would be refused, or it is out of reach."""
    folder = pretrained_files.local(config)
    if folder is None:
        if sources.offline():
            pretrained_files.folder(config)  # from the hub's cache, or not at all
        return
    pretrained_files.check(folder, config.path)
    description = pretrained_files.describe(folder, config.path)
    needed = inputs["task"].prompt_tokens + inputs["task"].answer_tokens
    _check_length(pretrained_files.longest(description), needed, config.path)


def run(config: PretrainedModel, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
    """Check the checkpoint and save it with its tokenizer in `out/model`; ValueError when it is refused."""
    from rlhf_lab.models import loading, pretrained_models

    model, tokenizer = pretrained_models.load(pretrained_files.folder(config), config.path)
    limits = json.loads((inputs["task"] / "task.json").read_text())
    needed = limits["prompt_tokens"] + limits["answer_tokens"]
    _check_length(getattr(model.config, "max_position_embeddings", None), needed, config.path)
    loading.save(model, tokenizer, out / "model")


def _check_length(positions: int | None, needed: int, name: str) -> None:
    """Refuse a model that reads fewer tokens than the task's longest sequence has."""
    if positions is not None and positions < needed:
        raise ValueError(
            f"{name}: the model reads {positions} tokens, the task needs {needed}: lower task.prompt_tokens"
        )
