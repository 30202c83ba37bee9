"""A checkpoint from elsewhere, a local folder or a hub id at a pinned commit, as the other stages expect it.

Only weights in safetensors are read, and no code of a checkpoint's own is run. A causal language model stays
one, and a reward model (a sequence classifier of one label) stays one, so that `rm=pretrained rm.epochs=0`
uses it as it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlhf_lab import pretrained_files, sources
from rlhf_lab.config import PretrainedModel, Runtime

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

VERSION = 1
FILES = (
    "*.safetensors",
    "*.safetensors.index.json",
    "*.json",
    "*.txt",
    "*.model",
    "*.jinja",
)  # of a hub repository
PAD = "<pad>"


def check(config: PretrainedModel, inputs: Mapping[str, Any]) -> None:
    """ValueError when the checkpoint's files say that it would be refused, or it is out of reach."""
    folder = pretrained_files.local(config)
    if folder is None:
        if sources.offline():
            _folder(config)  # from the hub's cache, or not at all
        return
    pretrained_files.check(folder, config.path)
    description = pretrained_files.describe(folder, config.path)
    needed = inputs["task"].prompt_tokens + inputs["task"].answer_tokens
    _check_length(pretrained_files.longest(description), needed, config.path)


def run(config: PretrainedModel, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
    """Check the checkpoint and save it with its tokenizer in `out/model`; ValueError when it is refused."""
    from rlhf_lab import models, text

    folder, name = _folder(config), config.path
    pretrained_files.check(folder, name)
    tokenizer = text.load_tokenizer(folder)
    model = _load(folder, name)
    _check_fit(model, tokenizer, inputs["task"], name)
    _separate_padding(model, tokenizer)
    _declare_tokens(model, tokenizer)
    models.save(model, tokenizer, out / "model")


def _folder(config: PretrainedModel) -> Path:
    """Where the checkpoint's files are; those of a hub repository are fetched."""
    local = pretrained_files.local(config)
    if local is not None:
        return local
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(config.path, revision=config.revision, allow_patterns=list(FILES)))
    except Exception as error:  # the hub and the network fail in too many ways to list
        first = (str(error).splitlines() or [""])[0]
        raise ValueError(
            f"{config.path}@{config.revision}: neither a local folder nor a hub repository that could be "
            f"fetched ({type(error).__name__}: {first}): check the name, the commit and the connection"
        ) from error


# --- what is refused ----------------------------------------------------------------------------------------


def _load(folder: Path, name: str) -> PreTrainedModel:
    """The model, in its own class; weights that are not in the files are refused, never made up."""
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    description = pretrained_files.describe(folder, name)
    architecture = pretrained_files.architecture(description)
    classifier = pretrained_files.is_classifier(description)
    kind: Any = AutoModelForSequenceClassification if classifier else AutoModelForCausalLM
    model, report = kind.from_pretrained(
        folder, use_safetensors=True, trust_remote_code=False, dtype=torch.float32, output_loading_info=True
    )
    if report["missing_keys"]:
        raise ValueError(
            f"{name}: the files lack weights of {architecture} (such as {min(report['missing_keys'])}): save "
            "the whole model again"
        )
    if classifier and model.config.num_labels != 1:
        raise ValueError(
            f"{name}: found a classifier of {model.config.num_labels} labels, expected one label: a reward "
            "is one number"
        )
    return model.eval()


def _check_fit(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, task: Path, name: str) -> None:
    """Refuse a checkpoint that cannot read its tokenizer's tokens or the task's longest sequence."""
    rows = _rows(model)
    if len(tokenizer) > rows:
        raise ValueError(
            f"{name}: the tokenizer has {len(tokenizer)} tokens, the model reads {rows}: they do not belong "
            "together"
        )
    if tokenizer.eos_token_id is None:
        raise ValueError(
            f"{name}: the tokenizer has no EOS token, so that no answer could end: set eos_token in it"
        )
    limits = json.loads((task / "task.json").read_text())
    needed = limits["prompt_tokens"] + limits["answer_tokens"]
    _check_length(getattr(model.config, "max_position_embeddings", None), needed, name)


def _check_length(positions: int | None, needed: int, name: str) -> None:
    """Refuse a model that reads fewer tokens than the task's longest sequence has."""
    if positions is not None and positions < needed:
        raise ValueError(
            f"{name}: the model reads {positions} tokens, the task needs {needed}: lower task.prompt_tokens"
        )


# --- what is changed ----------------------------------------------------------------------------------------


def _separate_padding(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Give padding a token of its own: a classifier reads at the last token that is not padding: EOS."""
    if tokenizer.pad_token_id != tokenizer.eos_token_id:
        return
    tokenizer.add_special_tokens({"pad_token": PAD})
    known = _rows(model)
    if len(tokenizer) <= known:
        return
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
        if layer is not None:
            weight = layer.get_parameter("weight").data
            weight[known:] = weight[:known].mean(0)  # an average token, hardly ever sampled


def _rows(model: PreTrainedModel) -> int:
    """How many tokens the model has embeddings for."""
    return model.get_input_embeddings().get_parameter("weight").shape[0]


def _declare_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """One EOS, and no sampling options: answers here are drawn from the model's own distribution."""
    from transformers import GenerationConfig

    model.config.pad_token_id = tokenizer.pad_token_id
    model.config.eos_token_id = tokenizer.eos_token_id
    if model.can_generate():
        model.generation_config = GenerationConfig(
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
