"""Language models and reward models: built from scratch, loaded from a folder and saved, as safetensors only."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from rlhf_lab.config.models import ScratchModel

# A reward model that starts from a language model always has a "newly initialised" head, of which transformers warns.
transformers_logging.set_verbosity_error()
transformers_logging.disable_progress_bar()


def build_language_model(
    shape: ScratchModel, tokenizer: PreTrainedTokenizerBase, positions: int, seed: int
) -> LlamaForCausalLM:
    """Return a Llama with random weights of the given shape, for sequences of up to `positions` tokens."""
    torch.manual_seed(seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=shape.hidden,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            intermediate_size=shape.intermediate,
            max_position_embeddings=positions,
            initializer_range=shape.init_sd or 0.0,
            tie_word_embeddings=shape.tied,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
    if shape.init_sd is None:
        draw_by_inputs(model)
    return model


def draw_by_inputs(model: LlamaForCausalLM) -> None:
    """Draw the weights of each layer with SD 1 / sqrt(inputs), so that narrow models start on the scale of wide ones.

    Layers that write to the residual stream have SD 1 / sqrt(2 layers x inputs), and the vectors of words 0.5.
    """
    writes = 2 * model.config.num_hidden_layers
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):
            writing = name.endswith(("o_proj", "down_proj"))
            torch.nn.init.normal_(
                module.weight, std=(module.in_features * (writes if writing else 1)) ** -0.5
            )
        elif isinstance(module, torch.nn.Embedding):
            torch.nn.init.normal_(module.weight, std=0.5)


def load_language_model(folder: Path | str, device: str = "cpu") -> PreTrainedModel:
    """Return the causal language model in `folder`, in float32 and evaluation mode.

    Raises ValueError if the folder holds a reward model.
    """
    model = AutoModelForCausalLM.from_pretrained(folder, use_safetensors=True, dtype=torch.float32)
    saved = (model.config.architectures or [""])[0]
    if saved.endswith("ForSequenceClassification"):  # its language head would be random
        raise ValueError(f"{folder}: found a {saved}, expected a causal language model")
    return model.to(device).eval()


def load_reward_model(folder: Path | str, device: str = "cpu", dropout: float = 0.0) -> PreTrainedModel:
    """Return the sequence classifier with one label in `folder`, in float32 and evaluation mode.

    `dropout` is the dropout of its attention in training; ValueError if the model has none.
    """
    options = {"attention_dropout": dropout} if dropout else {}
    model = AutoModelForSequenceClassification.from_pretrained(
        folder, num_labels=1, use_safetensors=True, dtype=torch.float32, **options
    )
    if dropout and getattr(model.config, "attention_dropout", None) != dropout:
        raise ValueError(f"{folder}: {type(model).__name__} has no attention_dropout: set rm.dropout=0")
    return model.to(device).eval()


def end_dropout(model: PreTrainedModel, dropout: float) -> None:
    """Put a model that was trained with `dropout` into evaluation mode, and save no dropout in its configuration."""
    model.eval()
    if dropout:
        model.config.attention_dropout = 0.0


def randomise(model: PreTrainedModel, seed: int) -> PreTrainedModel:
    """Return a model of the same class and shape with fresh random weights."""
    torch.manual_seed(seed)
    return type(model)(copy.deepcopy(model.config))


def save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write weights, configuration and tokenizer, with the key-value cache switched on, which generation needs."""
    model.config.use_cache = True
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def non_embedding_parameters(model: PreTrainedModel) -> int:
    """Return the number of parameters outside the embeddings and the output head, the size used in scaling laws."""
    embeddings = {id(p) for p in model.get_input_embeddings().parameters()}
    head = model.get_output_embeddings()
    if head is not None:
        embeddings |= {id(p) for p in head.parameters()}
    return sum(p.numel() for p in model.parameters() if id(p) not in embeddings)
