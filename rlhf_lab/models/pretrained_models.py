"""Pretrained checkpoints as models and tokenizers.

Only weights in safetensors are read, and code that comes with a checkpoint is never run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from rlhf_lab.models import pretrained_files, tokenization

PAD = "<pad>"


def load(folder: Path, name: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Return the model of a checkpoint, in float32 and evaluation mode, and its tokenizer.

    `name` is what the user calls the checkpoint. Raises ValueError if the checkpoint cannot be used.
    """
    pretrained_files.check(folder, name)
    tokenizer = tokenization.load_tokenizer(folder)
    model = _load(folder, name)
    _check_tokens(model, tokenizer, name)
    _separate_padding(model, tokenizer)
    _declare_tokens(model, tokenizer)
    return model, tokenizer


def _load(folder: Path, name: str) -> PreTrainedModel:
    """Return the model; ValueError if the files lack weights, which transformers would fill with random numbers."""
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


def _check_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str) -> None:
    """Raise ValueError for a model that cannot read all tokens of its tokenizer, or whose answers could not end."""
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


def _separate_padding(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Give padding a token of its own if it shares EOS, as a classifier reads at the last token that is not padding."""
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
            weight[known:] = weight[:known].mean(0)  # the mean embedding, which is hardly ever sampled


def _rows(model: PreTrainedModel) -> int:
    """Return the number of tokens that the model has embeddings for."""
    return model.get_input_embeddings().get_parameter("weight").shape[0]


def _declare_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Set one EOS and no sampling options, as answers are drawn from the model's own distribution."""
    model.config.pad_token_id = tokenizer.pad_token_id
    model.config.eos_token_id = tokenizer.eos_token_id
    if model.can_generate():
        model.generation_config = GenerationConfig(
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
