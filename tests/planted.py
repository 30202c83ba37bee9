"""Checkpoints whose behaviour is written into their weights.

One attention layer computes the share of each word among the tokens so far; the head is set by hand.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import tiny
import torch
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification, PreTrainedModel

SPECIAL = ("<pad>", "<bos>", "<eos>", "<unk>", "user", "assistant")
Weights = Mapping[tuple[str, str], float]  # (word read, word said) -> logit


def vocabulary(texts: Iterable[str]) -> list[str]:
    """Return the special words, the words of `texts`, and a spare one if their number is odd."""
    words = sorted({word for text in texts for word in text.split()} - set(SPECIAL))
    return [*SPECIAL, *words, *["<spare>"] * (len(words) % 2)]


def language_model(
    folder: Path, texts: Iterable[str], last: Weights, read: Weights, chat: bool = True
) -> Path:
    """Save a language model and return its folder.

    The logit of a word is what `last` gives for the newest token, plus what `read` gives for each word times its
    share among the tokens so far.
    """
    words = vocabulary(texts)
    model = LlamaForCausalLM(_config(len(words)))
    with torch.no_grad():
        _plant(model, len(words))
        model.lm_head.weight.zero_()
        for weights, offset in ((last, 0), (read, len(words))):
            for (source, said), logit in weights.items():
                model.lm_head.weight[words.index(said), offset + words.index(source)] = logit
    return _saved(model, words, folder, chat)


def reward_model(folder: Path, texts: Iterable[str], worth: Mapping[str, float]) -> Path:
    """Save a reward model and return its folder; a word of `worth` adds its worth times its share of the tokens."""
    words = vocabulary(texts)
    model = LlamaForSequenceClassification(_config(len(words)))
    with torch.no_grad():
        _plant(model, len(words))
        model.score.weight.zero_()
        for word, reward in worth.items():
            model.score.weight[0, len(words) + words.index(word)] = reward
    return _saved(model, words, folder, True)


def _config(words: int) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=words, hidden_size=2 * words, intermediate_size=2, num_hidden_layers=1, num_attention_heads=1,
        head_dim=2 * words, max_position_embeddings=256, num_labels=1, tie_word_embeddings=False,
        pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip


def _plant(model: PreTrainedModel, words: int) -> None:
    """Write the newest token into the first half of the hidden state, and the shares of words into the second."""
    trunk = model.model
    layer, identity = trunk.layers[0], torch.eye(words)
    trunk.embed_tokens.weight.zero_()
    trunk.embed_tokens.weight[:, :words] = identity
    for linear in (
        layer.self_attn.q_proj,
        layer.self_attn.k_proj,
        layer.self_attn.o_proj,
        layer.mlp.down_proj,
    ):
        linear.weight.zero_()
    layer.self_attn.v_proj.weight.copy_(torch.eye(2 * words))
    layer.self_attn.o_proj.weight[words:, :words] = identity


def _saved(model: PreTrainedModel, words: list[str], folder: Path, chat: bool) -> Path:
    tokenizer = tiny.tokenizer(words, unknown="<unk>")
    if not chat:
        tokenizer.chat_template = None
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
