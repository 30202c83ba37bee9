"""Models of a few thousand random weights, which take milliseconds to make."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    PreTrainedTokenizerFast,
)

TEMPLATE = "{% for m in messages %}{{ m['role'] }} {{ m['content'] }} {% endfor %}assistant"
WORDS = ["<pad>", "<bos>", "<eos>", "user", "assistant", "good", *(f"w{i}" for i in range(10))]
PAD, BOS, EOS, GOOD = 0, 1, 2, 5


def tokenizer(words: Sequence[str] = WORDS, unknown: str = "<pad>") -> PreTrainedTokenizerFast:
    """Return a word-level tokenizer of 16 words with a chat template."""
    core = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token=unknown))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # pyright: ignore[reportAttributeAccessIssue]
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        chat_template=TEMPLATE,
        padding_side="left",
    )


def _config(hidden: int, vocabulary: int, layers: int = 2) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=2,
        max_position_embeddings=64,
        tie_word_embeddings=True,
        pad_token_id=PAD,
        bos_token_id=BOS,
        eos_token_id=EOS,
    )


def policy(
    seed: int = 0, hidden: int = 16, sharpness: float = 8.0, vocabulary: int = 16, layers: int = 2
) -> LlamaForCausalLM:
    """Return a Llama with random weights, far enough from uniform to tell a wrong distribution from a right one."""
    torch.manual_seed(seed)
    model = LlamaForCausalLM(_config(hidden, vocabulary, layers)).eval()
    with torch.no_grad():
        model.model.embed_tokens.weight.mul_(sharpness)
    return model


def gpt2(seed: int = 0) -> GPT2LMHeadModel:
    """Return a GPT-2, which has absolute positions, with random weights."""
    torch.manual_seed(seed)
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=16, n_positions=64, n_embd=16, n_layer=2, n_head=2, pad_token_id=PAD, eos_token_id=EOS
        )
    ).eval()
    with torch.no_grad():
        model.transformer.wte.weight.mul_(20)
        model.transformer.wpe.weight.mul_(20)
    return model


def reward_model(seed: int = 0, hidden: int = 16, layers: int = 2) -> LlamaForSequenceClassification:
    """Return a reward model with random weights."""
    torch.manual_seed(seed)
    config = _config(hidden, 16, layers)
    config.num_labels = 1
    return LlamaForSequenceClassification(config).eval()
